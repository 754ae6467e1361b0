import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig
from enas_tf.tasks.images import ImageTask
from tests import tiny

# Over three classes: probabilities 1/2, 1/4, 1/4 and 1/8, 1/8, 3/4.
LOGITS = [[math.log(2), 0, 0], [0, 0, math.log(6)]]


@pytest.fixture(scope="module")
def task():
    return ImageTask(tiny.data(), DataConfig(pad=0), ImageChildConfig(aux_weight=0.4))


def test_the_loss_is_the_mean_cross_entropy(task):
    loss, metrics = task.loss((tf.constant(LOGITS), None), tf.constant([0, 1]))
    assert float(loss) == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert {n: float(v) for n, v in metrics.items()} == pytest.approx(
        {"loss": 2 * math.log(2), "accuracy": 0.5}
    )


def test_the_auxiliary_heads_share_is_minimised_and_told_apart(task):
    uniform = tf.zeros([2, 3])
    loss, metrics = task.loss((tf.constant(LOGITS), uniform), tf.constant([0, 1]))
    assert float(loss) == pytest.approx(2 * math.log(2) + 0.4 * math.log(3))
    assert float(metrics["loss"]) == pytest.approx(2 * math.log(2))
    assert float(metrics["aux_loss"]) == pytest.approx(math.log(3))


def test_totals_of_batches_make_means(task):
    totals = task.totals((tf.constant(LOGITS), None), tf.constant([0, 2]))
    wanted = {"loss": math.log(2) - math.log(0.75), "correct": 2, "count": 2}
    assert {n: float(v) for n, v in totals.items()} == pytest.approx(wanted)
    metrics = task.metrics({"loss": 6.0, "correct": 3.0, "count": 4.0})
    assert metrics == {"loss": 1.5, "accuracy": 0.75}
    assert task.reward(metrics) == 0.75


@pytest.mark.parametrize(("at_most", "steps"), [(0, 11), (3, 3), (20, 11)])
def test_steps_per_epoch(task, at_most, steps):
    # 45 images in batches of four.
    assert task.steps_per_epoch(4, at_most) == steps


def test_batches_of_steps_continue_each_other():
    task = ImageTask(tiny.data(), DataConfig(pad=0), ImageChildConfig(), cutout=2)
    options = {"seed": 5, "shard": (0, 1)}
    whole = list(task.train_batches(4, steps=range(13), **options))
    rest = list(task.train_batches(4, steps=range(9, 13), **options))
    for (images, labels), (more, more_labels) in zip(whole[9:], rest, strict=True):
        np.testing.assert_array_equal(images, more)
        np.testing.assert_array_equal(labels, more_labels)
    # A square of two by two pixels, cut off at the border at most, is the mean: zero.
    zeros = (whole[0][0].numpy() == 0).sum(axis=(1, 2, 3))
    assert zeros.min() >= 1 and zeros.max() <= 4


def test_reward_batches_are_of_the_validation_split_unchanged(task):
    valid = task.data.splits["valid"]
    mean, std = float(task.data.mean[0]), float(task.data.std[0])
    known = {image.tobytes() for image in valid.images}
    for images, _ in task.reward_batches(4, seed=0, steps=range(6)):
        restored = np.round((images.numpy() * std + mean) * 255).astype(np.uint8)
        assert all(image.tobytes() in known for image in restored)


def test_evaluation_sees_the_whole_split_once(task):
    sizes = [len(labels) for _, labels in task.eval_batches("test", 7, (0, 1))]
    assert sizes == [7, 7, 4]


def test_the_data_sets_flip_and_the_configs_pad_are_used(monkeypatch):
    asked = {}
    data = SimpleNamespace(flip=True, train_batches=lambda *args, **kw: asked.update(kw))
    task = ImageTask(data, DataConfig(pad=3), ImageChildConfig(), cutout=6)
    task.train_batches(4, seed=0, steps=range(2, 5), shard=(1, 2))
    assert asked["augment"] == Augment(pad=3, flip=True, cutout=6)
    assert (asked["first_step"], asked["num_steps"], asked["shard"]) == (2, 3, (1, 2))
