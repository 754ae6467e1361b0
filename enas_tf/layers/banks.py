"""Weights with one set for every input that an op may be given, and the ops that use one set."""

import keras
import tensorflow as tf

from enas_tf.layers.graph import graph_function
from enas_tf.layers.image_ops import depthwise_conv, max_pool, pointwise_conv
from enas_tf.layers.initial import he_normal
from enas_tf.layers.norm import MovingAverages, Statistics, normalize

Weights = tuple[tf.Tensor, ...]


@tf.custom_gradient
def take_rows(bank: tf.Tensor, rows: tf.Tensor):
    """Rows of a tensor, each taken at most once.

    As `tf.gather` along axis 0, but with a dense gradient: the shared weights' gradients are
    dense in any case, since weight decay reaches all of them.

    Args:
        bank: `(sets, ...)`.
        rows: `(n,)`, int32, all different.

    Returns:
        `(n, ...)`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(rows[:, tf.newaxis], upstream, tf.shape(bank)), None

    return tf.gather(bank, rows), gradient


def take_sets(bank: Weights, rows: tf.Tensor) -> list[Weights]:
    """Some of the sets of a bank, each apart.

    Args:
        bank: tensors with all sets along axis 0.
        rows: `(n,)`, int32: the sets wanted, all different.
    """
    return list(zip(*(tf.unstack(take_rows(tensor, rows)) for tensor in bank), strict=True))


@graph_function
@tf.custom_gradient
def _rectified_conv(x: tf.Tensor, depthwise: tf.Tensor, pointwise: tf.Tensor):
    """Relu, depthwise convolution, pointwise convolution; the gradient keeps the inputs alone.

    It runs the first two again, which costs a twentieth of a step and halves what a step keeps.
    """
    inputs = x, depthwise, pointwise

    def run() -> tf.Tensor:
        return pointwise_conv(depthwise_conv(tf.nn.relu(x), depthwise), pointwise)

    def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            again = run()
        return tape.gradient(again, inputs, upstream)

    return run(), gradient


def separable_conv(
    x: tf.Tensor,
    depthwise: tf.Tensor,
    pointwise: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    *averages: tf.Tensor,
    with_statistics: bool = False,
) -> tuple[tf.Tensor, ...]:
    """Twice relu, depthwise convolution, pointwise convolution, batch norm; stride 1.

    Args:
        x: `(batch, height, width, channels)`.
        depthwise: `(2, kernel_size, kernel_size, channels, 1)`.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.
        averages: means and variances to normalise by, each `(2, channels)`; none of them takes
            the batch's statistics.
        with_statistics: whether to return what was normalised by, for the moving averages.

    Returns:
        The output, of `x`'s shape; with statistics also means and variances, `(2, channels)`.
    """
    statistics = []
    stacks = zip(*map(tf.unstack, (depthwise, pointwise, scale, offset, *averages)), strict=True)
    for depthwise, pointwise, scale, offset, *averages in stacks:
        x = _rectified_conv(x, depthwise, pointwise)
        x, *of_stack = normalize(x, scale, offset, averages=tuple(averages) or None)
        statistics.append(of_stack)
    if not with_statistics:
        return (x,)
    return x, *map(tf.stack, zip(*statistics, strict=True))


@graph_function
def run_op(
    x: tf.Tensor, op: tf.Tensor, conv_3x3: Weights, conv_5x5: Weights, with_statistics: bool
) -> tuple[tf.Tensor, ...]:
    """Runs the op that the index names, in the order of `MicroSpace.ops`, and no other.

    Args:
        x: `(batch, height, width, channels)`.
        op: the index, int32.
        conv_3x3: the arguments of `separable_conv` behind `x`.
        conv_5x5: the same.
        with_statistics: as for `separable_conv`.

    Returns:
        As `separable_conv` does; the statistics of an op without batch norm are zero.
    """
    zeros = [tf.zeros([2, x.shape[-1]])] * 2 if with_statistics else []
    return tf.switch_case(
        op,
        [
            lambda: separable_conv(x, *conv_3x3, with_statistics=with_statistics),
            lambda: separable_conv(x, *conv_5x5, with_statistics=with_statistics),
            lambda: (tf.nn.avg_pool2d(x, 3, 1, "SAME"), *zeros),
            lambda: (max_pool(x), *zeros),
            lambda: (x, *zeros),
        ],
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
