from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.experiment.initial_weights import take
from enas_tf.layers.cost import count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.nasbench201.network import Nasbench201ChildConfig, build
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.nasbench201.supernet import Nasbench201Supernet
from tests.nasbench201 import weights

SMALL = Nasbench201ChildConfig(num_cells=2, out_filters=4, keep_prob=1.0)
# Every op; and one whose last node adds nothing but zeros.
ARCS = ["3 1 2 0 4 3", "2 3 4 0 0 0"]


def supernet(config=SMALL, nodes=4, shape=(8, 8, 3), moving_averages=False, ops="5"):
    keras.utils.set_random_seed(0)
    space = Nasbench201Space(nodes, ops)
    return Nasbench201Supernet(space, config, shape, 3, StepRng(10, 0), moving_averages)


def images(number=6, shape=(8, 8, 3)):
    return np.random.default_rng(0).normal(size=(number, *shape)).astype(np.float32)


@pytest.mark.parametrize("text", ARCS)
def test_is_an_architectures_own_network_on_equal_weights(text):
    shared = supernet()
    arc, rng = Nasbench201Space.of(text)[1], StepRng(10, 0)
    network = build(arc, SMALL, (8, 8, 3), 3, rng)
    generator = np.random.default_rng(1)
    for variable in shared.trainable_variables:
        variable.assign(variable + generator.normal(0, 0.1, variable.shape))
    weights.copy(shared, network, arc, SMALL)

    @tf.function
    def logits_and_gradients(forward, variables):
        with tf.GradientTape() as tape:
            logits = forward()
            loss = tf.reduce_sum(tf.sin(logits))
        return logits, tape.gradient(loss, variables, unconnected_gradients="zero")

    x, tokens = images(), tf.constant(arc.tokens)
    shared_list = [v.value for v in shared.trainable_variables]
    found, gradients = logits_and_gradients(
        lambda: shared(x, tokens, training=True)[0], shared_list
    )
    own_list = [v.value for v in network.trainable_variables]
    wanted, own = logits_and_gradients(lambda: network(x, training=True), own_list)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert np.ptp(wanted) > 0
    # The shared weights now hold gradients, of which each of the network's finds its own.
    for variable, gradient in zip(shared.trainable_variables, gradients, strict=True):
        variable.assign(gradient)
    of_own = {id(v): g for v, g in zip(network.trainable_variables, own, strict=True)}
    scale = max(np.abs(g).max() for g in own)
    for variable, value in weights.pairs(shared, network, arc, SMALL):
        gradient = of_own[id(variable)]
        np.testing.assert_allclose(tf.reshape(value, gradient.shape), gradient, atol=1e-4 * scale)


def test_a_final_network_of_its_size_takes_all_and_evaluates_alike():
    config = replace(SMALL, num_cells=1, aux_head=True)
    shared, arc = supernet(config, moving_averages=True), Nasbench201Space.of(ARCS[0])[1]
    generator = np.random.default_rng(1)
    for variable in shared.variables:
        variable.assign(variable + generator.uniform(0, 0.2, variable.shape))
    network = build(arc, config, (8, 8, 3), 3, StepRng(10, 0))
    found = take(network, shared.final_weights(arc, config), "shared", [])
    assert found["drawn"] == [] and found["taken_weights"] == count_params(network)
    logits, _ = network(images(), training=False)
    wanted, _ = shared(images(), tf.constant(arc.tokens), training=False)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    assert np.ptp(wanted) > 0
    heads = network.get_layer("aux_head").get_weights(), shared.aux_head.get_weights()
    assert all(map(np.array_equal, *heads)) and len(heads[0]) == 7


def test_only_the_drawn_weights_get_a_gradient():
    net = supernet()
    tokens = tf.constant([3, 0, 3, 1, 0, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(images(), tokens, training=True)[0] ** 2)
    kernels = [net.stages[0].banks[op].bank["kernel"].value for op in (2, 3)]
    moved = [
        np.abs(tf.convert_to_tensor(g)).reshape(12, -1).max(axis=1) > 0
        for g in tape.gradient(loss, kernels)
    ]
    # Six edges in each of two cells.
    assert np.flatnonzero(moved[0]).tolist() == [5, 11]
    assert np.flatnonzero(moved[1]).tolist() == [0, 2, 6, 8]


@pytest.mark.parametrize("moving", [True, False])
def test_by_moving_averages_an_image_does_not_depend_on_its_batch(moving):
    net = supernet(moving_averages=moving)
    x, tokens = images(), tf.constant([3, 1, 2, 0, 4, 3])
    for _ in range(3):
        net(x, tokens, training=True)
    alone, together = net(x[:1], tokens)[0], net(x, tokens)[0][:1]
    assert np.allclose(alone, together, rtol=1e-4, atol=1e-5) is moving


def test_every_batch_norm_that_ran_keeps_averages():
    net = supernet(moving_averages=True)
    before = {v.path: np.array(v) for v in net.non_trainable_variables}
    net(images(), tf.constant([3, 1, 2, 0, 4, 3]), training=True)
    banks = {a.path for s in net.stages for b in s.banks for a in b.non_trainable_variables}
    for variable in net.non_trainable_variables:
        moved = np.any(np.array(variable) != before[variable.path], axis=-1)
        if variable.path not in banks:
            assert np.all(moved), variable.path
        else:
            rows = [2, 8] if "1x1" in variable.path else [0, 5, 6, 11]
            assert np.flatnonzero(moved).tolist() == rows, variable.path
    # Without averages, training computes the same.
    x, tokens = images(), tf.constant([3, 1, 2, 0, 4, 3])
    plain, moving = (supernet(moving_averages=m)(x, tokens, training=True)[0] for m in (0, 1))
    np.testing.assert_allclose(plain, moving, rtol=1e-4, atol=1e-5)


def test_drop_path_and_the_auxiliary_head_act_in_training_alone():
    config = Nasbench201ChildConfig(
        num_cells=1, out_filters=4, keep_prob=1.0, drop_path_keep_prob=0.3, aux_head=True
    )
    net = supernet(config)
    net.stages[0].drop_paths[0]._rng.step.assign(9)
    x, tokens = images(), tf.constant([3, 3, 3, 3, 3, 3])
    logits, aux_logits = net(x, tokens, training=True)
    assert logits.shape == aux_logits.shape == (6, 3)
    assert not np.allclose(logits, net(x, tokens)[0], atol=1e-3)
    assert net(x, tokens)[1] is None
    # There is nothing to drop of ops that compute nothing.
    free = tf.constant([1, 0, 1, 1, 0, 1])
    np.testing.assert_allclose(net(x, free, training=True)[0], net(x, free)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "nodes", "ops"), [((7, 9, 1), 2, "5"), ((12, 12, 3), 5, "none,skip_connect")]
)
def test_images_nodes_and_ops_of_any_number(shape, nodes, ops):
    net = supernet(nodes=nodes, shape=shape, ops=ops)
    tokens = tf.ones([len(Nasbench201Space(nodes).slots)], tf.int32)
    assert net(images(2, shape), tokens, training=True)[0].shape == (2, 3)
