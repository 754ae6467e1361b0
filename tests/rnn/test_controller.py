import itertools
import math
from dataclasses import asdict

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.rnn.controller import RnnController, RnnControllerConfig
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.reinforce import Reinforce


def make(num_nodes, **options):
    keras.utils.set_random_seed(0)
    return RnnController(RnnSpace(num_nodes), RnnControllerConfig(**options))


@pytest.fixture(scope="module")
def controller():
    return make(5, init_range=1.0)


def test_defaults_are_those_of_the_authors():
    assert asdict(RnnControllerConfig()) == {
        "kind": "lstm",
        "ppo_clip": 0.2,
        "ppo_epochs": 4,
        "lstm_size": 64,
        "temperature": 5.0,
        "tanh_constant": 2.25,
        "op_tanh_reduce": 1.0,
        "entropy": "source",
        "entropy_weight": 1e-5,
        "learning_rate": 5e-5,
        "beta_1": 0.9,
        "epsilon": 1e-8,
        "baseline_decay": 0.999,
        "baseline_init": "zero",
        "init_range": 0.01,
    }


def test_has_the_authors_number_of_parameters_which_are_small():
    controller = make(8)
    assert controller.count_params() == 41_344
    largest = max(np.max(np.abs(weight)) for weight in controller.get_weights())
    assert 0.0099 < largest <= 0.01


def test_values_that_make_no_controller_are_refused():
    with pytest.raises(UserError, match=r"controller\.temperature must not be negative"):
        RnnControllerConfig(temperature=-1.0)


def test_scores_what_it_drew(controller):
    draws = controller.sample(50, tf.constant([3, 4]))
    scores = controller.score(draws.tokens)
    np.testing.assert_array_equal(scores.tokens, draws.tokens)
    for name in ("log_prob", "entropy", "penalty"):
        np.testing.assert_allclose(getattr(scores, name), getattr(draws, name), rtol=1e-5)


def test_draws_are_of_the_space_and_follow_from_the_seed(controller):
    draws = controller.sample(50, tf.constant([3, 4]))
    for tokens in draws.tokens.numpy():
        assert controller.space.check(tokens.tolist()) == tuple(tokens)
    again = controller.sample(50, tf.constant([3, 4]))
    other = controller.sample(50, tf.constant([3, 5]))
    np.testing.assert_array_equal(draws.tokens, again.tokens)
    assert np.any(draws.tokens != other.tokens)


def test_probabilities_of_all_architectures_sum_to_one():
    controller = make(3, init_range=1.0)
    choices = [range(size) for size in controller.space.sizes]
    tokens = tf.constant(list(itertools.product(*choices)))
    probs = np.exp(controller.score(tokens).log_prob.numpy().astype(np.float64))
    assert len(tokens) == controller.space.count()
    assert probs.sum() == pytest.approx(1, rel=1e-4)
    # Not for being all alike.
    assert probs.max() > 10 * probs.min()


def near_nodes(node):
    """The distance prior by hand: the probability of each earlier node, from 0 on."""
    weights = [math.exp(-((node - earlier) ** 2) / 6) for earlier in range(node)]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_without_weights_near_nodes_are_likelier(index):
    tokens = tf.constant([[0, 3, 1, 2, index, 0]])
    log_prob = float(make(3, init_range=0.0).score(tokens).log_prob[0])
    # Distances 2 and 1 from node 2, and 3, 2 and 1 from node 3.
    of_node_2 = math.exp(-1 / 6) / (math.exp(-4 / 6) + math.exp(-1 / 6))
    of_node_3 = math.exp(-[9, 4, 1][index] / 6) / sum(math.exp(-d / 6) for d in (9, 4, 1))
    assert log_prob == pytest.approx(math.log(of_node_2 * of_node_3 / 4**3), rel=1e-5)


def test_draws_near_nodes_as_often_as_the_prior_says():
    draws = make(4, init_range=0.0).sample(4000, tf.constant([0, 1]))
    indices = draws.tokens.numpy()[:, 6]
    shares = np.bincount(indices, minlength=4) / 4000
    np.testing.assert_allclose(shares, near_nodes(4), atol=0.03)


def test_entropy_is_of_the_values_that_came_unless_the_true_one_is_asked_for():
    tokens = tf.constant([[0, 3, 0, 1]])

    def entropy(kind):
        controller = make(2, entropy=kind, init_range=0.0)
        return float(controller.score(tokens).entropy[0])

    far, near = near_nodes(2)
    of_ops = 2 * math.log(4)
    # Node 1 has no choice of its index, and so no entropy.
    assert entropy("source") == pytest.approx(of_ops / 4 - far * math.log(far), rel=1e-5)
    whole = -far * math.log(far) - near * math.log(near)
    assert entropy("true_entropy") == pytest.approx(of_ops + whole, rel=1e-5)


@pytest.fixture
def recorded(controller, monkeypatch):
    """The inputs and the outputs of the LSTM's steps, as they come."""
    inputs, outputs, step = [], [], controller.step

    def record(x, state):
        output, state = step(x, state)
        inputs.append(x)
        outputs.append(output)
        return output, state

    monkeypatch.setattr(controller, "step", record)
    return inputs, outputs


def test_the_next_input_is_the_chosen_anchor_by_its_distance(controller, recorded):
    inputs, outputs = recorded
    controller.score(tf.constant([[0, 1, 1, 3, 1, 0, 0, 2, 4, 1]]))
    # Two steps a node: for its index, and for its activation.
    assert len(inputs) == 10
    np.testing.assert_array_equal(inputs[0], controller.start)
    # Nodes 1 and 4 choose node 0, whose anchor is zero.
    np.testing.assert_array_equal(inputs[1], tf.zeros([1, 64]))
    np.testing.assert_array_equal(inputs[7], tf.zeros([1, 64]))
    # The anchor of a node is the output of its first step. Nodes 2 and 3 choose node 1, at
    # distances 1 and 2; node 5 chooses node 4.
    np.testing.assert_allclose(inputs[3], outputs[0] / 1.1, rtol=1e-6)
    np.testing.assert_allclose(inputs[5], outputs[0] / 2.1, rtol=1e-6)
    np.testing.assert_allclose(inputs[9], outputs[6] / 1.1, rtol=1e-6)
    for step, op in ((2, 1), (4, 3), (6, 0), (8, 2)):
        np.testing.assert_array_equal(inputs[step][0], controller.op_embedding[op])


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits)))


def test_probabilities_by_hand_from_the_steps_outputs(controller, recorded):
    _, outputs = recorded
    tokens = [0, 1, 1, 3, 1, 0, 0, 2, 4, 1]
    log_prob = float(controller.score(tf.constant([tokens])).log_prob[0])
    names = "key_kernel", "query_kernel", "attention", "op_embedding"
    weights = {name: np.asarray(getattr(controller, name)) for name in names}
    outputs = [output.numpy()[0] for output in outputs]
    expected = 0.0
    for node, (index, op) in enumerate(zip(tokens[::2], tokens[1::2], strict=True), 1):
        first, second = outputs[2 * node - 2 : 2 * node]
        anchors = [np.zeros(64), *outputs[0 : 2 * node - 2 : 2]]
        query = first @ weights["query_kernel"]
        energies = [
            np.tanh(anchor @ weights["key_kernel"] + query) @ weights["attention"][:, 0]
            for anchor in anchors
        ]
        logits = 2.25 * np.tanh(np.array(energies) / 5) - np.arange(node, 0, -1) ** 2 / 6
        expected += log_softmax(logits)[index]
        logits = 2.25 * np.tanh(weights["op_embedding"] @ second / 5)
        expected += log_softmax(logits)[op]
    assert log_prob == pytest.approx(expected, rel=1e-5)


def test_the_prior_is_not_bounded_by_the_tanh_constant():
    # Distances 8 and 1 differ by 63 / 6 = 10.5, far more than twice the bound.
    tokens = [[0, 0] * 7 + [index, 0] for index in (0, 7)]
    far, near = make(8, init_range=1.0).score(tf.constant(tokens)).log_prob.numpy()
    assert near - far > 63 / 6 - 2 * 2.25


@pytest.mark.parametrize("num_nodes", [1, 3])
def test_learns_which_architecture_is_rewarded(num_nodes):
    # At one node no gradient reaches the attention.
    reinforce = Reinforce(make(num_nodes, init_range=0.1, learning_rate=0.01))
    wanted = tf.constant([[0, 2] * num_nodes])
    before = float(reinforce.controller.score(wanted).log_prob[0])
    for step in range(60):
        tokens = reinforce.propose(8, (0, step)).tokens
        reinforce.feedback(
            tokens, tf.reduce_mean(tf.cast(tokens[:, 1::2] == 2, tf.float32), axis=1)
        )
    assert float(reinforce.controller.score(wanted).log_prob[0]) > before + 0.5
