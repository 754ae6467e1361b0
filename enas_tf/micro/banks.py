"""Weights with one set for every input that an op may be given, and the ops that use one set."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import keras
import tensorflow as tf

from enas_tf.layers.choice import (
    Kept,
    Op,
    Weights,
    choose,
    choose_gradients,
    op_without_weights,
)
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import (
    depthwise_conv,
    depthwise_gradients,
    max_pool,
    pointwise_conv,
    pointwise_gradients,
)
from enas_tf.layers.norm import (
    MovingAverages,
    Reserve,
    Statistics,
    norm_gradients,
    normalize_and_reserve,
)


class Half(NamedTuple):
    """What half of a separable convolution computes before its batch norm.

    Attributes:
        given: to the first relu, `(batch, height, width, channels)`, as the next two.
        filtered: behind the depthwise convolution.
        mixed: behind the pointwise convolution; the batch norm's input.
        reserve: of the batch norm.
    """

    given: tf.Tensor
    filtered: tf.Tensor
    mixed: tf.Tensor
    reserve: Reserve


def separable_conv(
    x: tf.Tensor,
    depthwise: tf.Tensor,
    pointwise: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    *averages: tf.Tensor,
) -> tuple[tf.Tensor, list[Half], Statistics]:
    """Runs relu, depthwise convolution, pointwise convolution and batch norm twice; stride 1.

    Args:
        x: `(batch, height, width, channels)`.
        depthwise: `(2, kernel_size, kernel_size, channels, 1)`.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.
        averages: means and variances to normalise by, each `(2, channels)`; none of them takes
            the batch's statistics.

    Returns:
        The output, of `x`'s shape; both halves; means and variances, `(2, channels)`.
    """
    halves, statistics = [], []
    weights = map(tf.unstack, (depthwise, pointwise, scale, offset, *averages))
    for kernel, mixing, *norm in zip(*weights, strict=True):
        given, filtered = x, depthwise_conv(tf.nn.relu(x), kernel)
        mixed = pointwise_conv(filtered, mixing)
        x, used, reserve = normalize_and_reserve(mixed, *norm[:2], averages=tuple(norm[2:]) or None)
        halves.append(Half(given, filtered, mixed, reserve))
        statistics.append(used)
    return x, halves, tuple(map(tf.stack, zip(*statistics, strict=True)))


def separable_gradients(
    upstream: tf.Tensor,
    halves: Sequence[Half],
    depthwise: tf.Tensor,
    pointwise: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
) -> list[tf.Tensor]:
    """Returns the gradients of the input and of each of the weights of `separable_conv`.

    Args:
        upstream: the output's gradient, `(batch, height, width, channels)`.
        halves: of `separable_conv`, normalised by the batch's statistics.
        depthwise: as for `separable_conv`, as what follows.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.
    """
    grad_weights = []
    for place in (1, 0):
        half = halves[place]
        upstream, *grad_norm = norm_gradients(upstream, half.mixed, scale[place], half.reserve)
        upstream, grad_mixing = pointwise_gradients(half.filtered, pointwise[place], upstream)
        with tf.GradientTape() as tape:
            tape.watch(half.given)
            rectified = tf.nn.relu(half.given)
        upstream, grad_kernel = depthwise_gradients(rectified, depthwise[place], upstream)
        upstream = tape.gradient(rectified, half.given, upstream)
        grad_weights.insert(0, [grad_kernel, grad_mixing, *grad_norm])
    return [upstream, *map(tf.stack, zip(*grad_weights, strict=True))]


KEPT_ROOM = 1, 1
"""How many images and how many reserves of batch norms an op keeps for its gradient."""


def _run_separable(x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
    output, (_, last), statistics = separable_conv(x, *weights)
    # Of six tensors of this size for each edge the last norm's input alone: 340 MiB less in a step
    # at batch 32, and a GPU takes longer to copy the others than to compute them again.
    return output, Kept([last.mixed], [last.reserve]), statistics


def _separable_gradients(
    upstream: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
) -> list[tf.Tensor]:
    (mixed,), (reserve,) = kept
    # Of a second run the graph computes no more than what the gradient takes from it.
    _, (first, last), _ = separable_conv(x, *weights)
    halves = first, last._replace(mixed=mixed, reserve=reserve)
    return separable_gradients(upstream, halves, *weights)


_SEPARABLE = Op(_run_separable, _separable_gradients)

OPS = (
    _SEPARABLE,
    _SEPARABLE,
    op_without_weights(lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME")),
    op_without_weights(max_pool),
    op_without_weights(tf.identity),
)
"""In the order of `MicroSpace.ops`."""


@graph_function
def run_op(
    x: tf.Tensor, op: tf.Tensor, row: tf.Tensor, banks: tuple[Weights, Weights]
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op of an edge; to be differentiated by `op_gradients` alone.

    Args:
        x: `(batch, height, width, channels)`.
        op: an index into `OPS`, int32.
        row: which of their sets separable convolutions take, int32.
        banks: of 3x3 and of 5x5, the arguments of `separable_conv` behind `x`, all sets.

    Returns:
        The output, of `x`'s shape; what `op_gradients` needs; means and variances,
        `(2, channels)`, zeros for an op without batch norm.
    """
    return choose(OPS, op, x, partial(_set_of, row, banks), KEPT_ROOM, (2, x.shape[-1]))


@graph_function
def op_gradients(
    upstream: tf.Tensor,
    x: tf.Tensor,
    op: tf.Tensor,
    row: tf.Tensor,
    banks: tuple[Weights, Weights],
    kept: Kept,
) -> list[tf.Tensor]:
    """Returns the gradients of `run_op`: of `x`, and of each tensor of either bank's set.

    Args:
        upstream: the output's gradient, `(batch, height, width, channels)`.
        x: as for `run_op`, as what follows.
        op: int32.
        row: int32.
        banks: without averages.
        kept: what `run_op` returned.
    """
    like = [[tf.TensorSpec(one.shape[1:], one.dtype) for one in bank] for bank in banks]
    return choose_gradients(OPS, op, upstream, x, partial(_set_of, row, banks), kept, like)


def _set_of(row: tf.Tensor, banks: tuple[Weights, Weights], number: int) -> Weights:
    """The weights that the op of a number takes: the first ops have a bank each, others none."""
    return tuple(tf.gather(one, row) for one in banks[number]) if number < len(banks) else ()


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
