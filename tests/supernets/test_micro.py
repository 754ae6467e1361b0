import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.child import ChildConfig
from enas_tf.layers.banks import separable_conv
from enas_tf.layers.dropout import Clock
from enas_tf.spaces.micro import MicroSpace
from enas_tf.supernets.micro import MicroSupernet, SharedCell, _run_cell

SMALL = ChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)


def supernet(image_shape, config=SMALL, nodes=1):
    keras.utils.set_random_seed(0)
    return MicroSupernet(MicroSpace(nodes), config, image_shape, 3, Clock(10, seed=0))


@pytest.fixture(scope="module")
def cell():
    """The weights of a cell with one node, and two inputs."""
    keras.utils.set_random_seed(0)
    cell = SharedCell(1, 4, drop_path=None)
    cell.build()
    inputs = tf.random.normal((2, 6, 6, 4)), tf.random.normal((2, 6, 6, 4))
    rows = tf.constant([0, 1, 2, 3])
    return inputs, [bank(rows) for bank in (cell.conv_3x3, cell.conv_5x5)]


@pytest.mark.parametrize("op", range(5))
def test_each_op_index_runs_the_op_of_that_name(cell, op):
    inputs, convs = cell
    # Edge 0 takes input 1, edge 1 is the identity of input 1; input 0 is a loose end.
    weights = [[of_edge[1], of_edge[3]] for of_edge in convs]
    ends, loose = _run_cell(inputs, tf.constant([1, op, 1, 4]), weights, None)
    x = inputs[1]
    wanted = {
        "separable conv 3x3": lambda: separable_conv(x, *weights[0][0]),
        "separable conv 5x5": lambda: separable_conv(x, *weights[1][0]),
        "average pool 3x3": lambda: keras.layers.AveragePooling2D(3, 1, "same")(x),
        "max pool 3x3": lambda: keras.layers.MaxPooling2D(3, 1, "same")(x),
        "identity": lambda: x,
    }[MicroSpace.ops[op]]()
    assert loose.numpy().tolist() == [0, 2]
    np.testing.assert_allclose(ends[..., :4], tf.nn.relu(inputs[0]), atol=1e-6)
    np.testing.assert_allclose(ends[..., 4:], tf.nn.relu(wanted + x), atol=1e-4)


def test_only_the_drawn_weights_get_a_gradient():
    net = supernet((8, 8, 1))
    images = tf.random.normal((4, 8, 8, 1))
    # Normal cell: 3x3 of input 1 and max pool of input 0.
    tokens = tf.constant([1, 0, 0, 3, 0, 2, 0, 4])
    cell = net.cells[0].cell
    with tf.GradientTape() as tape:
        logits, _ = net(images, tokens, training=True)
        loss = tf.reduce_sum(logits**2)
    depthwise_3x3, depthwise_5x5 = (
        tf.convert_to_tensor(tape.gradient(loss, bank.variables[0].value))
        if bank is cell.conv_3x3
        else None
        for bank in (cell.conv_3x3, cell.conv_5x5)
    )
    assert depthwise_5x5 is None
    moved = np.abs(depthwise_3x3.numpy()).reshape(4, -1).max(axis=1) > 0
    # Rows 0 and 1 are edge 0 on inputs 0 and 1, rows 2 and 3 edge 1.
    assert moved.tolist() == [False, True, False, False]


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 9, 1), (28, 28, 1), (64, 64, 3)])
def test_images_of_any_size(shape):
    net = supernet(shape)
    images = tf.random.normal((2, *shape))
    tokens = tf.constant([1, 1, 0, 3, 0, 2, 1, 0])
    with tf.GradientTape() as tape:
        logits, aux_logits = net(images, tokens, training=True)
        loss = tf.reduce_sum(logits**2) + tf.reduce_sum(aux_logits**2)
    gradients = tape.gradient(loss, [net.stem.kernel.value, net.classifier.value])
    assert logits.shape == aux_logits.shape == (2, 3)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    assert net(images, tokens)[1] is None


def test_parameters_of_the_paper_s_size():
    net = MicroSupernet(MicroSpace(5), ChildConfig(), (32, 32, 3), 10, Clock(1, 0))
    head = net.aux_head.count_params()
    assert head == 412_928
    assert net.count_params() - head == 5_373_140
    assert len(net.variables) < 135


def test_drop_path_drops_whole_ops_but_no_identity():
    keras.utils.set_random_seed(0)
    inputs = tf.ones((1, 2, 2, 4)), tf.ones((1, 2, 2, 4))
    cell = SharedCell(1, 4, drop_path=None)
    cell.build()
    convs = [bank(tf.constant([0, 2])) for bank in (cell.conv_3x3, cell.conv_5x5)]
    masks = tf.zeros((2, 1, 1, 1, 1))
    pool_and_identity, _ = _run_cell(inputs, tf.constant([0, 2, 1, 4]), convs, masks)
    np.testing.assert_array_equal(pool_and_identity, tf.ones((1, 2, 2, 4)))
