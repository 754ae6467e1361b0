"""Ops on images, with implementations for CPUs and XLA where TensorFlow's usual one is slow.

Their gradients are also available as functions, for ops with hand-written gradients.
"""

import functools
from functools import partial
from typing import Literal

import tensorflow as tf

from enas_tf.layers.form import Form, current_form

_STRIDES = [1, 1, 1, 1]

PoolKind = Literal["average", "max"]


def pointwise_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Applies a 1x1 convolution with stride 1.

    Args:
        x: `(batch, height, width, channels)`, with known height and width.
        kernel: `(channels, filters)`, optionally with two leading axes of size 1.

    Returns:
        `(batch, height, width, filters)`.
    """
    if kernel.shape.rank == 4:
        kernel = tf.reshape(kernel, kernel.shape[-2:])
    if current_form() is Form.XLA:
        return _product_of_pixels_for_xla(x, kernel)
    return _product_of_pixels(x, kernel)


def _product_of_pixels(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    # oneDNN takes a third less time for this matrix product than for the convolution.
    y = tf.matmul(tf.reshape(x, [-1, kernel.shape[0] or tf.shape(kernel)[0]]), kernel)
    return tf.reshape(y, [-1, *x.shape[1:3], kernel.shape[1] or tf.shape(kernel)[1]])


@tf.custom_gradient
def _product_of_pixels_for_xla(x: tf.Tensor, kernel: tf.Tensor):
    # In a branch of `tf.switch_case`, a gradient can only reach tensors of the branch itself.
    x, kernel = tf.identity(x), tf.identity(kernel)
    return _product_of_pixels(x, kernel), partial(pointwise_gradients, x, kernel)


def pointwise_gradients(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of the input and of the kernel of `pointwise_conv`.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(channels, filters)`.
        upstream: gradient of the output, `(batch, height, width, filters)`.
    """
    (height, width), (channels, filters) = x.shape[1:3], kernel.shape
    pixels, upstream = tf.reshape(x, [-1, channels]), tf.reshape(upstream, [-1, filters])
    grad_x = tf.matmul(upstream, kernel, transpose_b=True)
    if current_form() is Form.XLA:
        # A single product would sum over all pixels into one small matrix, which leaves most of a
        # GPU idle. So there is a product for each image, and then a sum over images.
        images = tf.reshape(x, [-1, height * width, channels])
        of_images = tf.reshape(upstream, [-1, height * width, filters])
        of_kernel = tf.matmul(images, of_images, transpose_a=True)
        grad_kernel = tf.reduce_sum(of_kernel, axis=0)
    else:
        grad_kernel = tf.matmul(pixels, upstream, transpose_a=True)
    return tf.reshape(grad_x, [-1, height, width, channels]), grad_kernel


@tf.custom_gradient
def depthwise_conv(x: tf.Tensor, kernel: tf.Tensor):
    """Applies a depthwise convolution with stride 1 that keeps height and width.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(size, size, channels, 1)`, with an odd size.

    Returns:
        A tensor with `x`'s shape.
    """
    # In a branch of `tf.switch_case`, a gradient can only reach tensors of the branch itself.
    x, kernel = tf.identity(x), tf.identity(kernel)
    gradients = partial(depthwise_gradients, x, kernel)
    if current_form() is Form.XLA:
        return _sum_of_shifted(x, kernel), gradients
    return tf.nn.depthwise_conv2d(x, kernel, _STRIDES, "SAME"), gradients


def depthwise_gradients(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of the input and of the kernel of `depthwise_conv`.

    Args:
        x: as for `depthwise_conv`.
        kernel: as for `depthwise_conv`.
        upstream: gradient of the output, with `x`'s shape.
    """
    if current_form() is Form.XLA:
        grad_x = _sum_of_shifted(upstream, kernel[::-1, ::-1])
        # Stacked, so that XLA makes one reduction instead of one for each position in the kernel.
        products = tf.stack(_shifted(x, kernel.shape[0])) * upstream
        return grad_x, tf.reshape(tf.reduce_sum(products, [1, 2, 3]), kernel.shape)
    options = {"out_backprop": upstream, "strides": _STRIDES, "padding": "SAME"}
    grad_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, **options
    )
    if kernel.shape[0] > 3 and x.dtype == tf.float32 and current_form() is Form.CPU:
        return grad_x, _gradient_of_wide_kernel(x, kernel, upstream)
    grad_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=x, filter_sizes=kernel.shape, **options
    )
    return grad_x, grad_kernel


def _sum_of_shifted(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes a depthwise convolution as a sum of shifted images, for XLA.

    XLA fuses the sum with the ops before and after it into one kernel. Its alternative, a cuDNN
    convolution per channel, took several times as long on an H100, above all in the gradients.
    """
    rows = tf.unstack(tf.reshape(kernel, [-1, kernel.shape[2]]))
    shifted = _shifted(x, kernel.shape[0])
    return tf.add_n([one * row for one, row in zip(shifted, rows, strict=True)])


def _shifted(x: tf.Tensor, size: int, beyond: float = 0.0) -> list[tf.Tensor]:
    """Returns what each place of a window reads, row by row, each with `x`'s shape.

    Args:
        x: `(batch, height, width, channels)`.
        size: side of the window, odd.
        beyond: value beyond the borders of the images.
    """
    height, width = x.shape[1:3]
    margins = [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]
    padded = tf.pad(x, margins, constant_values=beyond)
    places = [(row, column) for row in range(size) for column in range(size)]
    return [padded[:, row : row + height, column : column + width] for row, column in places]


def max_pool(x: tf.Tensor) -> tf.Tensor:
    """Applies 3x3 max pooling with stride 1 and padding; returns a tensor with `x`'s shape."""
    if current_form() is not Form.XLA:
        return tf.nn.max_pool2d(x, 3, 1, "SAME")
    # XLA's own gradient is not deterministic, and XLA refuses it if determinism is required.
    return functools.reduce(tf.maximum, _shifted(x, 3, x.dtype.min))


def pool(x: tf.Tensor, kind: PoolKind) -> tf.Tensor:
    """Applies 3x3 pooling with stride 1 and padding; returns a tensor with `x`'s shape."""
    return max_pool(x) if kind == "max" else tf.nn.avg_pool2d(x, 3, 1, "SAME")


def _gradient_of_wide_kernel(x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Computes the gradient of a wide depthwise kernel in half of oneDNN's time.

    For a wide kernel, oneDNN's gradient takes as long as five convolutions. The gradient is itself
    a depthwise convolution, of the images with the output's gradients as kernels, in which each
    channel of each image is a channel.
    """
    size, _, channels, _ = kernel.shape
    height, width = x.shape[1:3]
    images, kernels = (tf.transpose(tensor, [1, 2, 0, 3]) for tensor in (x, upstream))
    images = tf.reshape(images, [1, height, width, -1])
    kernels = tf.reshape(kernels, [height, width, -1, 1])
    margins = [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]
    per_image = tf.nn.depthwise_conv2d(images, kernels, _STRIDES, margins)
    per_image = tf.reshape(per_image, [size, size, -1, channels, 1])
    return tf.reduce_sum(per_image, axis=2)
