"""Separable convolutions of the micro space with shared weights, and their gradients."""

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
