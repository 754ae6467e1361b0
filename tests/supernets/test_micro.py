import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.child import CellChildConfig
from enas_tf.layers.banks import separable_conv
from enas_tf.layers.dropout import Clock, DropPath
from enas_tf.layers.norm import EPSILON
from enas_tf.spaces.micro import MicroSpace
from enas_tf.supernets.micro import MicroSupernet, SharedCell, _run_cell
from tests.tiny import two_devices

SMALL = CellChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)


def supernet(image_shape, config=SMALL, nodes=1, moving_averages=False):
    keras.utils.set_random_seed(0)
    clock = Clock(10, seed=0)
    return MicroSupernet(MicroSpace(nodes), config, image_shape, 3, clock, moving_averages)


@pytest.fixture(scope="module")
def cell():
    """The weights of a cell with one node, and two inputs."""
    keras.utils.set_random_seed(0)
    cell = SharedCell(1, 4, drop_path=None, moving=False)
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
        "separable conv 3x3": lambda: separable_conv(x, *weights[0][0])[0],
        "separable conv 5x5": lambda: separable_conv(x, *weights[1][0])[0],
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


@pytest.mark.parametrize("shape", [(7, 9, 1), (28, 28, 1), (48, 48, 3)])
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
    net = MicroSupernet(MicroSpace(5), CellChildConfig(), (32, 32, 3), 10, Clock(1, 0))
    head = net.aux_head.count_params()
    assert head == 412_928
    assert net.count_params() - head == 5_373_140
    assert len(net.variables) < 135


def test_drop_path_drops_whole_ops_but_no_identity():
    keras.utils.set_random_seed(0)
    inputs = tf.ones((1, 2, 2, 4)), tf.ones((1, 2, 2, 4))
    cell = SharedCell(1, 4, drop_path=None, moving=False)
    cell.build()
    convs = [bank(tf.constant([0, 2])) for bank in (cell.conv_3x3, cell.conv_5x5)]
    masks = tf.zeros((2, 1, 1, 1, 1))
    pool_and_identity, _ = _run_cell(inputs, tf.constant([0, 2, 1, 4]), convs, masks)
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
        of_batch = conv_statistics(x, bank(tf.constant([row]), training=True)[0])
        for name, batch in zip(("mean", "variance"), of_batch, strict=True):
            path = getattr(bank.averages, name).path
            wanted = old[path].copy()
            wanted[row] = 0.9 * wanted[row] + 0.1 * batch
            np.testing.assert_allclose(new[path], wanted, rtol=1e-4)
            others = np.arange(4) != row
            np.testing.assert_array_equal(new[path][others], old[path][others])
    convs = [bank(tf.constant([1, 2]), training=True) for bank in (cell.conv_3x3, cell.conv_5x5)]
    ends, _ = _run_cell(tuple(map(tf.constant, inputs)), tokens, tuple(convs), None)
    output = ends.numpy() @ np.array(cell.kernel)[2]
    batches = output.mean((0, 1, 2)), output.var((0, 1, 2), ddof=1)
    averages = cell.averages.mean, cell.averages.variance
    for average, batch in zip(averages, batches, strict=True):
        wanted = 0.9 * old[average.path] + 0.1 * batch
        np.testing.assert_allclose(average, wanted, rtol=1e-4)


def test_every_batch_norm_of_the_network_keeps_averages():
    net = supernet((8, 8, 1), moving_averages=True)
    images = tf.random.normal((4, 8, 8, 1))
    # Normal cells use row 1 of 3x3, reduction cells rows 1 and 2 of 5x5.
    tokens = tf.constant([1, 0, 0, 3, 1, 1, 0, 1])
    old = values(net)
    net(images, tokens, training=True)
    new = values(net)
    np.testing.assert_allclose(
        net.stem.norm.moving_mean,
        0.1 * tf.reduce_mean(tf.nn.conv2d(images, net.stem.kernel, 1, "SAME"), [0, 1, 2]),
        atol=1e-6,
    )
    of_banks = set()
    for number, layer in enumerate(net.cells):
        used = [], [1, 2]
        if number not in SMALL.reductions:
            used = [1], []
        for bank, rows in zip((layer.cell.conv_3x3, layer.cell.conv_5x5), used, strict=True):
            for path in (bank.averages.mean.path, bank.averages.variance.path):
                of_banks.add(path)
                moved = np.any(new[path] != old[path], axis=-1)
                assert np.argwhere(moved).tolist() == [[r, s] for r in rows for s in (0, 1)], path
    rest = set(old) - of_banks
    # Means and variances of the stem, 5 cells, 2 reductions, and 1x1 or reduced calibrations.
    calibrations = [c for layer in net.cells for c in (layer.calibrate_0, layer.calibrate_1) if c]
    assert len(rest) == 2 * (1 + 5 + 2 + len(calibrations))
    assert all(np.all(new[path] != old[path]) for path in rest)
    net(images, tokens)
    for path, value in values(net).items():
        np.testing.assert_array_equal(value, new[path], err_msg=path)


@pytest.mark.parametrize("moving", [True, False])
def test_by_moving_averages_an_image_does_not_depend_on_its_batch(moving):
    net = supernet((8, 8, 1), moving_averages=moving)
    images, tokens = tf.random.normal((6, 8, 8, 1)), tf.constant([1, 0, 0, 1, 0, 1, 1, 3])
    for _ in range(3):
        net(images, tokens, training=True)
    alone, together = net(images[:1], tokens)[0], net(images, tokens)[0][:1]
    assert np.allclose(alone, together, rtol=1e-4, atol=1e-5) is moving


def test_moving_averages_leave_training_as_it_is():
    images, tokens = tf.random.normal((4, 8, 8, 1)), tf.constant([1, 0, 0, 1, 0, 3, 1, 4])
    results = []
    for moving in (False, True):
        net = supernet((8, 8, 1), moving_averages=moving)
        with tf.GradientTape() as tape:
            logits, aux_logits = net(images, tokens, training=True)
            loss = tf.reduce_sum(logits**2) + tf.reduce_sum(aux_logits**2)
        weights = [variable.value for variable in net.trainable_variables]
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        results.append([logits, *map(tf.convert_to_tensor, gradients)])
    for plain, moving in zip(*results, strict=True):
        np.testing.assert_allclose(plain, moving, atol=1e-6)


def test_replicas_share_the_mean_of_their_moving_averages():
    strategy = two_devices()
    with strategy.scope():
        net = supernet((8, 8, 1), moving_averages=True)
    images = tf.random.normal((2, 4, 8, 8, 1))
    draws = [tf.constant(MicroSpace(1).random(random.Random(seed)).tokens) for seed in range(2)]
    assert draws[0].numpy().tolist() != draws[1].numpy().tolist()
    alone = []
    for of_replica in zip(images, draws, strict=True):
        one = supernet((8, 8, 1), moving_averages=True)
        for ours, theirs in zip(one.variables, net.variables, strict=True):
            ours.assign(np.array(theirs))
        one(*of_replica, training=True)
        alone.append([np.array(variable) for variable in one.non_trainable_variables])

    def spread(per_replica):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(per_replica[context.replica_id_in_sync_group])
        )

    step = tf.function(lambda x, tokens: net(x, tokens, training=True)[0], autograph=False)
    run = tf.function(lambda *args: strategy.run(step, args=args), autograph=False)
    run(spread(images), spread(draws))
    for variable, *of_alone in zip(net.non_trainable_variables, *alone, strict=True):
        first, second = map(np.array, strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second, err_msg=variable.path)
        np.testing.assert_allclose(first, np.mean(of_alone, 0), atol=1e-5, err_msg=variable.path)
