"""Random search: the baseline of equal budget, which draws uniformly and learns nothing.

Reference: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search",
2019.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.baseline import Baseline
from enas_tf.search.controller import NEVER, Controller, ControllerConfig, Draws, Pick


class RandomSearch(Algorithm):
    """Draws all architectures of a space with the same probability, whatever their rewards.

    It has no weights. It keeps the moving average of rewards: compared with that of a controller,
    it shows how far the shared weights alone have come.

    Args:
        space: the space of the architectures.
        config: settings of entropy and baseline.
        true_entropy: whether the controller of this space reports the entropy of its
            distributions, so that both report the same quantity.
    """

    learns = False

    def __init__(self, space: Space, config: ControllerConfig, true_entropy: bool = False) -> None:
        super().__init__(space, config)
        self._true_entropy = true_entropy or config.entropy == "true_entropy"
        self._baseline = Baseline(config)
        self._updates = tf.Variable(0, trainable=False, dtype=tf.int64, name="updates")
        self._sample = tf.function(self._draw, autograph=False)

    @classmethod
    def make(
        cls, controller: type[Controller], space: Space, config: ControllerConfig
    ) -> "RandomSearch":
        """Makes a random search, which has no controller."""
        return cls(space, config, controller.true_entropy)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name: the baseline and its update count."""
        return {"baseline": self._baseline.value, "updates": self._updates}

    def propose(self, n: int, seed: Sequence[int]) -> Draws:
        """Draws `n` architectures uniformly."""
        # On the host, as `Algorithm` explains; `n` is a tensor, so that one trace serves any `n`.
        with tf.device("CPU:0"):
            return self._sample(tf.constant(n), None, tf.constant(seed))

    def feedback(self, tokens: tf.Tensor, rewards: Sequence[float]) -> dict[str, tf.Tensor]:
        """Reports the metrics of a trained controller, but updates only the baseline."""
        with tf.device("CPU:0"):
            return self._report(tf.constant(tokens), tf.constant(rewards, tf.float32))

    def log_prob(self, tokens: tf.Tensor) -> tf.Tensor:
        """Computes the log-probabilities, `(n,)`: minus the log of the number of architectures."""
        with tf.device("CPU:0"):
            return self._score(tokens).log_prob

    @tf.function(autograph=False)
    def _report(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        draws = self._score(tokens)
        is_first = tf.equal(self._updates, 0)
        advantages, metrics = self._baseline.advantages(draws, rewards, is_first)
        self._updates.assign_add(1)
        loss = tf.reduce_mean(-draws.log_prob * advantages)
        return {"loss": loss, **metrics, "grad_norm": tf.zeros([])}

    def _score(self, tokens: tf.Tensor) -> Draws:
        return self._draw(tf.shape(tokens)[0], tokens, tf.zeros([2], tf.int32))

    def _draw(self, n: int | tf.Tensor, tokens: tf.Tensor | None, seed: tf.Tensor) -> Draws:
        """Draws architectures, or replays given ones; each outcome of a choice is as likely."""
        sizes, slot = self.space.sizes, 0
        pick = Pick(len(sizes), n, tokens, seed, self._true_entropy)
        for outcomes in self.space.choices:
            width = len(outcomes[0])
            # How many outcomes there are from here on, by the tokens chosen so far.
            left = np.zeros(sizes[slot : slot + width], np.float32)
            left[tuple(zip(*outcomes, strict=True))] = 1
            chosen = tf.zeros([n, 0], tf.int32)
            for place in range(width):
                counts = left.sum(axis=tuple(range(place + 1, width)))
                logits = np.where(counts > 0, np.log(np.maximum(counts, 1)), NEVER)
                token = pick(slot + place, tf.gather_nd(tf.constant(logits, tf.float32), chosen))
                chosen = tf.concat([chosen, token[:, tf.newaxis]], axis=1)
            slot += width
        return pick.draws()
