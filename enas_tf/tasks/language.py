"""Language modelling: batches, losses, rewards and metrics."""

import math
from typing import NamedTuple

import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextData, TextDataConfig
from enas_tf.layers.softmax import PADDING, mean_cross_entropy, word_logits

_REWARD_CONSTANT = 80.0

# Of the lengths that training sequences are padded to.
_PADDED_MULTIPLE = 8

# Of a loss over this the perplexity is no number that a float holds.
_LARGEST_LOSS = 700.0


class RnnOutputs(NamedTuple):
    """What a child gives for a batch of words.

    Attributes:
        features: the cell's outputs, from which the next words follow, `(rows, time, hidden)`.
        embedding: of all words, `(vocabulary, hidden)`, float32.
        states: the cell's outputs before dropout, `(rows, time, hidden)`.
        decay: what the loss's weight decay multiplies, a scalar, float32.
    """

    features: tf.Tensor
    embedding: tf.Tensor
    states: tf.Tensor
    decay: tf.Tensor

    @property
    def logits(self) -> tf.Tensor:
        """Of the next words, `(rows, time, vocabulary)`, float32."""
        return word_logits(self.features, self.embedding)


class LanguageTask:
    """What search, derivation and training need to know of predicting the next word.

    See `enas_tf.tasks.base.Task`. A batch is words, `(rows, time)`, the words one place later,
    and whether the state that the child carries from batch to batch starts anew.

    Args:
        data: the text.
        data_config: the length of a sequence.
        child_config: the child's; gives the weights of the loss's parts.
    """

    examples = "tokens"
    max_rollbacks = 3
    carries_state = True

    def __init__(
        self, data: TextData, data_config: TextDataConfig, child_config: RnnChildConfig
    ) -> None:
        self.data = data
        self._data_config = data_config
        self._child_config = child_config

    def train_batches(
        self, batch_size: int, *, seed: int, steps: range, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """The training split in order, in sequences of many lengths."""
        return self.data.train_batches(
            batch_size,
            self._data_config,
            seed=seed,
            num_steps=len(steps),
            first_step=steps.start,
            shard=shard,
        )

    def reward_batches(self, batch_size: int, *, seed: int, steps: range) -> tf.data.Dataset:
        """Sequences from anywhere in the validation split, each with a state of zero."""
        return self.data.reward_batches(
            batch_size, self._data_config, seed=seed, num_steps=len(steps), first_step=steps.start
        )

    def eval_batches(self, split: str, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """The whole split once, in order; the test split as one row, as it was written."""
        rows = 1 if split == "test" else batch_size
        return self.data.eval_batches(split, rows, self._data_config, shard)

    def steps_per_epoch(self, batch_size: int, at_most: int = 0) -> int:
        """Sequences of one pass over the training split, or as many as allowed."""
        steps = self.data.steps_per_epoch(batch_size, self._data_config)
        return min(steps, at_most) if at_most else steps

    def num_examples(self, batch_size: int) -> float:
        """Words in a batch, on average."""
        row = (len(self.data.splits["train"]) - 1) // batch_size
        return batch_size * row / self.steps_per_epoch(batch_size)

    def lr_scale(self, inputs: tf.Tensor) -> tf.Tensor:
        """The learning rate is for sequences of average length, and lower for shorter ones."""
        return tf.cast(tf.shape(inputs)[1], tf.float32) / self._data_config.sequence_length

    @staticmethod
    def padded(words: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Lengthens sequences to a multiple of 8 words, by words and targets that are `PADDING`."""
        missing = -tf.shape(words)[1] % _PADDED_MULTIPLE
        margins = [[0, 0], [0, missing]]
        return tuple(tf.pad(x, margins, constant_values=PADDING) for x in (words, targets))

    def loss(self, outputs: RnnOutputs, targets: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """What training minimises, and what it reports.

        Args:
            outputs: of the child.
            targets: `(rows, time)`, int32.

        Returns:
            The mean cross-entropy in nats, with the decay of weights and the costs of large and
            of changing states; and `loss` (the cross-entropy alone) and `perplexity`.
        """
        config = self._child_config
        loss = mean_cross_entropy(outputs.features, outputs.embedding, targets)
        total = loss + config.weight_decay * outputs.decay
        states = tf.cast(outputs.states, tf.float32)
        is_word = tf.not_equal(targets, PADDING)
        if config.activation_l2:
            total += config.activation_l2 * _mean(tf.square(states), is_word)
        if config.slowness:
            changes = tf.square(states[:, 1:] - states[:, :-1])
            total += config.slowness * _mean(changes, is_word[:, 1:])
        return total, {"loss": loss, "perplexity": tf.exp(loss)}

    def totals(self, outputs: RnnOutputs, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes totals over a batch: `loss` and `count`, for `metrics`."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs.logits)
        loss = tf.reduce_sum(losses)
        return {"loss": loss, "count": tf.cast(tf.size(targets), tf.float32)}

    @staticmethod
    def metrics(totals: dict[str, float]) -> dict[str, float]:
        """`loss`, mean cross-entropy in nats, and `perplexity` of summed `totals`."""
        loss = totals["loss"] / totals["count"]
        return {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_LOSS))}

    @staticmethod
    def reward(metrics: dict[str, float]) -> float:
        """An architecture's reward: 80 over its perplexity; 0 where that is not a number."""
        reward = _REWARD_CONSTANT / metrics["perplexity"]
        return 0.0 if math.isnan(reward) else reward


def _mean(values: tf.Tensor, is_word: tf.Tensor) -> tf.Tensor:
    """The mean of values, `(rows, time, hidden)`, at words; 0 where there are none."""
    total = tf.reduce_sum(tf.where(is_word[..., tf.newaxis], values, 0.0))
    count = tf.math.count_nonzero(is_word) * values.shape[-1]
    return tf.math.divide_no_nan(total, tf.cast(count, tf.float32))
