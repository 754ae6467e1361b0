import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.banks import separable_conv, take_sets
from enas_tf.layers.dropout import Clock, DropPath
from enas_tf.layers.norm import EPSILON
from enas_tf.layers.shared_cell import SharedCell, run_nodes
from enas_tf.spaces.micro import MicroSpace


@pytest.fixture(scope="module")
def cell():
    """The weights of a cell with one node, and two inputs."""
    keras.utils.set_random_seed(0)
    cell = SharedCell(1, 4, drop_path=None, moving=False)
    cell.build()
    inputs = tf.random.normal((2, 6, 6, 4)), tf.random.normal((2, 6, 6, 4))
    rows = tf.constant([0, 1, 2, 3])
    return inputs, [take_sets(bank.read(), rows) for bank in (cell.conv_3x3, cell.conv_5x5)]


@pytest.mark.parametrize("op", range(5))
def test_each_op_index_runs_the_op_of_that_name(cell, op):
    inputs, convs = cell
    # Edge 0 takes input 1, edge 1 is the identity of input 1; input 0 is a loose end.
    weights = [[of_edge[1], of_edge[3]] for of_edge in convs]
    ends, loose = run_nodes(inputs, tf.constant([1, op, 1, 4]), weights, None)
    x = inputs[1]
    wanted = {
        "separable conv 3x3": lambda: separable_conv(x, *weights[0][0])[0],
        "separable conv 5x5": lambda: separable_conv(x, *weights[1][0])[0],
        "average pool 3x3": lambda: keras.layers.AveragePooling2D(3, 1, "same")(x),
        "max pool 3x3": lambda: keras.layers.MaxPooling2D(3, 1, "same")(x),
        "identity": lambda: x,
    }[MicroSpace.ops[op]]()
    assert loose.numpy().tolist() == [0, 2]
    np.testing.assert_allclose(ends[..., :4], tf.nn.relu(inputs[0]), atol=1e-6)
    np.testing.assert_allclose(ends[..., 4:], tf.nn.relu(wanted + x), atol=1e-4)


def test_drop_path_drops_whole_ops_but_no_identity():
    keras.utils.set_random_seed(0)
    inputs = tf.ones((1, 2, 2, 4)), tf.ones((1, 2, 2, 4))
    cell = SharedCell(1, 4, drop_path=None, moving=False)
    cell.build()
    convs = [take_sets(bank.read(), tf.constant([0, 2])) for bank in (cell.conv_3x3, cell.conv_5x5)]
    masks = tf.zeros((1, 2, 1, 1, 1))
    pool_and_identity, _ = run_nodes(inputs, tf.constant([0, 2, 1, 4]), convs, masks)
    np.testing.assert_array_equal(pool_and_identity, tf.ones((1, 2, 2, 4)))


def values(layer):
    """Copies of what is not trained, by path."""
    return {variable.path: np.array(variable) for variable in layer.non_trainable_variables}


def scatter(layer):
    """Gives all weights and averages other values than those that they start at."""
    generator = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))


def conv_statistics(x, weights):
    """Means and (unbiased) variances at both batch norms of a separable convolution."""
    statistics = []
    for depthwise, pointwise, scale, offset in zip(*map(np.array, weights), strict=True):
        y = tf.nn.depthwise_conv2d(np.maximum(x, 0), depthwise, [1, 1, 1, 1], "SAME") @ pointwise
        y = y.numpy()
        statistics.append((y.mean((0, 1, 2)), y.var((0, 1, 2), ddof=1)))
        x = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + EPSILON) * scale + offset
    return [np.stack(s) for s in zip(*statistics, strict=True)]


def test_a_cell_takes_in_the_statistics_of_the_sets_that_it_used():
    cell = SharedCell(1, 4, DropPath(1.0, 1.0, Clock(1, 0)), moving=True)
    cell.build()
    scatter(cell)
    inputs = [np.random.default_rng(n).normal(size=(2, 6, 6, 4)).astype("float32") for n in (1, 2)]
    old = values(cell)
    # Edge 0 is a 3x3 of input 1, row 1; edge 1 a 5x5 of input 0, row 2.
    tokens = tf.constant([1, 0, 0, 1])
    cell(inputs, tokens, training=True)
    new = values(cell)
    for size, row, x in ((3, 1, inputs[1]), (5, 2, inputs[0])):
        bank = getattr(cell, f"conv_{size}x{size}")
        of_batch = conv_statistics(x, take_sets(bank.read(training=True), tf.constant([row]))[0])
        for name, batch in zip(("mean", "variance"), of_batch, strict=True):
            path = getattr(bank.averages, name).path
            wanted = old[path].copy()
            wanted[row] = 0.9 * wanted[row] + 0.1 * batch
            np.testing.assert_allclose(new[path], wanted, rtol=1e-4)
            others = np.arange(4) != row
            np.testing.assert_array_equal(new[path][others], old[path][others])
    rows = tf.constant([1, 2])
    convs = [take_sets(b.read(training=True), rows) for b in (cell.conv_3x3, cell.conv_5x5)]
    ends, _ = run_nodes(tuple(map(tf.constant, inputs)), tokens, tuple(convs), None)
    output = ends.numpy() @ np.array(cell.kernel)[2]
    batches = output.mean((0, 1, 2)), output.var((0, 1, 2), ddof=1)
    averages = cell.averages.mean, cell.averages.variance
    for average, batch in zip(averages, batches, strict=True):
        wanted = 0.9 * old[average.path] + 0.1 * batch
        np.testing.assert_allclose(average, wanted, rtol=1e-4)
