import random
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf import CIFAR_MACRO, CIFAR_MICRO, NASBENCH201
from enas_tf.layers.blocks import KerasBlocks
from enas_tf.layers.cost import count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.norm import BatchNorm
from enas_tf.layers.stem import assemble_stem, shared_stem, stem_output
from enas_tf.training.train_config import CellTrainConfig


@pytest.mark.parametrize("kind", ["cifar", "imagenet"])
@pytest.mark.parametrize("sides", [(32, 32), (19, 30)])
def test_the_supernets_stem_is_the_final_networks_on_equal_weights(kind, sides):
    keras.utils.set_random_seed(0)
    shape = (None, *sides, 3)
    shared = shared_stem(kind, 6, partial(BatchNorm, moving=False))
    shared.build(shape)
    image = keras.Input(shape[1:])
    final = keras.Model(image, assemble_stem(kind, KerasBlocks(StepRng(1, 0)), image, 6))
    for ours, theirs in zip(shared.trainable_variables, final.trainable_variables, strict=True):
        theirs.assign(ours)
    x = tf.random.stateless_normal((5, *sides, 3), (1, 2))
    wanted = final(x, training=True)
    np.testing.assert_allclose(shared(x, training=True), wanted, rtol=1e-4, atol=1e-5)
    assert (None, *wanted.shape[1:]) == stem_output(kind, shape, 6) == final.output_shape
    halvings = 3 if kind == "imagenet" else 0
    assert wanted.shape[1:] == (*(-(-side // 2**halvings) for side in sides), 6)


@pytest.mark.parametrize("recipe", [CIFAR_MICRO, CIFAR_MACRO, NASBENCH201], ids=lambda r: r.name)
def test_all_image_spaces_take_large_images(recipe):
    small = {"child.stem": "imagenet", "child.out_filters": 4, "train.out_filters": 4}
    settings = recipe.presets["tiny"].changed(small)
    arc, sizes = settings.space.random(random.Random(0)), ((65, 48, 3), 7)
    supernet = recipe.domain.supernet(settings, sizes, StepRng(1, 0))
    images = tf.random.stateless_normal((2, 65, 48, 3), (1, 2))
    logits, _ = supernet(images, tf.constant(arc.tokens), training=True)
    assert logits.shape == (2, 7) and np.ptp(logits) > 0
    network = recipe.domain.network(arc, settings, sizes, StepRng(1, 0))
    cost = recipe.domain.count_cost(arc, settings, sizes)
    assert count_params(network) == cost.params
    assert cost.multiply_adds > 0
    plain = recipe.presets["tiny"].changed(small | {"child.stem": "cifar"})
    full = recipe.domain.count_cost(arc, plain, sizes)
    # A sixty-fourth of the pixels, but for the stem itself.
    assert full.multiply_adds > 5 * cost.multiply_adds


def test_the_final_network_has_the_searchs_stem_unless_told_otherwise():
    search = CIFAR_MICRO.presets["tiny"].changed({"child.stem": "imagenet"}).child
    assert CellTrainConfig().child(search).stem == "imagenet"
    assert CellTrainConfig(stem="cifar").child(search).stem == "cifar"
