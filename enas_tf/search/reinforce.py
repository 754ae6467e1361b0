"""REINFORCE with a moving-average baseline, which trains a controller from rewards.

Reference: Williams, "Simple statistical gradient-following algorithms", 1992; Pham et al. 2018,
section 2.2; `build_trainer` of the authors' controllers.
"""

import tensorflow as tf

from enas_tf.search.policy_gradient import PolicyGradient


class Reinforce(PolicyGradient):
    """Takes one step of Adam in each update.

    The loss is the mean over the architectures of `-log_prob * (reward - baseline) + penalty`,
    where the reward includes the weighted entropy, the baseline already includes this reward, and
    the penalty is the controller's own.

    Args:
        controller: the controller to train.
    """

    @tf.function(autograph=False)
    def _learn(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            draws = self.controller.score(tokens)
            with tape.stop_recording():
                advantages, metrics = self._advance_baseline(draws, rewards)
            loss = tf.reduce_mean(draws.penalty - draws.log_prob * advantages)
        grad_norm = self._descend(tape, loss)
        own = {name: tf.reduce_mean(values) for name, values in draws.metrics.items()}
        return own | {"loss": loss} | metrics | {"grad_norm": grad_norm}
