"""Convolution blocks that the shared-weight networks are made of."""

from collections.abc import Callable

import keras
import tensorflow as tf

from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import BatchNorm


class ConvNorm(keras.layers.Layer):
    """Convolution without bias, then batch norm.

    Args:
        filters: output channels.
        kernel_size: side of the square kernel.
        relu: whether the input goes through relu first.
        norm: makes the batch norm layer, of a dtype policy.
        stride: 2 halves height and width, with an odd kernel over 1; odd sides round up. The
            kernel's middle meets the first pixel, as PyTorch has it.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 1,
        relu: bool = True,
        norm: Callable[..., BatchNorm] = BatchNorm,
        stride: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.relu = relu
        self.stride = stride
        self.norm = norm(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: tuple) -> None:
        """Creates the kernel, `(kernel_size, kernel_size, channels, filters)`."""
        size, channels = self.kernel_size, input_shape[-1]
        self.kernel = self.add_weight(
            shape=(size, size, channels, self.filters),
            initializer=he_normal(size * size * channels),
            name="kernel",
        )
        self.norm.build((*input_shape[:-1], self.filters))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `(batch, height, width, filters)`, height and width divided by the stride."""
        x = tf.nn.relu(x) if self.relu else x
        if self.kernel_size == 1:
            x = pointwise_conv(x, self.kernel)
        else:
            margin = [self.kernel_size // 2] * 2
            # TensorFlow's own padding would lie at the end alone where there is a stride.
            padding = "SAME" if self.stride == 1 else [[0, 0], margin, margin, [0, 0]]
            x = tf.nn.conv2d(x, self.kernel, self.stride, padding)
        return self.norm(x, training=training)


def halve(x: tf.Tensor, kernel_1: tf.Tensor, kernel_2: tf.Tensor) -> tf.Tensor:
    """Halves height and width by two 1x1 convolutions, one of them shifted by a pixel.

    Args:
        x: `(batch, height, width, channels)`.
        kernel_1: `(channels, filters / 2)`, optionally with two leading axes of size 1.
        kernel_2: same shape as `kernel_1`.

    Returns:
        Both results joined, `(batch, ceil(height / 2), ceil(width / 2), filters)`.
    """
    height, width, channels = x.shape[1:]
    padded = tf.pad(x, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]])
    height, width = -(-height // 2), -(-width // 2)
    # Pairs of rows are an axis, and so are pairs of pixels with their channels, so that contiguous
    # slices do: the gradients of strided slices take six times as long. The convolutions have no
    # strides either: in their gradients, oneDNN, which is on by default on many CPUs, would read
    # beyond small inputs and return wrong results without an error.
    pairs = tf.reshape(padded, [-1, 2, width, 2 * channels])
    first = tf.slice(pairs, [0, 0, 0, 0], [-1, 1, width, channels])
    last = tf.slice(pairs, [0, 1, 0, channels], [-1, 1, width, channels])
    first, last = (tf.reshape(x, [-1, height, width, channels]) for x in (first, last))
    paths = pointwise_conv(first, kernel_1), pointwise_conv(last, kernel_2)
    return tf.concat(paths, axis=-1)


class FactorizedReduction(keras.layers.Layer):
    """Halves height and width by two 1x1 convolutions, one shifted by a pixel, then batch norm.

    Reference: `_factorized_reduction` of the authors' micro_child.py. An odd side is rounded up.

    Args:
        filters: output channels, even: each convolution makes half of them.
        relu: whether the input goes through relu first.
        norm: creates the batch norm layer, given its dtype policy and name.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(
        self,
        filters: int,
        relu: bool = False,
        norm: Callable[..., BatchNorm] = BatchNorm,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.relu = relu
        self.norm = norm(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: tuple) -> None:
        """Creates both kernels, `(1, 1, channels, filters / 2)`."""
        channels = input_shape[-1]
        self.kernel_1, self.kernel_2 = (
            self.add_weight(
                shape=(1, 1, channels, self.filters // 2),
                initializer=he_normal(channels),
                name=name,
            )
            for name in ("kernel_1", "kernel_2")
        )
        self.norm.build((*input_shape[:-1], self.filters))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `(batch, ceil(height / 2), ceil(width / 2), filters)`."""
        x = tf.nn.relu(x) if self.relu else x
        return self.norm(halve(x, self.kernel_1, self.kernel_2), training=training)
