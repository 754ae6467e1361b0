"""The ops of the macro space behind their first convolution, each with its gradient."""

import tensorflow as tf

from enas_tf.layers.choice import Kept, Op, op_without_weights
from enas_tf.layers.kernels import (
    depthwise_conv,
    depthwise_gradients,
    max_pool,
    pointwise_conv,
    pointwise_gradients,
)
from enas_tf.layers.norm import norm_gradients, normalize_and_reserve

OP_EPSILON = 1e-3
"""Of the batch norms behind the ops; the authors' code has another one everywhere else."""


def _run_conv(x: tf.Tensor, kernel: tf.Tensor, *norm: tf.Tensor) -> tuple:
    mixed = tf.nn.conv2d(x, kernel, 1, "SAME")
    y, statistics, reserve = _normalized(mixed, *norm)
    return y, Kept([mixed], [reserve]), statistics


def _normalized(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *averages: tf.Tensor) -> tuple:
    return normalize_and_reserve(x, scale, offset, OP_EPSILON, averages or None)


def _conv_gradients(upstream: tf.Tensor, x: tf.Tensor, weights: tuple, kept: Kept) -> list:
    kernel, scale, _ = weights
    (mixed, *_), (reserve, *_) = kept
    upstream, *grad_norm = norm_gradients(upstream, mixed, scale, reserve, OP_EPSILON)
    return [*_conv2d_gradients(upstream, x, kernel), *grad_norm]


def _conv2d_gradients(upstream: tf.Tensor, x: tf.Tensor, kernel: tf.Tensor) -> list[tf.Tensor]:
    """Of the input and of the kernel."""
    options = {"out_backprop": upstream, "strides": [1, 1, 1, 1], "padding": "SAME"}
    return [
        tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, **options),
        tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **options),
    ]


def _run_separable(
    x: tf.Tensor, depthwise: tf.Tensor, pointwise: tf.Tensor, *norm: tf.Tensor
) -> tuple:
    filtered = depthwise_conv(x, depthwise)
    mixed = pointwise_conv(filtered, pointwise)
    y, statistics, reserve = _normalized(mixed, *norm)
    return y, Kept([filtered, mixed], [reserve]), statistics


def _separable_gradients(upstream: tf.Tensor, x: tf.Tensor, weights: tuple, kept: Kept) -> list:
    depthwise, pointwise, scale, _ = weights
    (filtered, mixed), (reserve,) = kept
    upstream, *grad_norm = norm_gradients(upstream, mixed, scale, reserve, OP_EPSILON)
    upstream, grad_pointwise = pointwise_gradients(filtered, pointwise, upstream)
    grad_x, grad_depthwise = depthwise_gradients(x, depthwise, upstream)
    return [grad_x, grad_depthwise, grad_pointwise, *grad_norm]


def _run_excited(
    x: tf.Tensor, kernel: tf.Tensor, squeeze: tf.Tensor, excite: tf.Tensor, *norm: tf.Tensor
) -> tuple:
    y, kept, statistics = _run_conv(x, kernel, *norm)
    return _excite(y, squeeze, excite), Kept([*kept.images, y], kept.reserves), statistics


def _excite(y: tf.Tensor, squeeze: tf.Tensor, excite: tf.Tensor) -> tf.Tensor:
    """Scales each channel by what all of them are on average.

    Reference: Hu et al., "Squeeze-and-excitation networks", without biases.
    """
    squeezed = tf.nn.relu(tf.matmul(tf.reduce_mean(y, [1, 2]), squeeze))
    return y * tf.sigmoid(tf.matmul(squeezed, excite))[:, tf.newaxis, tf.newaxis]


def _excited_gradients(upstream: tf.Tensor, x: tf.Tensor, weights: tuple, kept: Kept) -> list:
    kernel, *excitation, scale, offset = weights
    (mixed, y), reserves = kept
    with tf.GradientTape() as tape:
        tape.watch([y, *excitation])
        output = _excite(y, *excitation)
    upstream, *grad_excitation = tape.gradient(output, [y, *excitation], upstream)
    conv = (kernel, scale, offset), Kept([mixed], reserves)
    grad_x, grad_kernel, *grad_norm = _conv_gradients(upstream, x, *conv)
    return [grad_x, grad_kernel, *grad_excitation, *grad_norm]


_CONV = Op(_run_conv, _conv_gradients)
_SEPARABLE = Op(_run_separable, _separable_gradients)

OPS = (
    _CONV,
    _SEPARABLE,
    _CONV,
    _SEPARABLE,
    op_without_weights(lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME")),
    op_without_weights(max_pool),
    Op(_run_excited, _excited_gradients),
)
"""In the order of `spaces.macro.OPS`."""
