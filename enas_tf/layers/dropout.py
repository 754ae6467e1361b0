"""Dropout and drop path whose masks depend on seed and step alone.

So a resumed run draws the masks that the unbroken run would have drawn, with no state to save
but the step; and however many replicas there are, the masks are those of one device.
"""

import itertools

import keras
import tensorflow as tf


def retry_offset(retry: int | tf.Tensor) -> int | tf.Tensor:
    """Returns what to add to a seed so that each retry, an integer or a tensor, draws anew."""
    return retry * 2**20


class StepRng:
    """The random numbers of a network's dropout layers, which depend on seed and step alone.

    Steps that are taken again, after a loss that was not finite, belong to another retry and draw
    other masks.

    Args:
        num_steps: of the whole training, after which drop path is at its full strength.
        seed: of all masks.

    Attributes:
        step: the step that the network is at; whoever trains it assigns it, int64.
        retry: how often it went back to a checkpoint, int64.
    """

    def __init__(self, num_steps: int, seed: int) -> None:
        self.num_steps = num_steps
        self.seed = seed
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        self.retry = tf.Variable(0, trainable=False, dtype=tf.int64, name="retry")
        self._streams = itertools.count()

    def stream(self) -> int:
        """A number for each layer that draws masks, so that they draw different ones."""
        return next(self._streams)

    def ratio(self) -> tf.Tensor:
        """The part of the training that is done after this step, float32, at most 1."""
        done = tf.cast(self.step + 1, tf.float32) / self.num_steps
        return tf.minimum(done, 1.0)

    def keep_mask(self, stream: int, shape: list, keep_prob: tf.Tensor) -> tf.Tensor:
        """1 with probability `keep_prob` and else 0, float32.

        Args:
            stream: of the layer.
            shape: of the mask, the same on all replicas, which all draw the same.
            keep_prob: in (0, 1].
        """
        # 2**32 streams of masks a step are more than anyone has.
        place = self.step * 2**32 + stream
        seed = self.seed + retry_offset(self.retry)
        uniform = tf.random.stateless_uniform(shape, tf.stack([seed, place]))
        return tf.floor(uniform + keep_prob)

    def keep_rows(self, stream: int, shape: list, keep_prob: tf.Tensor) -> tf.Tensor:
        """As `keep_mask`, for the examples of this replica's part of a batch.

        Args:
            stream: of the layer.
            shape: of this replica's mask, its first axis that of the examples.
            keep_prob: in (0, 1].

        Returns:
            This replica's rows of the mask of the whole batch.
        """
        rows, *rest = shape
        replicas, replica = 1, 0
        # There is none outside a step of a strategy.
        if context := tf.distribute.get_replica_context():
            replicas, replica = context.num_replicas_in_sync, context.replica_id_in_sync_group
        mask = self.keep_mask(stream, [replicas * rows, *rest], keep_prob)
        return mask[replica * rows : (replica + 1) * rows]


class Dropout(keras.layers.Layer):
    """Sets each input to 0 with probability `1 - keep_prob` in training, and scales the others.

    Args:
        keep_prob: in (0, 1].
        rng: of the network's dropout.

    Call arguments:
        x: `(batch, ...)`.
    """

    def __init__(self, keep_prob: float, rng: StepRng, **kwargs) -> None:
        super().__init__(**kwargs)
        self.keep_prob = keep_prob
        self._rng = rng
        self._stream = rng.stream()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Of `x`'s shape."""
        if not training or self.keep_prob == 1:
            return x
        shape = tf.unstack(tf.shape(x))
        mask = self._rng.keep_rows(self._stream, shape, self.keep_prob)
        return x * tf.cast(mask / self.keep_prob, x.dtype)


class DropPath(keras.layers.Layer):
    """Drops an op's whole output for some of the examples in training, and scales the others.

    With `layer_keep_prob = 1 - depth * (1 - keep_prob)`, the probability to keep falls from 1 at
    the first step to `layer_keep_prob` at the last. Reference: `_apply_drop_path` of the authors'
    micro_child.py.

    Args:
        keep_prob: of the last layer at the last step.
        depth: `(layer + 1) / layers`, in (0, 1].
        rng: of the network's dropout.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(self, keep_prob: float, depth: float, rng: StepRng, **kwargs) -> None:
        super().__init__(**kwargs)
        self.layer_keep_prob = 1 - depth * (1 - keep_prob)
        self._rng = rng
        self._stream = rng.stream()

    def mask(self, shape: list) -> tf.Tensor:
        """Factors of this step: 0 for what is dropped, else over 1; float32.

        Args:
            shape: of the factors, the first axis that of this replica's examples.
        """
        keep_prob = 1 - self._rng.ratio() * (1 - self.layer_keep_prob)
        return self._rng.keep_rows(self._stream, shape, keep_prob) / keep_prob

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Of `x`'s shape."""
        if not training or self.layer_keep_prob == 1:
            return x
        return x * tf.cast(self.mask([tf.shape(x)[0], 1, 1, 1]), x.dtype)
