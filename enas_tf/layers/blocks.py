"""Blocks that the final networks are made of.

A network is written once, as a function of blocks: `KerasBlocks` build it from Keras layers, and
`CountingBlocks` in `cost.py` count its cost without building anything.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras

from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.dropout import Dropout, DropPath, StepRng
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import PoolKind
from enas_tf.layers.norm import BatchNorm

Images = Any
"""The input or output of a block, with a `shape` of `(None, height, width, channels)`."""


class Blocks(Protocol):
    """The blocks that a network is made of; the names of a block's layers begin with `name`."""

    def relu(self, x: Images) -> Images:
        """Applies relu."""

    def normalize(self, x: Images, name: str) -> Images:
        """Applies batch norm."""

    def zeros(self, x: Images) -> Images:
        """Makes zeros of the input's shape."""

    def conv(
        self,
        x: Images,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        has_norm: bool = True,
    ) -> Images:
        """Applies a convolution without bias and, if asked for, batch norm.

        Args:
            x: `(batch, height, width, channels)`.
            filters: output channels.
            kernel_size: of the square kernel, odd.
            name: of the block.
            stride: 2 halves height and width; odd sides round up. The kernel's middle meets the
                first pixel, as PyTorch has it.
            has_norm: whether batch norm follows.
        """

    def separable_conv(
        self,
        x: Images,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        dilation: int = 1,
    ) -> Images:
        """Applies depthwise and pointwise convolutions without biases, then batch norm.

        Args:
            x: `(batch, height, width, channels)`.
            filters: output channels.
            kernel_size: side of the square depthwise kernel.
            name: name of the block.
            stride: 2 halves height and width.
            dilation: distance between the places that the depthwise kernel reads.
        """

    def pool(self, x: Images, kind: PoolKind, size: int, name: str, stride: int = 1) -> Images:
        """Applies average or max pooling over a square, with padding beyond the borders."""

    def reduce(self, x: Images, filters: int, name: str, is_used: bool = True) -> Images:
        """Halves height and width by a factorised reduction with batch norm; odd sides round up.

        Args:
            x: images to reduce.
            filters: output channels, even.
            name: name of the block.
            is_used: whether an output of the network depends on it.
        """

    def excite(self, x: Images, reduction: int, name: str) -> Images:
        """Scales each channel depending on the means of all channels (squeeze-and-excitation)."""

    def add(self, parts: Sequence[Images], name: str) -> Images:
        """Adds images of one shape."""

    def concatenate(self, parts: Sequence[Images], name: str) -> Images:
        """Joins images along the channels."""

    def drop_path(self, x: Images, keep_prob: float, depth: float, name: str) -> Images:
        """Drops the whole input of random examples; see `enas_tf.layers.dropout.DropPath`."""

    def aux_head(self, x: Images, num_classes: int) -> Any:
        """Returns the logits of an auxiliary classifier, `(batch, num_classes)`."""

    def classify(
        self, x: Images, num_classes: int, keep_prob: float, use_bias: bool = False
    ) -> Any:
        """Returns logits, `(batch, num_classes)`, float32, of the means over height and width."""


class KerasBlocks:
    """Blocks made of Keras layers and `BatchNorm`; see `Blocks`.

    Args:
        rng: random numbers for dropout and drop path.
        initial: returns what initialises a kernel, by its fan-in. An auxiliary classifier has the
            authors' always.
    """

    def __init__(
        self,
        rng: StepRng,
        initial: Callable[[int], keras.initializers.Initializer] = he_normal,
    ) -> None:
        self._rng = rng
        self._initial = initial

    def norm(self, name: str) -> BatchNorm:
        """Creates the batch norm layer of a convolution."""
        return BatchNorm(name=f"{name}_norm")

    def relu(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Applies relu."""
        return keras.layers.ReLU()(x)

    def normalize(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Applies batch norm."""
        return self.norm(name)(x)

    def zeros(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Makes zeros of the input's shape."""
        # A layer: the export copies layers, and no bare operations.
        return keras.layers.Rescaling(0.0)(x)

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        has_norm: bool = True,
    ) -> keras.KerasTensor:
        """Applies a convolution without bias and, if asked for, batch norm."""
        channels = x.shape[-1]
        if stride > 1 and kernel_size > 1:
            # TensorFlow's own padding would lie at the end alone.
            x = keras.layers.ZeroPadding2D(kernel_size // 2)(x)
        layer = keras.layers.Conv2D(
            filters,
            kernel_size,
            stride,
            "same" if stride == 1 else "valid",
            use_bias=False,
            kernel_initializer=self._initial(kernel_size**2 * channels),
            name=f"{name}_conv",
        )
        return self.normalize(layer(x), name) if has_norm else layer(x)

    def separable_conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        dilation: int = 1,
    ) -> keras.KerasTensor:
        """Applies depthwise and pointwise convolutions without biases, then batch norm."""
        # Keras has no convolution with both a stride and a dilation. With a dilation, the stride
        # is applied after the convolution, by pooling over single places.
        picks = stride if dilation > 1 else 1
        layer = keras.layers.SeparableConv2D(
            filters,
            kernel_size,
            stride // picks,
            "same",
            dilation_rate=dilation,
            use_bias=False,
            depthwise_initializer=self._initial(kernel_size**2),
            pointwise_initializer=self._initial(x.shape[-1]),
            name=f"{name}_conv",
        )
        y = layer(x)
        return self.norm(name)(keras.layers.AveragePooling2D(1, picks)(y) if picks > 1 else y)

    def pool(
        self, x: keras.KerasTensor, kind: PoolKind, size: int, name: str, stride: int = 1
    ) -> keras.KerasTensor:
        """Applies average or max pooling over a square."""
        layers = keras.layers
        pool = layers.AveragePooling2D if kind == "average" else layers.MaxPooling2D
        return pool(size, stride, "same", name=name)(x)

    def reduce(
        self, x: keras.KerasTensor, filters: int, name: str, is_used: bool = True
    ) -> keras.KerasTensor:
        """Halves height and width by two 1x1 convolutions, one of them shifted by a pixel."""
        shifted = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        shifted = keras.layers.Cropping2D(((1, 0), (1, 0)))(shifted)
        paths = [
            keras.layers.Conv2D(
                filters // 2,
                1,
                use_bias=False,
                kernel_initializer=self._initial(x.shape[-1]),
                name=f"{name}_path_{number}",
                # The convolution has no stride, for the reason given in `layers.conv.halve`.
            )(keras.layers.AveragePooling2D(1, 2)(path))
            for number, path in enumerate((x, shifted), 1)
        ]
        return self.norm(name)(keras.layers.Concatenate()(paths))

    def excite(self, x: keras.KerasTensor, reduction: int, name: str) -> keras.KerasTensor:
        """Scales channels as in Hu et al., "Squeeze-and-excitation networks", without biases."""
        channels = x.shape[-1]
        factors = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
        squeezed = squeezed_channels(channels, reduction)
        for filters, activation in ((squeezed, "relu"), (channels, "sigmoid")):
            factors = keras.layers.Conv2D(
                filters,
                1,
                activation=activation,
                use_bias=False,
                kernel_initializer=self._initial(factors.shape[-1]),
                name=f"{name}_{activation}",
            )(factors)
        return keras.layers.Multiply(name=f"{name}_excite")([x, factors])

    def add(self, parts: Sequence[keras.KerasTensor], name: str) -> keras.KerasTensor:
        """Adds images of one shape."""
        return keras.layers.Add(name=name)(list(parts))

    def concatenate(self, parts: Sequence[keras.KerasTensor], name: str) -> keras.KerasTensor:
        """Joins images along the channels; returns a single one unchanged."""
        return keras.layers.Concatenate(name=name)(list(parts)) if parts[1:] else parts[0]

    def drop_path(
        self, x: keras.KerasTensor, keep_prob: float, depth: float, name: str
    ) -> keras.KerasTensor:
        """Drops the whole input of random examples."""
        return DropPath(keep_prob, depth, self._rng, name=f"{name}_drop_path")(x)

    def aux_head(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
        """Returns the logits of an auxiliary classifier."""
        return AuxHead(num_classes, name="aux_head")(x)

    def classify(
        self, x: keras.KerasTensor, num_classes: int, keep_prob: float, use_bias: bool = False
    ) -> keras.KerasTensor:
        """Returns logits from the means over height and width, after dropout."""
        features = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        features = Dropout(keep_prob, self._rng, name="dropout")(features)
        return keras.layers.Dense(
            num_classes,
            use_bias=use_bias,
            kernel_initializer=self._initial(features.shape[-1]),
            # As PyTorch has it, which is where the only networks with a bias come from.
            bias_initializer=self._initial(features.shape[-1]),
            dtype="float32",
            name="classifier",
        )(features)


def squeezed_channels(channels: int, reduction: int) -> int:
    """Returns the number of channels between the two layers of a squeeze-and-excitation block."""
    return max(1, channels // reduction)
