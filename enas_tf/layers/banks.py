"""Weights with one set for every input that an op may be given, and the op that uses one set."""

import keras
import tensorflow as tf

from enas_tf.layers.initial import he_normal
from enas_tf.layers.norm import normalize

Weights = tuple[tf.Tensor, ...]

# Traced once per shape and called wherever it is needed: the graph stays small.
graph_function = tf.function(
    autograph=False, experimental_attributes={"_noinline": True}, reduce_retracing=False
)


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


@graph_function
def separable_conv(
    x: tf.Tensor, depthwise: tf.Tensor, pointwise: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
) -> tf.Tensor:
    """Twice relu, depthwise convolution, pointwise convolution, batch norm; stride 1.

    Args:
        x: `(batch, height, width, channels)`.
        depthwise: `(2, kernel_size, kernel_size, channels, 1)`.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.

    Returns:
        Of `x`'s shape.
    """
    for stack in range(2):
        x = tf.nn.depthwise_conv2d(tf.nn.relu(x), depthwise[stack], [1, 1, 1, 1], "SAME")
        x = tf.nn.conv2d(x, pointwise[stack, tf.newaxis, tf.newaxis], 1, "SAME")
        x, _, _ = normalize(x, scale[stack], offset[stack])
    return x


class SeparableConvBank(keras.layers.Layer):
    """The weights of separable convolutions, one set for every edge of a cell.

    All sets lie in four variables with a leading axis: a variable each would make a tenfold
    number of them, and a slow start.

    Args:
        sets: how many.
        channels: of input and output.
        kernel_size: 3 or 5.

    Call arguments:
        rows: `(n,)`, int32: the sets wanted, all different.
    """

    def __init__(self, sets: int, channels: int, kernel_size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.sets = sets
        self.channels = channels
        self.kernel_size = kernel_size

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes depthwise and pointwise kernels, scale and offset; axis 1 is the place of two."""
        size, channels = self.kernel_size, self.channels
        shapes = {
            "depthwise": ((size, size, channels, 1), he_normal(size * size)),
            "pointwise": ((channels, channels), he_normal(channels)),
            "scale": ((channels,), "ones"),
            "offset": ((channels,), "zeros"),
        }
        self.bank = [
            self.add_weight(shape=(self.sets, 2, *shape), initializer=initializer, name=name)
            for name, (shape, initializer) in shapes.items()
        ]

    def call(self, rows: tf.Tensor) -> list[Weights]:
        """For each row the arguments of `separable_conv` behind `x`."""
        taken = [tf.unstack(take_rows(tf.convert_to_tensor(w), rows)) for w in self.bank]
        return list(zip(*taken, strict=True))
