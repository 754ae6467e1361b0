import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.macro.controller import MacroController, MacroControllerConfig
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.ppo import Ppo, clipped_surrogate
from enas_tf.search.reinforce import Reinforce

WANTED = [1, 2, 0, 3, 0, 4, 1, 0]
OTHER = [0] * 8


def ppo(**config):
    keras.utils.set_random_seed(0)
    return Ppo(MicroController(MicroSpace(1), ControllerConfig(**{"entropy_weight": 0} | config)))


# A clip of 0.2: the gain of each ratio, and what it grows by as the ratio does.
CLIPPED = [
    # Likelier than when it was drawn, and good: no more is gained beyond 1.2.
    (1.1, 2.0, 2.2, 2.0),
    (1.5, 2.0, 2.4, 0.0),
    # Good and less likely: pulled back, however far.
    (0.5, 2.0, 1.0, 2.0),
    # Bad: nothing is gained beyond 0.8, and what has become likelier is pulled back.
    (0.9, -2.0, -1.8, -2.0),
    (0.5, -2.0, -1.6, 0.0),
    (1.5, -2.0, -3.0, -2.0),
]


@pytest.mark.parametrize(("ratio", "advantage", "gain", "slope"), CLIPPED)
def test_the_clip_by_hand(ratio, advantage, gain, slope):
    ratios = tf.Variable([[ratio]])
    with tf.GradientTape() as tape:
        found = clipped_surrogate(ratios, tf.constant([[advantage]]), 0.2)
    assert found.numpy().item() == pytest.approx(gain)
    assert tape.gradient(found, ratios).numpy().item() == pytest.approx(slope)


@pytest.mark.parametrize("space", ["micro", "macro"])
def test_with_one_epoch_its_gradient_is_reinforces(space):
    def after(algorithm):
        keras.utils.set_random_seed(3)
        # With a penalty and an entropy of weight, and beta_1 = 0: the first moment is the gradient.
        options = {"kind": "ppo", "ppo_epochs": 1, "entropy_weight": 0.1, "init_range": 0.5}
        if space == "micro":
            made = algorithm(MicroController(MicroSpace(1), ControllerConfig(**options)))
        else:
            made = algorithm(MacroController(MacroSpace(4), MacroControllerConfig(**options)))
        tokens = made.propose(6, (0, 1)).tokens
        metrics = made.feedback(tokens, [0.1, 0.9, 0.4, 0.3, 0.8, 0.2])
        moments = [np.array(moment) for moment in made.optimizer._momentums]
        return moments, {name: float(value) for name, value in metrics.items()}

    (theirs, reported), (ours, also) = after(Reinforce), after(Ppo)
    assert max(np.abs(moment).max() for moment in theirs) > 1e-3
    for wanted, found in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    # It reports the same quantities; its loss has the same gradient and another value.
    assert also.keys() == reported.keys() | {"clip_fraction"} and also["clip_fraction"] == 0
    for name in reported.keys() - {"loss"}:
        assert also[name] == pytest.approx(reported[name], rel=1e-4, abs=1e-6)


def test_the_first_loss_by_hand():
    algorithm = ppo(ppo_epochs=1)
    metrics = algorithm.feedback(tf.constant([WANTED, OTHER]), [0.3, 0.8])
    # All ratios are 1: each of eight choices gains the advantage, after baselines of decay 0.99.
    advantages = np.array([0.3, 0.8]) - [0.003, 0.003 * 0.99 + 0.008]
    assert float(metrics["loss"]) == pytest.approx(-8 * advantages.mean(), rel=1e-5)


def test_takes_as_many_steps_as_asked_for_and_moves_the_baseline_once():
    algorithm = ppo(ppo_epochs=3)
    algorithm.feedback(tf.constant([WANTED]), [1.0])
    assert int(algorithm.optimizer.iterations) == 3
    assert float(algorithm.baseline.value) == pytest.approx(0.01)
    algorithm.feedback(tf.constant([WANTED]), [1.0])
    assert int(algorithm.optimizer.iterations) == 6
    assert float(algorithm.baseline.value) == pytest.approx(0.0199)


def test_what_has_moved_far_enough_is_pushed_no_further():
    def moved(clip):
        # So small steps that rounding does not matter.
        algorithm = ppo(ppo_epochs=10, ppo_clip=clip, learning_rate=0.002, init_range=0.5)
        before = algorithm.controller.score(tf.constant([WANTED])).log_probs
        metrics = algorithm.feedback(tf.constant([WANTED]), [1.0])
        after = algorithm.controller.score(tf.constant([WANTED])).log_probs
        return np.exp(after - before).max(), float(metrics["clip_fraction"])

    (narrow, often), (wide, never) = moved(0.1), moved(0.9)
    # A choice's last step, or those of others, may carry it a little beyond the clip.
    assert 1.1 < narrow < 1.2 and 1.5 < wide < 1.9
    assert often > 0.2 and never == 0


def test_the_architecture_that_is_rewarded_becomes_likely():
    algorithm = ppo(learning_rate=0.01, baseline_decay=0.95, init_range=0.5)
    wanted = tf.constant([WANTED])
    before = float(algorithm.log_prob(wanted)[0])
    for step in range(30):
        tokens = algorithm.propose(20, (0, step)).tokens
        hits = tf.reduce_mean(tf.cast(tf.equal(tokens, wanted), tf.float32), axis=1)
        algorithm.feedback(tokens, hits)
    assert float(algorithm.log_prob(wanted)[0]) > before + 1
