"""The average of weights over steps, which often does better than the weights themselves.

Reference: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992;
`_create_average_ops` of the authors' fixed_lib.py, which starts its count at a random number.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf

from enas_tf.training.checkpoints import named_weights


class WeightAverage:
    """The mean of weights over all calls of `update`, or a moving average.

    Create it within the strategy's scope, after the weights, and call `update` after each step.

    Args:
        weights: Keras variables.
        decay: what is kept of a moving average at each update; the first 1 / (1 - decay) updates
            count equally, so that it does not start from zero. 1: the mean over all updates; 0: a
            copy of the weights at the last one.
        name: that the names of the variables begin with.
    """

    def __init__(self, weights: list, decay: float = 1.0, name: str = "average") -> None:
        self._strategy = tf.distribute.get_strategy()
        self._decay = decay
        self._name = name
        self._names = list(named_weights(name, weights))
        self._weights = [weight.value for weight in weights]
        self._averages = [
            tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self._weights
        ]
        self._count = tf.Variable(0.0, trainable=False)
        self.update = tf.function(self._update, autograph=False)
        self._exchange = tf.function(self._exchange, autograph=False)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""
        averages = dict(zip(self._names, self._averages, strict=True))
        return {**averages, f"{self._name}_count": self._count}

    @property
    def is_updated(self) -> bool:
        """Whether there has been an update."""
        return self._count.numpy() > 0

    def _update(self) -> None:
        """Adds the current weights to the average."""
        self._strategy.run(self._take_in)

    def _take_in(self) -> None:
        share = tf.maximum(1 / (self._count + 1), 1 - self._decay)
        for weight, average in zip(self._weights, self._averages, strict=True):
            average.assign(share * weight + (1 - share) * average)
        self._count.assign_add(1)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Has weights and averages change places within a context; what is saved there has so."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        """Has weights and averages change places, without a copy through the host."""
        self._strategy.run(self._exchange_mine)

    def _exchange_mine(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=True):
            value = tf.identity(weight)
            weight.assign(average)
            average.assign(value)
