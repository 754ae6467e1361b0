"""Shared weights under the names that final networks have for them.

`enas_tf.layers.blocks.KerasBlocks` gives the weights of its blocks these names.
"""

from collections.abc import Mapping

import numpy as np

from enas_tf.layers.conv import ConvNorm
from enas_tf.layers.norm import BatchNorm

Named = dict[str, np.ndarray]
"""Weights by the paths of a final network's variables, such as `stem_conv/kernel`."""

_PATHS = {
    "kernel": "conv/kernel",
    "depthwise": "conv/depthwise_kernel",
    "pointwise": "conv/pointwise_kernel",
    "scale": "norm/scale",
    "offset": "norm/offset",
    "mean": "norm/moving_mean",
    "variance": "norm/moving_variance",
}


def conv_weights(name: str, weights: Mapping[str, np.ndarray]) -> Named:
    """Names the weights of a convolution, separable or not, and of its batch norm.

    Args:
        name: the block's name in the final network.
        weights: by `kernel`, or `depthwise` and `pointwise`; `scale` and `offset`; and `mean` and
            `variance` if there are moving averages. A kernel `(channels, filters)` is that of a
            1x1 convolution. What has another name is left out.
    """
    return {
        f"{name}_{_PATHS[kind]}": as_kernel(weight)
        for kind, weight in weights.items()
        if kind in _PATHS
    }


def as_kernel(weight: np.ndarray) -> np.ndarray:
    """Returns a matrix as the kernel of a 1x1 convolution, and anything else as it is."""
    return weight[np.newaxis, np.newaxis] if weight.ndim == 2 else weight


def norm_weights(name: str, norm: BatchNorm) -> Named:
    """Names the weights of a batch norm, and its averages if it has any."""
    return conv_weights(name, _of_norm(norm))


def conv_norm_weights(name: str, layer: ConvNorm) -> Named:
    """Names the weights of a convolution with batch norm."""
    return conv_weights(name, {"kernel": layer.kernel.numpy(), **_of_norm(layer.norm)})


def _of_norm(norm: BatchNorm) -> dict[str, np.ndarray]:
    weights = {"scale": norm.scale, "offset": norm.offset}
    if norm.moving:
        weights |= {"mean": norm.moving_mean, "variance": norm.moving_variance}
    return {kind: weight.numpy() for kind, weight in weights.items()}
