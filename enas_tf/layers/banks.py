"""Weights with one set for every input that an op may be given, and the ops that use one set."""

from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from enas_tf.layers.graph import graph_function
from enas_tf.layers.image_ops import depthwise_conv, pointwise_conv
from enas_tf.layers.initial import he_normal
from enas_tf.layers.norm import (
    Kept,
    MovingAverages,
    Statistics,
    normalize_and_keep,
    normalized_before,
)

Weights = tuple[tf.Tensor, ...]


@tf.custom_gradient
def take_rows(bank: tf.Tensor, places: tf.Tensor):
    """Rows of a tensor, each taken at most once.

    As `tf.gather` along axis 0, but with a dense gradient: the shared weights' gradients are
    dense in any case, since weight decay reaches all of them.

    Args:
        bank: `(sets, ...)`.
        places: `(n, 1)`, int32: the rows' numbers, all different.

    Returns:
        `(n, ...)`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(places, upstream, tf.shape(bank)), None

    return tf.gather_nd(bank, places), gradient


def separable_conv(
    x: tf.Tensor,
    depthwise: tf.Tensor,
    pointwise: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    *averages: tf.Tensor,
    kept: Kept | None = None,
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Twice relu, depthwise convolution, pointwise convolution, batch norm; stride 1.

    Args:
        x: `(batch, height, width, channels)`.
        depthwise: `(2, kernel_size, kernel_size, channels, 1)`.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.
        averages: means and variances to normalise by, each `(2, channels)`; none of them takes
            the batch's statistics.
        kept: what the first run kept, in a second one that is there for its gradient alone: its
            output is not computed.

    Returns:
        The output, of `x`'s shape; what a second run needs; means and variances, `(2, channels)`.
    """
    weights = map(tf.unstack, (depthwise, pointwise, scale, offset, *averages))
    first, last = zip(*weights, strict=True)
    (x, *of_first), _ = _normalized(_rectified_conv(x, *first[:2]), *first[2:])
    x = _rectified_conv(x, *last[:2])
    if kept is not None:
        # By the batch's statistics: nothing is trained by averages.
        scale, offset = last[2:]
        return normalized_before(x, scale, offset, *kept), kept, ()
    (x, *of_last), kept = _normalized(x, *last[2:])
    return x, kept, tuple(map(tf.stack, zip(of_first, of_last, strict=True)))


def _rectified_conv(x: tf.Tensor, depthwise: tf.Tensor, pointwise: tf.Tensor) -> tf.Tensor:
    return pointwise_conv(depthwise_conv(tf.nn.relu(x), depthwise), pointwise)


def _normalized(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *averages: tf.Tensor) -> tuple:
    return normalize_and_keep(x, scale, offset, averages=averages or None)


@graph_function
def run_op(
    x: tf.Tensor, op: tf.Tensor, row: tf.Tensor, banks: tuple[Weights, Weights]
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op that the index names, in the order of `MicroSpace.ops`, and no other.

    To be differentiated by `op_gradients` alone.

    Args:
        x: `(batch, height, width, channels)`.
        op: the index, int32.
        row: which of their sets separable convolutions take, int32.
        banks: of 3x3 and of 5x5, the arguments of `separable_conv` behind `x`, all sets.

    Returns:
        The output, of `x`'s shape; what `op_gradients` needs; means and variances,
        `(2, channels)`, zeros for an op without batch norm.
    """

    def run(number: int) -> tuple[tf.Tensor, Kept, Statistics]:
        return _OPS[number](x, *_take_set(number, row, banks))

    return tf.switch_case(op, [partial(run, number) for number in range(len(_OPS))])


@graph_function
def op_gradients(
    upstream: tf.Tensor,
    x: tf.Tensor,
    op: tf.Tensor,
    row: tf.Tensor,
    banks: tuple[Weights, Weights],
    kept: Kept,
) -> tuple[tf.Tensor, ...]:
    """Gradients of what `run_op` computed, for which the op runs again.

    Else a separable convolution would keep six tensors of its input's size. And since an op and its
    gradient lie together in a branch, little passes between branches: the graph is small.

    Args:
        upstream: the output's gradient, `(batch, height, width, channels)`.
        x: as for `run_op`, as what follows.
        op: the index, int32.
        row: int32.
        banks: without averages.
        kept: what `run_op` returned.

    Returns:
        Gradients of `x` and of each tensor of the one set and of the other.
    """
    zeros = [[tf.zeros(tensor.shape[1:], tensor.dtype) for tensor in bank] for bank in banks]

    def differentiate(number: int) -> list[tf.Tensor]:
        weights = _take_set(number, row, banks)
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            output, *_ = _OPS[number](x, *weights, kept=kept)
        of_x, *of_weights = tape.gradient(output, [x, *weights], upstream)
        of_sets = [of_weights if n == number else zeros[n] for n in range(len(banks))]
        return [of_x, *tf.nest.flatten(of_sets)]

    return tf.switch_case(op, [partial(differentiate, number) for number in range(len(_OPS))])


def _take_set(number: int, row: tf.Tensor, banks: tuple[Weights, Weights]) -> Weights:
    """The weights that the op of a number takes: the first ops have a bank each, others none."""
    return tuple(tf.gather(tensor, row) for tensor in banks[number]) if number < len(banks) else ()


def _without_norm(op: Callable[[tf.Tensor], tf.Tensor]) -> Callable:
    """An op that returns as much as a separable convolution; to keep the input takes no memory."""

    def run(x: tf.Tensor, kept: Kept | None = None) -> tuple[tf.Tensor, Kept, Statistics]:
        channels = x.shape[-1]
        of_kernel = tf.zeros([channels]), tf.zeros([channels]), tf.zeros([0])
        return op(x), (x, *of_kernel), (tf.zeros([2, channels]),) * 2

    return run


# In the order of `MicroSpace.ops`.
_OPS = (
    separable_conv,
    separable_conv,
    _without_norm(lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME")),
    _without_norm(lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME")),
    _without_norm(lambda x: x),
)


class SeparableConvBank(keras.layers.Layer):
    """The weights of separable convolutions, one set for every edge of a cell.

    All sets lie in four variables with a leading axis: a variable each would make a tenfold
    number of them, and a slow start.

    Args:
        sets: how many.
        channels: of input and output.
        kernel_size: 3 or 5.
        moving: whether to keep moving averages of every set.
    """

    def __init__(self, sets: int, channels: int, kernel_size: int, moving: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.moving = moving
        self.sets = sets
        self.channels = channels
        self.kernel_size = kernel_size

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes kernels, scale, offset and what averages are kept; axis 1 is the place of two."""
        size, channels = self.kernel_size, self.channels
        kernels = {
            "depthwise": ((size, size, channels, 1), size * size),
            "pointwise": ((channels, channels), channels),
        }
        self.bank = [
            self.add_weight(shape=(self.sets, 2, *shape), initializer=he_normal(fan_in), name=name)
            for name, (shape, fan_in) in kernels.items()
        ]
        options = {"shape": (self.sets, 2, channels), "autocast": False}
        self.bank.append(self.add_weight(name="scale", initializer="ones", **options))
        self.bank.append(self.add_weight(name="offset", initializer="zeros", **options))
        if self.moving:
            self.averages = MovingAverages((self.sets, 2, channels), name="averages")

    def read(self, training: bool = False) -> Weights:
        """The arguments of `separable_conv` behind `x`, of all sets along axis 0.

        Args:
            training: whether to normalise by the batch's statistics all the same.
        """
        by_averages = self.moving and not training
        averages = self.averages.read() if by_averages else ()
        return *map(tf.convert_to_tensor, self.bank), *averages

    def update(self, rows: tf.Tensor, used: tf.Tensor, statistics: Statistics) -> None:
        """Takes a batch's statistics into the moving averages of the sets that were used.

        Args:
            rows: `(n,)`, int32: sets, all different.
            used: `(n,)`, bool: which of them.
            statistics: means and variances of all of them, each `(n, 2, channels)`.
        """
        places = rows[:, tf.newaxis]
        statistics = [tf.scatter_nd(places, s, self.averages.mean.shape) for s in statistics]
        mask = tf.scatter_nd(places, tf.cast(used, tf.float32), [self.sets])
        self.averages.update(statistics, mask[:, tf.newaxis, tf.newaxis])
