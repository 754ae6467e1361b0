"""PPO: takes several steps on the same architectures, but not far from the policy that drew them.

Reference: Schulman et al., "Proximal Policy Optimization Algorithms", 2017, equation 7; the PPO
strategy of NNI, which takes four epochs over each batch of architectures.
"""

import tensorflow as tf

from enas_tf.search.policy_gradient import PolicyGradient


class Ppo(PolicyGradient):
    """Takes `ppo_epochs` steps of Adam in each update.

    Each choice of an architecture is an action with its own ratio: its probability now over that
    when it was drawn. All choices of an architecture share its advantage. In the first step all
    ratios are 1, and the gradient is that of REINFORCE.

    Args:
        controller: the controller to train.
    """

    def _learn(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        start, advantages, metrics = self._judge(tokens, rewards)
        # Steps are calls of one function and not unrolled: the graph is as small as REINFORCE's,
        # and starts as fast.
        steps = [self._step(tokens, start, advantages) for _ in range(self.config.ppo_epochs)]
        return {name: tf.reduce_mean([step[name] for step in steps]) for name in steps[0]} | metrics

    @tf.function(autograph=False)
    def _judge(
        self, tokens: tf.Tensor, rewards: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Scores the architectures with the controller that drew them.

        Returns:
            The log-probability of each choice, `(n, num_tokens)`; the advantages, `(n,)`; and the
            metrics that do not depend on the loss.
        """
        draws = self.controller.score(tokens)
        return draws.log_probs, *self._advance_baseline(draws, rewards)

    @tf.function(autograph=False)
    def _step(
        self, tokens: tf.Tensor, start: tf.Tensor, advantages: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            draws = self.controller.score(tokens)
            ratios = tf.exp(draws.log_probs - start)
            gains = clipped_surrogate(ratios, advantages[:, tf.newaxis], self.config.ppo_clip)
            loss = tf.reduce_mean(draws.penalty - tf.reduce_sum(gains, axis=1))
        is_outside = tf.greater(tf.abs(ratios - 1), self.config.ppo_clip)
        own = {name: tf.reduce_mean(values) for name, values in draws.metrics.items()}
        return own | {
            "loss": loss,
            "clip_fraction": tf.reduce_mean(tf.cast(is_outside, tf.float32)),
            "grad_norm": self._descend(tape, loss),
        }


def clipped_surrogate(ratios: tf.Tensor, advantages: tf.Tensor, clip: float) -> tf.Tensor:
    """Computes the gain that PPO maximises, `min(r A, clip(r, 1 - clip, 1 + clip) A)`.

    The minimum makes it a lower bound: a choice that has moved far enough in the direction of its
    advantage gains nothing more, so that its gradient is 0; one that has moved the wrong way is
    pulled back however far it is.

    Args:
        ratios: ratios of each choice's probability now to that when it was drawn.
        advantages: advantages, with a shape that broadcasts with that of the ratios.
        clip: how far from 1 a ratio may move and still gain.
    """
    bounded = tf.clip_by_value(ratios, 1 - clip, 1 + clip)
    return tf.minimum(ratios * advantages, bounded * advantages)
