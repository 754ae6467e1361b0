import random
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig
from enas_tf.experiment.initial_weights import take
from enas_tf.layers.dropout import StepRng
from enas_tf.micro.network import build
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet
from tests.tiny import two_devices

SMALL = CellChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)


def supernet(image_shape, config=SMALL, nodes=1, moving_averages=False):
    keras.utils.set_random_seed(0)
    rng = StepRng(10, seed=0)
    return MicroSupernet(MicroSpace(nodes), config, image_shape, 3, rng, moving_averages)


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
        if bank is cell.banks[0]
        else None
        for bank in cell.banks[:2]
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
    net = MicroSupernet(MicroSpace(5), CellChildConfig(), (32, 32, 3), 10, StepRng(1, 0))
    head = net.aux_head.count_params()
    assert head == 412_928
    assert net.count_params() - head == 5_373_140
    assert len(net.variables) < 135


def values(layer):
    """Copies of what is not trained, by path."""
    return {variable.path: np.array(variable) for variable in layer.non_trainable_variables}


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
        for bank, rows in zip(layer.cell.banks[:2], used, strict=True):
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
        np.testing.assert_allclose(plain, moving, rtol=1e-4, atol=1e-5)


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


def test_a_final_network_takes_the_ops_at_the_same_place():
    """Behind a reduction as many layers on, in a network with more of them in each stage."""
    net = supernet((8, 8, 1), nodes=2, moving_averages=True)
    generator = np.random.default_rng(1)
    for variable in net.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    # A 3x3 of input 1 and a 5x5 of node 2; in the reduction cell of input 0.
    _, arc = MicroSpace.of("1 0 0 2 0 4 2 1  0 1 1 2 1 3 0 4")
    config = replace(SMALL, num_layers=6)
    final = build(arc, config, (8, 8, 1), 3, StepRng(10, 0))
    found = take(final, net.final_weights(arc, config), "shared", [])

    def assert_taken(layer, edge, cell, op, row):
        bank, moving = cell.banks[op].bank, cell.banks[op].averages
        norm = [bank["scale"], bank["offset"], moving.mean, moving.variance]
        for half in range(2):
            name = f"layer_{layer}_node_{edge}_{half + 1}"
            weights = final.get_layer(f"{name}_conv").get_weights()
            for weight, kind in zip(weights, ("depthwise", "pointwise"), strict=True):
                np.testing.assert_array_equal(np.squeeze(weight), np.squeeze(bank[kind][row, half]))
            weights = final.get_layer(f"{name}_norm").get_weights()
            np.testing.assert_array_equal(weights, [weight[row, half] for weight in norm])

    # Of three layers the reductions are 1 and 3, of six 2 and 5.
    for own, layer in ((0, 0), (2, 3), (4, 6)):
        # Rows are by edges and inputs: 2 of each of the first node's edges, 3 of the second's.
        assert_taken(layer, "2_1", net.cells[own].cell, op=0, row=1)
        assert_taken(layer, "3_2", net.cells[own].cell, op=1, row=9)
    for own, layer in ((1, 2), (3, 5)):
        assert_taken(layer, "2_1", net.cells[own].cell, op=1, row=0)
    drawn = {path.split("/")[0] for path in found["drawn"]}
    assert {"layer_1_node_2_1_1_conv", "layer_4_node_2_1_1_conv", "layer_0_base_conv"} <= drawn
    images = tf.random.normal((2, 8, 8, 1))
    stem = net.stem(images, training=False)
    for number, layer in enumerate((net.cells[0].calibrate_0, net.cells[0].calibrate_1)):
        last = final.get_layer(f"layer_0_calibrate_{number}_norm").output
        own = keras.Model(final.input, last)(images, training=False)
        np.testing.assert_allclose(own, layer(stem, training=False), rtol=1e-4, atol=1e-4)
