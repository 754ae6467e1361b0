"""The baseline: a moving average of rewards, which new rewards are compared with."""

import tensorflow as tf

from enas_tf.search.controller import ControllerConfig, Draws


class Baseline:
    """A moving average of rewards.

    Args:
        config: defines the decay and where the average starts.

    Attributes:
        value: the average, a scalar variable, float32.
    """

    def __init__(self, config: ControllerConfig) -> None:
        self._decay = config.baseline_decay
        self._entropy_weight = config.entropy_weight
        self._starts_at_first = config.baseline_init == "first"
        self.value = tf.Variable(0.0, trainable=False, name="baseline")

    def advance(self, rewards: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Adds rewards to the average, one after the other.

        Args:
            rewards: `(n,)`, float32; `n` must be known when the graph is traced.
            is_first: whether these are the very first rewards, a bool scalar.

        Returns:
            The baseline after each of the rewards, `(n,)`. As in the authors' code, the advantage
            of a reward is taken over a baseline that already includes it.
        """
        start = self.value.read_value()
        if self._starts_at_first:
            start = tf.where(is_first, rewards[0], start)
        baselines = []
        for reward in tf.unstack(rewards):
            start = start - (1 - self._decay) * (start - reward)
            baselines.append(start)
        self.value.assign(start)
        return tf.stack(baselines)

    def advantages(
        self, draws: Draws, rewards: tf.Tensor, is_first: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Adds the rewards of an update, with their entropy term, to the average.

        Args:
            draws: the architectures, `n` of them.
            rewards: `(n,)`, float32.
            is_first: as in `advance`.

        Returns:
            What each reward has over the average, `(n,)`, which no gradient goes through; and the
            metrics of an update that do not depend on a loss.
        """
        whole_rewards = rewards + self._entropy_weight * draws.entropy
        baselines = self.advance(whole_rewards, is_first)
        advantages = tf.stop_gradient(whole_rewards - baselines)
        return advantages, {
            "reward": tf.reduce_mean(rewards),
            "baseline": baselines[-1],
            "advantage": tf.reduce_mean(advantages),
            "entropy": tf.reduce_mean(draws.entropy),
            "log_prob": tf.reduce_mean(draws.log_prob),
        }
