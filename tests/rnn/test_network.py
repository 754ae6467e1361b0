import random
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.layers import cost
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.network import CellRecurrence, build, count_cost, deployable
from enas_tf.rnn.space import RnnSpace
from enas_tf.zoo import RNN_ENAS

SMALL = RnnChildConfig(hidden_size=3, init_range=1.0)
WORDS, ROWS = 7, 2
# Node 1 is relu on node 0, node 2 sigmoid on node 1, node 3 identity on node 1.
ARC = RnnSpace(3).parse("0 1 1 2 1 3")


def network(config=SMALL, arc=ARC):
    keras.utils.set_random_seed(0)
    return build(arc, config, WORDS, ROWS, StepRng(10, seed=0))


def words_of(time, rows=ROWS):
    return tf.constant(np.random.default_rng(4).integers(0, WORDS, (rows, time)), tf.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("output", "ends"), [("all", [1, 2, 3]), ("loose_ends", [2, 3])])
def test_a_cell_by_hand(output, ends):
    net = network(replace(SMALL, output=output))
    embedding, entry, *kernels = (np.array(weight) for weight in net.trainable_variables)
    words = words_of(2)
    state, wanted = np.zeros((ROWS, 3)), []
    for time in range(2):
        states = [state]
        joined = np.concatenate([embedding[words[:, time]], state], axis=1)
        for source, kernel, activate in (
            (joined, entry, np.tanh),
            (0, kernels[0], lambda x: np.maximum(x, 0)),
            (1, kernels[1], sigmoid),
            (1, kernels[2], lambda x: x),
        ):
            first = source is joined
            read, old = (joined, state) if first else (states[source + 1],) * 2
            h, t = np.split(read @ kernel, 2, axis=1)
            states.append(old + sigmoid(t) * (activate(h) - old))
        state = np.mean([states[end + 1] for end in ends], axis=0)
        wanted.append(state)
    outputs = net(words, tf.constant(True))
    np.testing.assert_allclose(outputs.states, np.stack(wanted, axis=1), rtol=1e-4, atol=1e-6)
    logits = np.stack(wanted, axis=1) @ embedding.T
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-4, atol=1e-6)


def test_decay_is_the_sum_of_squares_of_all_weights():
    net = network(replace(SMALL, hidden_size=2))
    for number, weight in enumerate(net.trainable_variables, 1):
        weight.assign(tf.fill(weight.shape, float(number)))
    # 7 words of 2; node 0 has 4 x 4 weights, the others 2 x 4.
    wanted = 14 * 1 + 16 * 4 + 8 * (9 + 16 + 25)
    assert float(net(words_of(1), tf.constant(True)).decay) == pytest.approx(wanted)


@pytest.mark.parametrize("nodes", [1, 4])
def test_parameters_are_counted_without_building(nodes):
    arc = RnnSpace(nodes).random(random.Random(nodes))
    net = network(arc=arc)
    assert count_cost(arc, SMALL, WORDS).params == cost.count_params(net)
    assert len(net.variables) == len(net.trainable_variables) + 1


def test_parameters_of_the_published_cell():
    _, arc = RnnSpace.of(RNN_ENAS.text)
    assert count_cost(arc, RnnChildConfig(hidden_size=800), 10_000).params == 20_800_000


def test_advancing_from_a_state_leaves_the_carried_ones_alone():
    net, words = network(), words_of(6)
    whole = net(words, tf.constant(True))
    before = [np.array(v) for v in (net.carried.state, net.carried.evaluation_state)]
    logits, state = net.advance(words[:, :2], tf.zeros([ROWS, 3]))
    rest, last = net.advance(words[:, 2:], state)
    np.testing.assert_allclose(tf.concat([logits, rest], axis=1), whole.logits, rtol=1e-5)
    np.testing.assert_array_equal(last, whole.states[:, -1])
    for variable, value in zip(
        (net.carried.state, net.carried.evaluation_state), before, strict=True
    ):
        np.testing.assert_array_equal(variable, value)


def test_dropout_acts_in_training_alone():
    net = network(SMALL)
    logits = [net(words_of(4), tf.constant(True), training=t).logits for t in (True, False)]
    assert np.any(np.array(logits[0]) != np.array(logits[1]))
    wanted, _ = net.advance(words_of(4), tf.zeros([ROWS, 3]))
    np.testing.assert_array_equal(logits[1], wanted)


@pytest.mark.parametrize("output", ["all", "loose_ends"])
def test_the_recurrence_is_made_again_from_its_config(output):
    layer = network(replace(SMALL, output=output)).recurrence
    again = CellRecurrence.from_config(layer.get_config())
    again.build()
    again.set_weights(layer.get_weights())
    for actual, wanted in zip(
        again(words_of(3), tf.zeros([ROWS, 3])),
        layer(words_of(3), tf.zeros([ROWS, 3])),
        strict=True,
    ):
        np.testing.assert_array_equal(actual, wanted)


def test_a_deployed_network_is_saved_and_loaded(tmp_path):
    net, words = network(), words_of(5, rows=3)
    state = np.random.default_rng(5).normal(size=(3, 3)).astype(np.float32)
    model = deployable(net)
    assert [v.path for v in model.variables] == [v.path for v in net.trainable_variables]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = loaded({"tokens": words, "state": tf.constant(state)})
    logits, last = net.advance(words, tf.constant(state))
    np.testing.assert_allclose(found["log_probabilities"], tf.nn.log_softmax(logits), atol=1e-6)
    np.testing.assert_allclose(found["state"], last, atol=1e-6)
