"""The task of language modelling: batches, losses, rewards and metrics."""

import math
from typing import NamedTuple

import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextData, TextDataConfig
from enas_tf.layers.softmax import PADDING, mean_cross_entropy, word_logits

_REWARD_CONSTANT = 80.0

# Training sequences are padded to multiples of this, so that XLA compiles for a few lengths only.
_PADDED_MULTIPLE = 8

# The perplexity of a larger loss would overflow a float.
_LARGEST_LOSS = 700.0


class RnnOutputs(NamedTuple):
    """The outputs of a child for a batch of words.

    Attributes:
        features: the cell's outputs, which predict the next words, `(rows, time, hidden)`.
        embedding: embedding of all words, `(vocabulary, hidden)`, float32.
        states: the cell's outputs before dropout, `(rows, time, hidden)`.
        decay: the term of the loss that `weight_decay` multiplies, a scalar, float32.
    """

    features: tf.Tensor
    embedding: tf.Tensor
    states: tf.Tensor
    decay: tf.Tensor

    @property
    def logits(self) -> tf.Tensor:
        """The logits of the next words, `(rows, time, vocabulary)`, float32."""
        return word_logits(self.features, self.embedding)


class LanguageTask:
    """Prediction of the next word, as search, derivation and training use it.

    See `enas_tf.tasks.base.Task`. A batch consists of words, `(rows, time)`, the words one place
    later, and whether the state that the child carries from batch to batch starts at zero.

    Args:
        data: the text.
        data_config: config with the length of a sequence.
        child_config: config of the child, which has the weights of the loss's terms.
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
        """Returns batches of the training split in order, in sequences of various lengths."""
        return self.data.train_batches(
            batch_size,
            self._data_config,
            seed=seed,
            num_steps=len(steps),
            first_step=steps.start,
            shard=shard,
        )

    def reward_batches(self, batch_size: int, *, seed: int, steps: range) -> tf.data.Dataset:
        """Returns sequences from random places in the validation split, with states of zero."""
        return self.data.reward_batches(
            batch_size, self._data_config, seed=seed, num_steps=len(steps), first_step=steps.start
        )

    def eval_batches(self, split: str, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """Returns batches of the whole split once, in order; the test split is a single row."""
        rows = 1 if split == "test" else batch_size
        return self.data.eval_batches(split, rows, self._data_config, shard)

    def steps_per_epoch(self, batch_size: int, at_most: int = 0) -> int:
        """Returns the steps in a pass over the training split; at most `at_most` if not 0."""
        steps = self.data.steps_per_epoch(batch_size, self._data_config)
        return min(steps, at_most) if at_most else steps

    def num_examples(self, batch_size: int) -> float:
        """Returns the average number of words in a batch."""
        row = (len(self.data.splits["train"]) - 1) // batch_size
        return batch_size * row / self.steps_per_epoch(batch_size)

    def lr_scale(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the sequences' length over the average, so that shorter ones take small steps."""
        return tf.cast(tf.shape(inputs)[1], tf.float32) / self._data_config.sequence_length

    @staticmethod
    def padded(words: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Pads words and targets with `PADDING` to a multiple of 8 words."""
        missing = -tf.shape(words)[1] % _PADDED_MULTIPLE
        margins = [[0, 0], [0, missing]]
        return tuple(tf.pad(x, margins, constant_values=PADDING) for x in (words, targets))

    def loss(self, outputs: RnnOutputs, targets: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """Returns what training minimises and the metrics it reports.

        Args:
            outputs: outputs of the child.
            targets: `(rows, time)`, int32.

        Returns:
            The mean cross-entropy in nats, plus the decay of weights and the penalties on large and
            on changing states; and the metrics `loss` (the cross-entropy alone) and `perplexity`.
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
        """Computes `loss`, the mean cross-entropy in nats, and `perplexity` from added `totals`."""
        loss = totals["loss"] / totals["count"]
        return {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_LOSS))}

    @staticmethod
    def details(totals: dict[str, float]) -> dict:
        """Returns nothing: the metrics tell all."""
        return {}

    @staticmethod
    def reward(metrics: dict[str, float]) -> float:
        """Returns an architecture's reward: 80 / perplexity, or 0 if that is not a number."""
        reward = _REWARD_CONSTANT / metrics["perplexity"]
        return 0.0 if math.isnan(reward) else reward


def _mean(values: tf.Tensor, is_word: tf.Tensor) -> tf.Tensor:
    """Returns the mean of values, `(rows, time, hidden)`, where there are words; else 0."""
    # A mask, since the sizes that XLA compiles for cannot depend on where padding begins.
    total = tf.reduce_sum(tf.where(is_word[..., tf.newaxis], values, 0.0))
    count = tf.math.count_nonzero(is_word) * values.shape[-1]
    return tf.math.divide_no_nan(total, tf.cast(count, tf.float32))
