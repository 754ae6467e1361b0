import numpy as np
import pytest
import tensorflow as tf

from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.reinforce import Reinforce

WANTED = [1, 2, 0, 3, 0, 4, 1, 0]


def learner(**config):
    tf.keras.utils.set_random_seed(0)
    return Reinforce(MicroController(MicroSpace(1), ControllerConfig(entropy_weight=0, **config)))


@pytest.mark.parametrize(("start", "wanted"), [("zero", [0.01, 0.0299]), ("first", [1.0, 1.01])])
def test_the_baseline_takes_in_each_reward_before_its_advantage(start, wanted):
    reinforce = learner(baseline_decay=0.99, baseline_init=start)
    tokens = tf.constant([WANTED, WANTED])
    numbers = reinforce.learn(tokens, tf.constant([1.0, 2.0]))
    advantages = np.array([1.0, 2.0]) - wanted
    assert float(reinforce.baseline) == pytest.approx(wanted[-1], rel=1e-5)
    assert float(numbers["advantage"]) == pytest.approx(advantages.mean(), rel=1e-5)


def test_the_loss_by_hand():
    reinforce = learner()
    tokens, rewards = tf.constant([WANTED, [0] * 8]), np.array([0.3, 0.8])
    log_probs = reinforce.controller.score(tokens).log_prob.numpy()
    baselines = [0.003, 0.003 * 0.99 + 0.008]
    numbers = reinforce.learn(tokens, tf.constant(rewards, tf.float32))
    wanted = -np.mean(log_probs * (rewards - baselines))
    assert float(numbers["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(numbers["reward"]) == pytest.approx(0.55)


def test_the_architecture_that_is_rewarded_becomes_likely():
    reinforce = learner(learning_rate=0.02, baseline_decay=0.95, init_range=0.5)
    controller, wanted = reinforce.controller, tf.constant([WANTED])
    sample = tf.function(controller.sample, autograph=False)
    before = float(controller.score(wanted).log_prob[0])
    for step in range(100):
        tokens = sample(20, tf.constant([0, step])).tokens
        hits = tf.reduce_mean(tf.cast(tf.equal(tokens, wanted), tf.float32), axis=1)
        reinforce.learn(tokens, hits)
    assert float(controller.score(wanted).log_prob[0]) > before + 1


def test_no_advantage_moves_nothing():
    reinforce = learner(baseline_decay=0.0)
    before = [np.array(v) for v in reinforce.controller.variables]
    # Such a baseline is the reward itself.
    reinforce.learn(tf.constant([WANTED, [0] * 8]), tf.constant([0.5, 0.9]))
    for old, new in zip(before, reinforce.controller.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_gradient_is_the_mean_of_single_ones():
    tokens, rewards = [WANTED, [0] * 8], [0.5, 0.9]

    def first_moments(which, baseline):
        reinforce = learner(baseline_decay=0.99)
        reinforce.baseline.assign(baseline)
        reinforce.learn(
            tf.constant([tokens[i] for i in which]), tf.constant([rewards[i] for i in which])
        )
        # With beta_1 = 0 Adam's first moment is the gradient.
        return [np.array(moment) for moment in reinforce.optimizer._momentums]

    both, one = first_moments([0, 1], 0.0), first_moments([0], 0.0)
    other = first_moments([1], 0.005)  # the baseline after the first reward
    for joint, left, right in zip(both, one, other, strict=True):
        np.testing.assert_allclose(joint, (left + right) / 2, rtol=1e-3, atol=1e-6)


def test_a_random_controller_learns_nothing():
    reinforce = learner(kind="random")
    before = [np.array(v) for v in reinforce.controller.variables]
    numbers = reinforce.learn(tf.constant([WANTED]), tf.constant([1.0]))
    for old, new in zip(before, reinforce.controller.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(numbers["grad_norm"]) == 0
    assert float(reinforce.baseline) == pytest.approx(0.01)
