"""The average of weights over steps, which often does better than the weights themselves.

Reference: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992;
`_create_average_ops` of the authors' fixed_lib.py, which starts its count at a random number.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf

from enas_tf.training.checkpoints import named_weights


class WeightAverage:
    """The mean of weights over all calls of `update`.

    Create it within the strategy's scope, after the weights, and call `update` after each step.

    Args:
        weights: Keras variables.
    """

    def __init__(self, weights: list) -> None:
        self._strategy = tf.distribute.get_strategy()
        self._names = list(named_weights("average", weights))
        self._weights = [weight.value for weight in weights]
        self._averages = [
            tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self._weights
        ]
        self._count = tf.Variable(0.0, trainable=False)
        self.update = tf.function(self._update, autograph=False)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""
        return {**dict(zip(self._names, self._averages, strict=True)), "average_count": self._count}

    def _update(self) -> None:
        """Adds the current weights to the mean."""
        self._strategy.run(self._take_in)

    def _take_in(self) -> None:
        share = 1 / (self._count + 1)
        for weight, average in zip(self._weights, self._averages, strict=True):
            average.assign(share * weight + (1 - share) * average)
        self._count.assign_add(1)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replaces the weights by their averages within a context."""
        kept = [weight.numpy() for weight in self._weights]
        self._assign([average.numpy() for average in self._averages])
        try:
            yield
        finally:
            self._assign(kept)

    def _assign(self, values: list) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.assign(value)
