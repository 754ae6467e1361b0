"""A cell's nodes and their gradients, against the same cell written down op by op."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.form import Form, traced_for
from enas_tf.micro.nodes import loose_ends
from enas_tf.micro.nodes import run_nodes as run_all
from enas_tf.micro.separable import separable_conv
from enas_tf.micro.space import MicroSpace
from tests import tiny

SPACE = MicroSpace(1)


@pytest.fixture(scope="module")
def given():
    """Both inputs, and seven sets of weights of each op."""
    return tiny.images_and_banks(7)


@pytest.fixture(params=Form, autouse=True)
def every_form(request):
    with traced_for(request.param):
        yield


def run_nodes(inputs, edges, banks, factors=None):
    """The loose ends, their numbers and statistics, of edges by entry, op and set of weights."""
    ends, places, statistics = run_all(SPACE.rows, inputs, tf.constant(edges), banks, factors)
    taken = [index for index, *_ in edges]
    loose = [number for number in range(len(edges) // 2 + 2) if number not in taken]
    if places is None:  # all entries
        ends = tf.gather(ends, loose)
    elif tf.executing_eagerly():
        assert places.numpy().tolist() == loose
    return ends, loose, statistics


@pytest.mark.parametrize(
    ("indices", "wanted"), [([0, 0], [1, 2]), ([0, 1, 2, 2], [3]), ([1, 1, 1, 2], [0, 3])]
)
def test_loose_ends_are_the_entries_that_no_edge_takes(indices, wanted):
    loose = loose_ends(tf.constant(indices), len(indices) // 2 + 2)
    assert np.flatnonzero(loose).tolist() == wanted


def run_one_by_one(op, row, x, banks):
    """An op by name, with plain layers where there are any."""
    conv_3x3, conv_5x5 = ([tensor[row] for tensor in bank] for bank in banks[:2])
    return {
        "separable conv 3x3": lambda: separable_conv(x, *conv_3x3)[0],
        "separable conv 5x5": lambda: separable_conv(x, *conv_5x5)[0],
        "average pool 3x3": lambda: keras.layers.AveragePooling2D(3, 1, "same")(x),
        "max pool 3x3": lambda: keras.layers.MaxPooling2D(3, 1, "same")(x),
        "identity": lambda: x,
    }[SPACE.ops[op]]()


@pytest.mark.parametrize("op", range(5))
def test_each_op_index_runs_the_op_of_that_name(given, op):
    inputs, banks = given
    # Edge 0 takes input 1, edge 1 is the identity of input 1; input 0 is a loose end.
    ends, loose, _ = run_nodes(inputs, [[1, op, 5], [1, 4, 2]], banks)
    wanted = run_one_by_one(op, 5, inputs[1], banks) + inputs[1]
    assert loose == [0, 2]
    np.testing.assert_array_equal(ends[0], inputs[0])
    np.testing.assert_allclose(ends[1], wanted, atol=1e-4)


def test_factors_scale_the_edges_outputs(given):
    inputs, banks = given
    edges = [[0, 2, 0], [1, 4, 1]]
    factors = tf.reshape(tf.constant([0.0, 2.0, 1.0, 3.0]), (2, 2, 1, 1, 1))
    (ends,), *_ = run_nodes(inputs, edges, banks, factors)
    pooled = keras.layers.AveragePooling2D(3, 1, "same")(inputs[0])
    np.testing.assert_allclose(ends[0], inputs[1][0], atol=1e-6)
    np.testing.assert_allclose(ends[1], 2 * pooled[1] + 3 * inputs[1][1], atol=1e-5)


def test_statistics_are_those_of_each_edge_s_batch_norms(given):
    inputs, banks = given
    edges = [[0, 0, 3], [1, 3, 1], [1, 4, 2], [2, 1, 6]]
    _, _, statistics = run_nodes(inputs, edges, banks)
    node = run_one_by_one(0, 3, inputs[0], banks) + run_one_by_one(3, 1, inputs[1], banks)
    convs = {0: (0, 3, inputs[0]), 3: (1, 6, node)}
    for edge in range(4):
        wanted = np.zeros((2, 2, 4))
        if edge in convs:
            op, row, x = convs[edge]
            wanted = separable_conv(x, *(tensor[row] for tensor in banks[op]))[2]
        for values, of_edge in zip(statistics, wanted, strict=True):
            np.testing.assert_allclose(values[edge], of_edge, rtol=1e-3, atol=1e-5)


# An entry that goes nowhere but out, one that both edges of a node take, one that three nodes take,
# and every op, the convolutions twice.
CELLS = {
    "no node takes a node": [[0, 0, 0], [0, 1, 1], [1, 2, 2], [0, 3, 3], [1, 4, 4], [1, 0, 5]],
    "each node takes the last": [[1, 0, 6], [1, 1, 1], [2, 3, 2], [2, 0, 3], [3, 1, 4], [2, 2, 5]],
    "an input is taken by all": [[1, 4, 0], [1, 2, 1], [1, 0, 2], [2, 4, 3], [1, 1, 4], [3, 3, 5]],
}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("within", [lambda call: call, tf.function], ids=["eager", "graph"])
def test_gradients_are_those_of_the_cell_written_down(given, within, cell, scaled):
    inputs, banks = given
    edges = CELLS[cell]
    factors = tf.random.stateless_uniform((6, 2, 1, 1, 1), (1, 2), 0.5, 2.0) if scaled else None

    def written_down(inputs, banks):
        entries = list(inputs)
        for first in range(0, len(edges), 2):
            parts = []
            for number in (first, first + 1):
                index, op, row = edges[number]
                part = run_one_by_one(op, row, entries[index], banks)
                parts.append(part * factors[number] if scaled else part)
            entries.append(sum(parts))
        loose = [n for n in range(len(entries)) if n not in [index for index, *_ in edges]]
        return tf.stack([entries[n] for n in loose])

    def gradients(nodes):
        with tf.GradientTape() as tape:
            tape.watch([inputs, banks])
            ends = nodes(inputs, banks)
            # Every value counts differently.
            weights = tf.reshape(tf.cos(tf.range(tf.size(ends), dtype=tf.float32)), tf.shape(ends))
            loss = tf.reduce_sum(ends * weights)
        return tape.gradient(loss, tf.nest.flatten([inputs, banks]))

    wanted = gradients(written_down)
    actual = within(
        lambda: gradients(lambda *given: run_nodes(given[0], edges, given[1], factors)[0])
    )()
    for of_actual, of_wanted in zip(actual, wanted, strict=True):
        of_actual, of_wanted = map(tf.convert_to_tensor, (of_actual, of_wanted))
        np.testing.assert_allclose(of_actual, of_wanted, rtol=1e-3, atol=2e-3)
    # Weights of edges that are no such convolution get zeros; others do not.
    for tensor, op in zip(actual[2:], [0] * 4 + [1] * 4, strict=True):
        tensor = tf.convert_to_tensor(tensor)
        rows = {row for _, chosen, row in edges if chosen == op}
        assert {row for row in range(7) if np.any(tensor[row])} == rows
