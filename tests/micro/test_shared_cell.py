import numpy as np
import tensorflow as tf

from enas_tf.layers.dropout import DropPath, StepRng
from enas_tf.layers.form import Form, traced_for
from enas_tf.layers.norm import EPSILON
from enas_tf.micro.nodes import run_nodes
from enas_tf.micro.shared_cell import SharedCell, edge_factors
from enas_tf.micro.space import MicroSpace


def test_drop_path_leaves_the_identity_alone():
    masks = tf.reshape(tf.constant([0.0, 2.0, 2.0, 0.0, 0.0, 2.0]), (3, 2, 1, 1, 1))
    factors = edge_factors(MicroSpace(1).rows, tf.constant([3, 4]), masks)
    np.testing.assert_array_equal(tf.squeeze(factors), [[0, 2, 0], [1, 1, 1]])


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
    cell = SharedCell(MicroSpace(1), 4, DropPath(1.0, 1.0, StepRng(1, 0)), moving=True)
    cell.build()
    scatter(cell)
    inputs = [np.random.default_rng(n).normal(size=(2, 6, 6, 4)).astype("float32") for n in (1, 2)]
    old = values(cell)
    # Edge 0 is a 3x3 of input 1, row 1; edge 1 a 5x5 of input 0, row 2.
    tokens = tf.constant([1, 0, 0, 1])
    cell(inputs, tokens, training=True)
    new = values(cell)
    for bank, row, x in ((cell.banks[0], 1, inputs[1]), (cell.banks[1], 2, inputs[0])):
        of_batch = conv_statistics(x, [tensor[row] for tensor in bank.read(training=True)])
        for name, batch in zip(("mean", "variance"), of_batch, strict=True):
            path = getattr(bank.averages, name).path
            wanted = old[path].copy()
            wanted[row] = 0.9 * wanted[row] + 0.1 * batch
            np.testing.assert_allclose(new[path], wanted, rtol=1e-4)
            others = np.arange(4) != row
            np.testing.assert_array_equal(new[path][others], old[path][others])
    banks = tuple(bank.read(training=True) for bank in cell.banks)
    edges = tf.constant([[1, 0, 1], [0, 1, 2]])
    (end,), places, _ = run_nodes(cell.ops, tuple(map(tf.constant, inputs)), edges, banks)
    assert places == [2]
    output = np.maximum(end, 0) @ np.array(cell.kernel)[2]
    batches = output.mean((0, 1, 2)), output.var((0, 1, 2), ddof=1)
    averages = cell.averages.mean, cell.averages.variance
    for average, batch in zip(averages, batches, strict=True):
        wanted = 0.9 * old[average.path] + 0.1 * batch
        np.testing.assert_allclose(average, wanted, rtol=1e-4)


def test_a_compiled_cell_has_the_outputs_and_gradients_of_one_that_is_not():
    cell = SharedCell(MicroSpace(2), 4, DropPath(1.0, 1.0, StepRng(1, 0)), moving=False)
    cell.build()
    scatter(cell)
    generator = np.random.default_rng(3)
    inputs = [tf.constant(generator.normal(size=(3, 5, 5, 4)), tf.float32) for _ in range(2)]
    weights = [variable.value for variable in cell.trainable_variables]

    def run(form, tokens):
        with traced_for(form), tf.GradientTape() as tape:
            tape.watch(inputs)
            output = cell(inputs, tokens, training=True)
            loss = tf.reduce_sum(output**3)
        with traced_for(form):
            gradients = tape.gradient(loss, inputs + weights, unconnected_gradients="zero")
        return output, *gradients

    compiled = tf.function(lambda tokens: run(Form.XLA, tokens), autograph=False, jit_compile=True)
    # Convolutions of both sizes on both inputs and a node; pools and an identity.
    for tokens in ([1, 0, 0, 1, 2, 1, 0, 0], [0, 2, 1, 3, 2, 4, 2, 3]):
        tokens = tf.constant(tokens)
        for actual, wanted in zip(compiled(tokens), run(Form.CPU, tokens), strict=True):
            wanted = tf.convert_to_tensor(wanted).numpy()
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(actual, wanted, atol=1e-3 * scale + 1e-6)
