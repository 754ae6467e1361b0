"""What search, derivation and training ask of a task."""

from typing import Any, Protocol

import tensorflow as tf

REWARD_NOTE = (
    "These rewards are computed with shared weights: they rank architectures, and are not the "
    "accuracy that one reaches when it is trained from scratch."
)
"""What every list of rewards is accompanied by."""


class Task(Protocol):
    """Batches, losses, metrics and rewards of one kind of data.

    A batch is a tuple of inputs, targets and, where the child takes them, further arguments.

    Attributes:
        examples: what is counted a second, such as `images`.
        max_rollbacks: how often in a row a loss that is not finite is answered by going back to
            the last checkpoint.
        carries_state: whether an evaluation's batches follow from each other, by a state of as
            many rows as each has; XLA, which wants sizes that do not change, cannot compile that.
    """

    examples: str
    max_rollbacks: int
    carries_state: bool

    def train_batches(
        self, batch_size: int, *, seed: int, steps: range, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """Batches of the training split for consecutive steps.

        Args:
            batch_size: examples a step, over all shards.
            seed: of all that is drawn.
            steps: the steps' numbers, counted over all epochs.
            shard: `(index, count)`: which equal part of each batch.
        """

    def reward_batches(self, batch_size: int, *, seed: int, steps: range) -> tf.data.Dataset:
        """Batches of the validation split at random, as they are, for consecutive steps."""

    def eval_batches(self, split: str, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """The whole split once, in order."""

    def steps_per_epoch(self, batch_size: int, at_most: int = 0) -> int:
        """Steps of the training split, or as many as allowed where that is not 0."""

    def num_examples(self, batch_size: int) -> float:
        """How many of what `examples` names a step works on, on average."""

    def lr_scale(self, inputs: tf.Tensor) -> float | tf.Tensor:
        """Returns what a step on these inputs multiplies the learning rate by."""

    def padded(self, inputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Brings a training batch to one of a few sizes, for each of which XLA compiles a step."""

    def loss(self, outputs: Any, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss to minimise, and what to report, as means over the batch."""

    def totals(self, outputs: Any, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes what to add up over batches, from which `metrics` makes means."""

    def metrics(self, totals: dict[str, float]) -> dict[str, float]:
        """Computes what to report of summed `totals`."""

    def reward(self, metrics: dict[str, float]) -> float:
        """An architecture's reward, the higher the better, of its `metrics`."""
