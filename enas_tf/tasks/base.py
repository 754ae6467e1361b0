"""The interface of a task, which search, derivation and training use."""

from typing import Any, Protocol

import tensorflow as tf

REWARD_NOTE = (
    "These rewards are computed with shared weights: they rank architectures, and are not the "
    "accuracy that one reaches when it is trained from scratch."
)
"""A note that accompanies every list of rewards."""


class Task(Protocol):
    """Batches, losses, metrics and rewards for one kind of data.

    A batch is a tuple of inputs, targets and any further arguments that the child takes.

    Attributes:
        examples: what is counted per second, such as `images`.
        max_rollbacks: how often in a row training may go back to the last checkpoint after a loss
            that is not finite.
        carries_state: whether the batches of an evaluation depend on each other through a state
            with as many rows as the batch. XLA needs fixed sizes, and cannot compile that.
    """

    examples: str
    max_rollbacks: int
    carries_state: bool

    def train_batches(
        self, batch_size: int, *, seed: int, steps: range, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """Returns batches of the training split for consecutive steps.

        Args:
            batch_size: examples per step, over all shards.
            seed: seed of everything that is drawn.
            steps: numbers of the steps, counted over all epochs.
            shard: `(index, count)`: yield the `index`-th of `count` equal parts of each batch.
        """

    def reward_batches(self, batch_size: int, *, seed: int, steps: range) -> tf.data.Dataset:
        """Returns random batches of the validation split, unchanged, for consecutive steps."""

    def eval_batches(self, split: str, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """Returns batches of the whole split once, in order."""

    def steps_per_epoch(self, batch_size: int, at_most: int = 0) -> int:
        """Returns the steps in an epoch of the training split; at most `at_most` if not 0."""

    def num_examples(self, batch_size: int) -> float:
        """Returns the average number of examples per step, counted as `examples` says."""

    def lr_scale(self, inputs: tf.Tensor) -> float | tf.Tensor:
        """Returns the factor of the learning rate for a step on these inputs."""

    def padded(self, inputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Pads a training batch to one of a few sizes, since XLA compiles a step for each size."""

    def loss(self, outputs: Any, targets: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the loss to minimise and the metrics to report, as means over the batch."""

    def totals(self, outputs: Any, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes totals that are added over batches, from which `metrics` computes means."""

    def metrics(self, totals: dict[str, float]) -> dict[str, float]:
        """Computes the metrics to report from `totals` added over batches."""

    def details(self, totals: dict[str, Any]) -> dict:
        """Returns what a whole evaluation tells besides its metrics, as JSON can hold it."""

    def reward(self, metrics: dict[str, float]) -> float:
        """Returns the reward for an architecture's `metrics`; higher is better."""
