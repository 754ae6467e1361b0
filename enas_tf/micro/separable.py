"""The separable convolutions of the micro space with shared weights, and their gradients."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from enas_tf.layers.kernels import (
    depthwise_conv,
    depthwise_gradients,
    pointwise_conv,
    pointwise_gradients,
)
from enas_tf.layers.norm import Reserve, Statistics, norm_gradients, normalize_and_reserve


class Half(NamedTuple):
    """The tensors of one half of a separable convolution that its gradients are computed from.

    Attributes:
        given: input of the relu, `(batch, height, width, channels)`.
        filtered: output of the depthwise convolution, same shape.
        mixed: output of the pointwise convolution and input of the batch norm, same shape.
        reserve: what the batch norm keeps for its gradient.
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
    """Runs relu, depthwise convolution, pointwise convolution and batch norm twice, with stride 1.

    Args:
        x: `(batch, height, width, channels)`.
        depthwise: `(2, kernel_size, kernel_size, channels, 1)`.
        pointwise: `(2, channels, channels)`.
        scale: `(2, channels)`.
        offset: `(2, channels)`.
        *averages: means and variances to normalise by, each `(2, channels)`; if there are none,
            the batch's own statistics are used.

    Returns:
        The output, with the shape of `x`; the tensors of both halves; and the means and variances
        that the batch norms used, each `(2, channels)`.
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
    """Returns the gradients of the input and of each weight of `separable_conv`.

    Args:
        upstream: the gradient of the output, `(batch, height, width, channels)`.
        halves: the tensors of both halves, normalised by the batch's statistics.
        depthwise: as for `separable_conv`.
        pointwise: as for `separable_conv`.
        scale: as for `separable_conv`.
        offset: as for `separable_conv`.
    """
    grad_weights = []
    for place in (1, 0):
        half = halves[place]
        upstream, *grad_norm = norm_gradients(upstream, half.mixed, scale[place], half.reserve)
        upstream, grad_mixing = pointwise_gradients(half.filtered, pointwise[place], upstream)
        # Relu is computed again: keeping its output would take as much memory as its input.
        with tf.GradientTape() as tape:
            tape.watch(half.given)
            rectified = tf.nn.relu(half.given)
        upstream, grad_kernel = depthwise_gradients(rectified, depthwise[place], upstream)
        upstream = tape.gradient(rectified, half.given, upstream)
        grad_weights.insert(0, [grad_kernel, grad_mixing, *grad_norm])
    return [upstream, *map(tf.stack, zip(*grad_weights, strict=True))]
