import numpy as np
import pytest
import tensorflow as tf

from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.reinforce import Reinforce

WANTED = [1, 2, 0, 3, 0, 4, 1, 0]


def reinforce_of(**config):
    tf.keras.utils.set_random_seed(0)
    return Reinforce(MicroController(MicroSpace(1), ControllerConfig(entropy_weight=0, **config)))


def test_a_reward_is_taken_in_before_its_advantage():
    reinforce = reinforce_of(baseline_decay=0.99)
    metrics = reinforce.feedback(tf.constant([WANTED, WANTED]), [1.0, 2.0])
    advantages = np.array([1.0, 2.0]) - [0.01, 0.0299]
    assert float(reinforce.baseline.value) == pytest.approx(0.0299, rel=1e-5)
    assert float(metrics["advantage"]) == pytest.approx(advantages.mean(), rel=1e-5)


def test_the_first_reward_starts_the_baseline_once():
    reinforce = reinforce_of(baseline_decay=0.99, baseline_init="first")
    reinforce.feedback(tf.constant([WANTED, WANTED]), [1.0, 2.0])
    assert float(reinforce.baseline.value) == pytest.approx(1.01, rel=1e-5)
    reinforce.feedback(tf.constant([WANTED]), [3.01])
    assert float(reinforce.baseline.value) == pytest.approx(1.03, rel=1e-5)


def test_the_loss_by_hand():
    reinforce = reinforce_of()
    tokens, rewards = tf.constant([WANTED, [0] * 8]), np.array([0.3, 0.8])
    log_probs = reinforce.controller.score(tokens).log_prob.numpy()
    baselines = [0.003, 0.003 * 0.99 + 0.008]
    metrics = reinforce.feedback(tokens, rewards)
    wanted = -np.mean(log_probs * (rewards - baselines))
    assert float(metrics["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(metrics["reward"]) == pytest.approx(0.55)


def test_the_architecture_that_is_rewarded_becomes_likely():
    reinforce = reinforce_of(learning_rate=0.02, baseline_decay=0.95, init_range=0.5)
    controller, wanted = reinforce.controller, tf.constant([WANTED])
    before = float(controller.score(wanted).log_prob[0])
    for step in range(100):
        tokens = reinforce.propose(20, (0, step)).tokens
        hits = tf.reduce_mean(tf.cast(tf.equal(tokens, wanted), tf.float32), axis=1)
        reinforce.feedback(tokens, hits)
    assert float(controller.score(wanted).log_prob[0]) > before + 1


def test_no_advantage_moves_nothing():
    reinforce = reinforce_of(baseline_decay=0.0)
    before = [np.array(v) for v in reinforce.controller.variables]
    # Such a baseline is the reward itself.
    reinforce.feedback(tf.constant([WANTED, [0] * 8]), [0.5, 0.9])
    for old, new in zip(before, reinforce.controller.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_gradient_is_the_mean_of_single_ones():
    tokens, rewards = [WANTED, [0] * 8], [0.5, 0.9]

    def first_moments(which, baseline):
        reinforce = reinforce_of(baseline_decay=0.99)
        reinforce.baseline.value.assign(baseline)
        reinforce.feedback(tf.constant([tokens[i] for i in which]), [rewards[i] for i in which])
        # With beta_1 = 0 Adam's first moment is the gradient.
        return [np.array(moment) for moment in reinforce.optimizer._momentums]

    both, one = first_moments([0, 1], 0.0), first_moments([0], 0.0)
    other = first_moments([1], 0.005)  # the baseline after the first reward
    for joint, left, right in zip(both, one, other, strict=True):
        np.testing.assert_allclose(joint, (left + right) / 2, rtol=1e-3, atol=1e-6)
