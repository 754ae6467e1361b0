"""Dropout and drop path with masks that depend only on seed and step.

A resumed run therefore draws the same masks as an unbroken run, with no state to save but the
step; and the masks do not depend on the number of replicas.
"""

import itertools

import keras
import tensorflow as tf


def retry_offset(retry: int | tf.Tensor) -> int | tf.Tensor:
    """Returns what to add to a seed so that each retry draws other random numbers."""
    return retry * 2**20


class StepRng:
    """Random numbers for a network's dropout layers, which depend only on seed, step and retry.

    Steps that are repeated after a loss that was not finite belong to another retry and draw other
    masks.

    Args:
        num_steps: steps of the whole training, after which drop path is at its full strength.
        seed: seed of all masks.

    Attributes:
        step: the network's current step, int64, assigned by the code that trains it.
        retry: how often the training went back to a checkpoint, int64.
    """

    def __init__(self, num_steps: int, seed: int) -> None:
        self.num_steps = num_steps
        self.seed = seed
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        self.retry = tf.Variable(0, trainable=False, dtype=tf.int64, name="retry")
        self._streams = itertools.count()

    def stream(self) -> int:
        """Returns a new number for a layer, so that each layer draws different masks."""
        return next(self._streams)

    def ratio(self) -> tf.Tensor:
        """Returns the share of the training that is done after this step, float32, at most 1."""
        done = tf.cast(self.step + 1, tf.float32) / self.num_steps
        return tf.minimum(done, 1.0)

    def keep_mask(self, stream: int, shape: list, keep_prob: tf.Tensor) -> tf.Tensor:
        """Returns a mask that is 1 with probability `keep_prob` and 0 otherwise, float32.

        Args:
            stream: the layer's number, from `stream`.
            shape: shape of the mask, the same on all replicas, which all draw the same mask.
            keep_prob: probability to keep, in (0, 1].
        """
        # Each step has room for 2**32 streams, more than any network needs.
        place = self.step * 2**32 + stream
        seed = self.seed + retry_offset(self.retry)
        uniform = tf.random.stateless_uniform(shape, tf.stack([seed, place]))
        return tf.floor(uniform + keep_prob)

    def keep_rows(self, stream: int, shape: list, keep_prob: tf.Tensor) -> tf.Tensor:
        """Returns the rows of `keep_mask` for this replica's part of a batch.

        Args:
            stream: the layer's number, from `stream`.
            shape: shape of this replica's mask; the first axis is that of the examples.
            keep_prob: probability to keep, in (0, 1].

        Returns:
            This replica's rows of the mask of the whole batch. Each replica draws all rows, so that
            the mask is the same for any number of replicas.
        """
        rows, *rest = shape
        replicas, replica = 1, 0
        # There is no replica context outside a strategy's step.
        if context := tf.distribute.get_replica_context():
            replicas, replica = context.num_replicas_in_sync, context.replica_id_in_sync_group
        mask = self.keep_mask(stream, [replicas * rows, *rest], keep_prob)
        return mask[replica * rows : (replica + 1) * rows]


class Dropout(keras.layers.Layer):
    """Sets inputs to 0 with probability `1 - keep_prob` in training, and scales up the others.

    Args:
        keep_prob: probability to keep an input, in (0, 1].
        rng: random numbers of the network's dropout layers.

    Call arguments:
        x: `(batch, ...)`.
    """

    def __init__(self, keep_prob: float, rng: StepRng, **kwargs) -> None:
        super().__init__(**kwargs)
        self.keep_prob = keep_prob
        self._rng = rng
        self._stream = rng.stream()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns a tensor with `x`'s shape."""
        if not training or self.keep_prob == 1:
            return x
        shape = tf.unstack(tf.shape(x))
        mask = self._rng.keep_rows(self._stream, shape, self.keep_prob)
        return x * tf.cast(mask / self.keep_prob, x.dtype)


class DropPath(keras.layers.Layer):
    """Drops an op's whole output for random examples in training, and scales up the others.

    With `layer_keep_prob = 1 - depth * (1 - keep_prob)`, the probability to keep falls linearly
    with the steps, from 1 before the first to `layer_keep_prob` at the last. Reference:
    `_apply_drop_path` of the authors' micro_child.py.

    Args:
        keep_prob: probability to keep the last layer's output at the last step.
        depth: `(layer + 1) / layers`, in (0, 1].
        rng: random numbers of the network's dropout layers.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(self, keep_prob: float, depth: float, rng: StepRng, **kwargs) -> None:
        super().__init__(**kwargs)
        self.layer_keep_prob = 1 - depth * (1 - keep_prob)
        self._rng = rng
        self._stream = rng.stream()

    def mask(self, shape: list) -> tf.Tensor:
        """Returns the factors of this step, float32: 0 to drop, else 1 / the probability to keep.

        Args:
            shape: shape of the factors; the first axis is that of this replica's examples.
        """
        keep_prob = 1 - self._rng.ratio() * (1 - self.layer_keep_prob)
        return self._rng.keep_rows(self._stream, shape, keep_prob) / keep_prob

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns a tensor with `x`'s shape."""
        if not training or self.layer_keep_prob == 1:
            return x
        return x * tf.cast(self.mask([tf.shape(x)[0], 1, 1, 1]), x.dtype)
