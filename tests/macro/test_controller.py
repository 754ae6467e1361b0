import itertools
import math
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.macro.controller import MacroController, MacroControllerConfig
from enas_tf.macro.space import MacroSpace
from enas_tf.search.reinforce import Reinforce


@pytest.fixture(scope="module")
def controller():
    keras.utils.set_random_seed(0)
    return MacroController(MacroSpace(5), MacroControllerConfig(init_range=1.0))


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
    keras.utils.set_random_seed(0)
    controller = MacroController(MacroSpace(3), MacroControllerConfig(init_range=1.0))
    choices = [range(size) for size in controller.space.sizes]
    tokens = tf.constant(list(itertools.product(*choices)))
    log_prob = controller.score(tokens).log_prob.numpy()
    assert len(tokens) == controller.space.count()
    assert np.exp(log_prob.astype(np.float64)).sum() == pytest.approx(1, rel=1e-4)


def test_entropy_is_of_the_values_that_came_unless_the_true_one_is_asked_for():
    space = MacroSpace(2)
    tokens = tf.constant([[0, 3, 1]])

    def entropy(kind):
        config = MacroControllerConfig(entropy=kind, init_range=0.0)
        return float(MacroController(space, config).score(tokens).entropy[0])

    # Without weights each op has probability 1/6, and each bit 1/2.
    assert entropy("source") == pytest.approx(2 * math.log(6) / 6 + math.log(2) / 2)
    assert entropy("true_entropy") == pytest.approx(2 * math.log(6) + math.log(2))


def test_penalty_by_hand_and_skip_rate():
    config = MacroControllerConfig(init_range=0.0, skip_target=0.4, skip_weight=0.8)
    draws = MacroController(MacroSpace(3), config).score(tf.constant([[0, 1, 1, 2, 0, 1]]))
    # Both sigmoids are 0.5; layer 1 has one skip, layer 2 two, and the mean is over two layers.
    of_skip = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4)
    assert float(draws.metrics["skip_penalty"][0]) == pytest.approx(1.5 * of_skip, rel=1e-5)
    assert float(draws.penalty[0]) == pytest.approx(0.8 * 1.5 * of_skip, rel=1e-5)
    assert float(draws.metrics["skip_rate"][0]) == pytest.approx(2 / 3)


def test_learning_without_rewards_leads_to_the_skip_target():
    keras.utils.set_random_seed(0)
    config = MacroControllerConfig(
        skip_target=0.2, skip_weight=10.0, tanh_constant=2.5, learning_rate=0.02, entropy_weight=0.0
    )
    reinforce = Reinforce(MacroController(MacroSpace(5), config))
    for step in range(200):
        tokens = reinforce.propose(20, (0, step)).tokens
        metrics = reinforce.feedback(tokens, [0.0] * 20)
    rates = reinforce.propose(500, (1, 0)).metrics["skip_rate"]
    # A bit's probability is the sigmoid of 2q where that of q is the target: 0.06 where 0.2.
    assert np.mean(rates) == pytest.approx(0.06, abs=0.025)
    assert metrics["skip_rate"] < 0.2


def test_the_next_input_is_the_mean_of_the_joined_anchors_and_one_more():
    keras.utils.set_random_seed(0)
    controller = MacroController(MacroSpace(3), MacroControllerConfig(init_range=1.0))
    inputs = []
    step = controller.step
    controller.step = lambda x, state: (inputs.append(x), step(x, state))[1]
    controller.attend = lambda output, keys: tf.zeros([1, len(keys)])
    controller.score(tf.constant([[0, 1, 1, 2, 1, 0]]))
    # Two inputs a layer: layer 0 starts twice with the start embedding, since it has no skips.
    np.testing.assert_array_equal(inputs[0], controller.start)
    np.testing.assert_array_equal(inputs[2], controller.start)
    np.testing.assert_array_equal(inputs[1][0], controller.op_embedding[0])
    assert len(inputs) == 6
    # Layer 1 joins one entry, whose anchor is the output of layer 0's second step.
    zeros = [tf.zeros([1, 64])] * 2
    _, state = step(inputs[0], zeros)
    anchor, _ = step(inputs[1], state)
    np.testing.assert_allclose(inputs[4], anchor / 2, rtol=1e-5, atol=1e-6)


def test_the_seventh_op_can_be_drawn():
    arc = MacroSpace(3, op_set=7).random(random.Random(3))
    controller = MacroController(MacroSpace(3, op_set=7), MacroControllerConfig())
    draws = controller.sample(100, tf.constant([0, 0]))
    assert draws.tokens.numpy()[:, 0].max() == 6
    assert controller.score(tf.constant([arc.tokens])).log_prob[0] < 0


def test_a_single_layer_has_an_op_to_learn():
    keras.utils.set_random_seed(0)
    reinforce = Reinforce(MacroController(MacroSpace(1), MacroControllerConfig()))
    before = float(reinforce.controller.score(tf.constant([[4]])).log_prob[0])
    for _ in range(5):
        reinforce.feedback(tf.constant([[4]]), [1.0])
    assert float(reinforce.controller.score(tf.constant([[4]])).log_prob[0]) > before


@pytest.mark.parametrize(
    ("field", "value"), [("skip_target", 0.0), ("skip_target", 1.0), ("skip_weight", -1.0)]
)
def test_values_that_make_no_controller_are_refused(field, value):
    with pytest.raises(UserError, match=f"controller.{field} must"):
        MacroControllerConfig(**{field: value})
