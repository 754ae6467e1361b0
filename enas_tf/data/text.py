"""Text for language models in memory, and the batches made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.data.checks import check_splits
from enas_tf.data.shards import equal_slice

END = "<eos>"
"""The word at the end of each line."""

UNKNOWN = "<unk>"
"""The word that replaces all words outside the vocabulary."""

SPACE = "<space>"
"""The character between two words, in a vocabulary of characters."""

Tokens = Literal["words", "characters"]

# How the authors' code draws the lengths of training sequences.
_SHORT_SHARE = 0.05  # of the sequences have half the length
_DEVIATION = 5
_SHORTEST = 5
_LONGEST_EXCESS = 20


@dataclass(frozen=True)
class TextDataConfig:
    """What text is made of, and how long sequences are."""

    sequence_length: int = option(35, "words in a sequence, on average")
    random_length: bool = option(
        True, "draw the lengths of training sequences around the average, as the authors do"
    )
    tokens: Tokens = option(
        "words",
        "what a text is a sequence of: words, separated by white space; or characters, for text "
        "without spaces, such as Chinese, and for words of many forms",
    )

    def __post_init__(self) -> None:
        """Raises UserError for sequences too short to learn from."""
        if self.sequence_length < 2:
            raise UserError(f"data.sequence_length must be at least 2, got {self.sequence_length}")


@dataclass(frozen=True, eq=False)
class TextData:
    """A text in memory.

    To make batches, a split is cut into as many rows as a batch has. All rows have the same number
    of words to read, T = (words of the split - 1) // rows, and each row's last target is the first
    word of the next row. Each batch continues all rows where the batch before ended.

    A batch is a triple of words, int32 `(rows, time)`; targets, int32 `(rows, time)`, which are the
    words one place later; and a bool scalar, whether the state that a network carries from batch to
    batch must start at zero. `time` differs from batch to batch.

    A batch depends only on the arguments (split, seed and step), so that a resumed run gets the
    same batches as an unbroken one; no reading position is kept.

    Args:
        name: the data set's name, as the user gave it.
        splits: `"train"`, `"valid"` and `"test"`: ids of the words in order, int32 `(count,)`.
        vocabulary: the word of each id; an export needs `<eos>` and `<unk>` among them.
        tokens: whether these words are words, or characters, of which `<space>` is one.
    """

    name: str
    splits: Mapping[str, np.ndarray]
    vocabulary: tuple[str, ...]
    tokens: Tokens = "words"

    def check(self) -> None:
        """Checks arrays that a user has made.

        Raises:
            UserError: a split is missing or empty, or holds what are no ids of words.
        """
        check_splits(self.name, self.splits)
        for name, words in self.splits.items():
            if words.dtype != np.int32 or words.ndim != 1:
                raise UserError(
                    f"{self.name}: split {name} must be int32, of shape (count,), got "
                    f"{words.dtype} of shape {words.shape}"
                )
            if not 0 <= words.min() <= words.max() < self.vocab_size:
                raise UserError(
                    f"{self.name}: words of split {name} must be from 0 to {self.vocab_size - 1}, "
                    f"places in the vocabulary, got {words.min()} to {words.max()}"
                )

    @property
    def vocab_size(self) -> int:
        """The number of words in the vocabulary."""
        return len(self.vocabulary)

    @property
    def unknown(self) -> int | None:
        """The id of the word that replaces unknown ones, or None if the vocabulary lacks it."""
        return self.vocabulary.index(UNKNOWN) if UNKNOWN in self.vocabulary else None

    def unknown_share(self, split: str) -> float:
        """Returns the share of a split's words that are unknown."""
        # No id is -1, so that nothing is unknown to a vocabulary without that word.
        unknown = -1 if self.unknown is None else self.unknown
        return float(np.mean(self.splits[split] == unknown))

    def steps_per_epoch(self, batch_size: int, config: TextDataConfig) -> int:
        """Returns the number of batches in a pass over the training split, the same for all passes.

        Raises:
            UserError: the split is too small for so many rows.
        """
        return _steps_per_pass(self._row_length("train", batch_size), config)

    def train_batches(
        self,
        batch_size: int,
        config: TextDataConfig,
        *,
        seed: int,
        num_steps: int,
        first_step: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns the training split in order, for `num_steps` steps from `first_step` on.

        Step s belongs to pass `s // steps_per_epoch`, and a pass starts with states of zero. A rest
        of fewer words than rows at the split's end is left out, as in the authors' code.

        Lengths are drawn as in the authors' code: from a normal distribution with a standard
        deviation of 5, cut at two deviations, around `sequence_length` or, for one sequence in
        twenty, around half of it; at least 5 and at most `sequence_length + 20`. The authors draw
        until the text ends, so that the number of steps differs between passes. Here it is fixed,
        and lengths chosen at random change by one word until they sum to the text's length.

        Args:
            batch_size: rows, over all shards.
            config: how long sequences are.
            seed: seed of the lengths.
            num_steps: number of batches.
            first_step: number of steps to skip; nothing is read for them.
            shard: `(index, count)`: yield the `index`-th of `count` equal slices of each batch.

        Returns:
            Batches of `batch_size / count` rows.

        Raises:
            UserError: the split is too small for so many rows, or their number is not a multiple of
                the shard count.
        """
        total = self._row_length("train", batch_size)
        steps = _steps_per_pass(total, config)
        mine = equal_slice(batch_size, shard)
        passes = range(first_step // steps, -(-(first_step + num_steps) // steps))
        ends = [np.cumsum(_pass_lengths(total, config, seed, number)) for number in passes]
        begins = [np.concatenate([[0], end[:-1]]) for end in ends]
        skipped = first_step % steps
        wanted = slice(skipped, skipped + num_steps)
        # Only the first sequence of a pass begins at word 0, so that is where states start at zero.
        begin, end = (np.array(places, np.int64).ravel()[wanted] for places in (begins, ends))
        rows = _rows(self.splits["train"], batch_size, total)
        return _batches(rows[mine], begin, end, begin == 0)

    def reward_batches(
        self,
        batch_size: int,
        config: TextDataConfig,
        *,
        seed: int,
        num_steps: int,
        first_step: int = 0,
    ) -> tf.data.Dataset:
        """Returns sequences from random places in the validation split, to compute rewards on.

        Each has `sequence_length` words, or all words of a row if there are fewer, and starts with
        states of zero. Arguments, results and errors are as in `train_batches`.
        """
        total = self._row_length("valid", batch_size)
        length = min(config.sequence_length, total)
        begin = np.array(
            [
                _generator(seed, step).integers(total - length + 1)
                for step in range(first_step, first_step + num_steps)
            ],
            np.int64,
        )
        rows = _rows(self.splits["valid"], batch_size, total)
        return _batches(rows, begin, begin + length, np.full(num_steps, True))

    def eval_batches(
        self,
        split: str,
        batch_size: int,
        config: TextDataConfig,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns the whole split once: every word but the first is a target exactly once.

        Words that are left over after rows of equal length come last, as one row that starts with
        states of zero. With a batch size of 1 no words are left over, and the text is read in its
        own order.

        With `shard=(index, count)`, only the `index`-th of `count` slices of each batch. Sizes of
        slices differ by at most one row. If a batch has fewer rows than there are shards, some
        slices are empty, which networks for text accept.

        Raises:
            UserError: the split is too small for so many rows.
        """
        words = self.splits[split]
        total = self._row_length(split, batch_size)
        rows = _rows(words, batch_size, total)
        batches = _eval_batches(_slice_of_rows(rows, shard), config)
        rest = words[np.newaxis, batch_size * total :]
        if rest.shape[1] == 1:  # its only word has been a target already
            return batches
        return batches.concatenate(_eval_batches(_slice_of_rows(rest, shard), config))

    def _row_length(self, split: str, batch_size: int) -> int:
        """Returns the number of words to read in each row, not counting the last target."""
        count = len(self.splits[split])
        if not 1 <= batch_size < count:
            raise UserError(
                f"batch size must be between 1 and {count - 1}, since each row needs a word and "
                f"the next one, and the {split} split of data set {self.name!r} has {count} "
                f"words, got {batch_size}; take smaller batches or more text"
            )
        return (count - 1) // batch_size


def _rows(words: np.ndarray, count: int, length: int) -> np.ndarray:
    """Cuts words into `count` rows of `length + 1`; each row ends with the next one's first."""
    return words[length * np.arange(count)[:, np.newaxis] + np.arange(length + 1)]


def _slice_of_rows(rows: np.ndarray, shard: tuple[int, int]) -> np.ndarray:
    """Returns a shard's part of the rows."""
    index, count = shard
    return rows[index * len(rows) // count : (index + 1) * len(rows) // count]


def _steps_per_pass(total: int, config: TextDataConfig) -> int:
    """Returns the number of sequences in which a row of `total` words is read."""
    if not config.random_length:
        return -(-total // config.sequence_length)
    average = config.sequence_length * (1 - _SHORT_SHARE / 2)
    return max(1, round(total / average))


def _pass_lengths(total: int, config: TextDataConfig, seed: int, number: int) -> np.ndarray:
    """Returns the lengths of the sequences in pass `number`, which sum to `total`."""
    count = _steps_per_pass(total, config)
    if not config.random_length:
        return np.diff(_places(total, config.sequence_length))
    generator = _generator(seed, number)
    is_short = generator.random(count) < _SHORT_SHARE
    deviations = generator.standard_normal(count)
    while (far := np.abs(deviations) > 2).any():
        deviations[far] = generator.standard_normal(far.sum())
    average = config.sequence_length * np.where(is_short, 0.5, 1)
    # In very short texts or sequences, no lengths within the bounds may have the right sum.
    least = _SHORTEST if _SHORTEST * count <= total else 1
    most = max(config.sequence_length + _LONGEST_EXCESS, -(-total // count))
    lengths = np.clip((average + _DEVIATION * deviations).astype(np.int64), least, most)
    while excess := lengths.sum() - total:
        places = np.flatnonzero(lengths > least if excess > 0 else lengths < most)
        changed = generator.choice(places, min(abs(excess), len(places)), replace=False)
        lengths[changed] -= np.sign(excess)
    return lengths


def _generator(seed: int, number: int) -> np.random.Generator:
    """Returns the random number generator of one pass or step."""
    # numpy takes no negative seeds.
    return np.random.default_rng([seed % 2**64, number])


def _places(total: int, length: int) -> np.ndarray:
    """Returns 0, length, 2 length, ..., total."""
    return np.append(np.arange(0, total, length), total)


def _eval_batches(rows: np.ndarray, config: TextDataConfig) -> tf.data.Dataset:
    """Returns batches of whole rows in sequences of equal length; the last may be shorter."""
    places = _places(rows.shape[1] - 1, config.sequence_length)
    return _batches(rows, places[:-1], places[1:], places[:-1] == 0)


def _batches(
    rows: np.ndarray, begin: np.ndarray, end: np.ndarray, starts: np.ndarray
) -> tf.data.Dataset:
    """Returns batches of the words `begin` to `end` of the rows, with their targets."""
    # In the host's memory, where input pipelines run.
    with tf.device("CPU:0"):
        rows = tf.constant(rows)

    def batch(begin, end, starts):
        return rows[:, begin:end], rows[:, begin + 1 : end + 1], starts

    places = tf.data.Dataset.from_tensor_slices((begin, end, starts))
    return places.map(batch).prefetch(tf.data.AUTOTUNE)
