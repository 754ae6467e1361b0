import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.export.images import deployable
from enas_tf.layers import cost
from enas_tf.layers.dropout import DropPath, StepRng
from enas_tf.nasbench201.network import Nasbench201ChildConfig, build, count_cost
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.nasbench201.space import Nasbench201Space
from tests import tiny

SPACE = Nasbench201Space(4)
SMALL = Nasbench201ChildConfig(num_cells=1, out_filters=4, keep_prob=1.0)


def network(text, shape=(8, 8, 1), config=SMALL):
    keras.utils.set_random_seed(0)
    return build(Nasbench201Space.of(text)[1], config, shape, 3, StepRng(10, seed=0))


def part(net, source, target):
    """The part of a network between the outputs of two layers."""
    return keras.Model(net.get_layer(source).output, net.get_layer(target).output)


@pytest.mark.parametrize(
    ("text", "params", "multiply_adds"),
    [
        # The largest and the smallest, as the benchmark counts: 1.531546 M and 220.12 M,
        # 0.073306 M and 7.78 M.
        ("3 3 3 3 3 3", 1_531_546, 220_119_680),
        ("1 0 4 0 1 4", 73_306, 7_783_040),
    ],
)
def test_costs_are_the_benchmarks(text, params, multiply_adds):
    config = Nasbench201ChildConfig()
    assert count_cost(SPACE.parse(text), config, (32, 32, 3), 10) == (params, multiply_adds)


@pytest.mark.parametrize("seed", range(3))
def test_costs_are_counted_without_building(seed):
    arc = SPACE.random(random.Random(seed))
    config = Nasbench201ChildConfig(num_cells=2, out_filters=6, aux_head=bool(seed))
    built = network(str(arc), (10, 10, 3), config)
    assert count_cost(arc, config, (10, 10, 3), 3) == (
        cost.count_params(built),
        cost.count_multiply_adds(built),
    )


def test_weights_begin_as_pytorchs_do():
    net = network("3 1 2 0 4 3", config=Nasbench201ChildConfig(num_cells=1, out_filters=16))
    kernels = [weight for weight in net.trainable_variables if weight.name == "kernel"]
    assert (
        len(kernels) == 17
    )  # the stem's, three in each cell, three in each reduction, and the last
    for kernel in kernels:
        limit = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
        assert 0.8 * limit < np.abs(kernel).max() <= limit
        np.testing.assert_allclose(np.std(kernel), limit / np.sqrt(3), rtol=0.15)


def test_an_export_computes_the_same():
    data = tiny.data()
    net = network("0 3 1 4 2 0", data.image_shape)
    images = data.splits["test"].images
    normalised = ((images / 255 - data.mean) / data.std).astype(np.float32)
    wanted = tf.nn.softmax(net(normalised))
    np.testing.assert_allclose(deployable(net, data)(images), wanted, atol=1e-5)


@pytest.mark.parametrize("op", range(5))
def test_each_op_index_computes_the_op_of_that_name(op):
    """In a cell of one edge, on the output of the stem's batch norm."""
    net = network(str(op))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    name = SPACE.ops[op]
    edge = "stage_0_cell_0_node_1_from_0"
    if name == "skip_connect":
        assert [layer.name for layer in net.layers if layer.name.startswith(edge)] == []
        return
    if name == "none":
        first = net.get_layer("reduction_1_pool").input
        np.testing.assert_array_equal(keras.Model(net.get_layer("stem_norm").output, first)(x), 0)
        return
    if name == "avg_pool_3x3":
        output = keras.Model(net.get_layer("stem_norm").output, net.get_layer(edge).output)(x)
        # A corner's mean is of the four places within the image.
        np.testing.assert_allclose(output[:, 0, 0], x[:, :2, :2].mean((1, 2)), rtol=1e-4, atol=1e-6)
        inner = x[:, 2:5, 3:6].mean((1, 2))
        np.testing.assert_allclose(output[:, 3, 4], inner, rtol=1e-4, atol=1e-6)
        return
    kernel = net.get_layer(f"{edge}_conv").kernel
    size = int(name[-1])
    assert kernel.shape == (size, size, 4, 4)
    y = tf.nn.conv2d(tf.nn.relu(x), kernel, 1, "SAME").numpy()
    wanted = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
    output = part(net, "stem_norm", f"{edge}_norm")(x, training=True)
    np.testing.assert_allclose(output, wanted, atol=1e-4)


def test_a_node_is_the_sum_of_its_edges():
    net = network("3  1 2  1 0 4")
    tensors = [f"stage_0_cell_0_node_{node}" for node in (2, 3)]
    node_2, node_3 = (net.get_layer(name) for name in tensors)
    stem = net.get_layer("stem_norm").output
    assert node_2.input[0] is stem and node_3.input[0] is stem
    # Drop path, which does nothing here, is behind each op that computes.
    dropped = [
        net.get_layer(f"{name}_drop_path")
        for name in ("stage_0_cell_0_node_2_from_1", "stage_0_cell_0_node_3_from_2")
    ]
    assert dropped[0].input is net.get_layer("stage_0_cell_0_node_2_from_1_norm").output
    assert dropped[1].input is net.get_layer("stage_0_cell_0_node_3_from_2").output
    assert net.get_layer("stage_0_cell_0_node_3_from_2").input is node_2.output
    assert [node_2.input[1], node_3.input[2]] == [layer.output for layer in dropped]
    assert len(node_3.input) == 3


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 9, 3)])
def test_reductions_halve_and_round_up_and_double_the_channels(shape):
    net = network("3 1 2 0 4 3", shape)
    sides = np.array(shape[:2])
    for number in (1, 2):
        sides = -(-sides // 2)
        output = net.get_layer(f"reduction_{number}_sum").output
        assert output.shape[1:] == (*sides, 4 * 2**number)


def test_a_reduction_reads_the_places_that_the_benchmark_reads():
    """The middle of a kernel meets the first pixel; TensorFlow's own padding would be one off."""
    net = network("1")
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    kernel = net.get_layer("reduction_1_1_conv").kernel
    output = part(net, "stem_norm", "reduction_1_1_conv")(x)
    everywhere = tf.nn.conv2d(tf.nn.relu(x), kernel, 1, "SAME")
    np.testing.assert_allclose(output, everywhere[:, ::2, ::2], rtol=1e-4, atol=1e-5)
    pooled = x.reshape(2, 4, 2, 4, 2, 4).mean((2, 4))
    shortcut = part(net, "stem_norm", "reduction_1_shortcut_conv")(x)
    wanted = pooled @ net.get_layer("reduction_1_shortcut_conv").kernel[0, 0].numpy()
    np.testing.assert_allclose(shortcut, wanted, rtol=1e-4, atol=1e-5)


def test_drop_path_is_on_what_computes():
    config = Nasbench201ChildConfig(num_cells=2, out_filters=4, drop_path_keep_prob=0.4)
    net = network("3 1 0", config=config)
    found = [layer for layer in net.layers if isinstance(layer, DropPath)]
    assert len(found) == 6 and all("node_1_from_0" in layer.name for layer in found)
    assert found[0].layer_keep_prob == pytest.approx(1 - 0.6 / 6)
    assert found[-1].layer_keep_prob == pytest.approx(0.4)


def test_the_papers_training_is_the_benchmarks():
    settings = NASBENCH201.presets["paper"]
    child, train = settings.train.child(settings.child), settings.train
    assert (train.num_epochs, train.batch_size, train.use_validation) == (12, 256, True)
    assert (child.num_cells, child.out_filters, child.momentum, child.keep_prob) == (5, 16, 0.9, 1)
    assert (settings.data.pad, settings.data.cutout) == (4, 0)
    # PyTorch's decay of 5e-4 is the gradient of half of it times the squares.
    assert 2 * child.l2 == 5e-4
    rates = [child.learning_rate_at(epoch) for epoch in range(12)]
    wanted = [0.1 * (1 + np.cos(np.pi * epoch / 12)) / 2 for epoch in range(12)]
    assert rates == pytest.approx(wanted)


def test_no_cells_are_no_network():
    with pytest.raises(UserError, match=r"child\.num_cells must be at least 1, got 0"):
        Nasbench201ChildConfig(num_cells=0)
