"""The cost of a network: parameters and multiply-adds."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras

from enas_tf.layers.blocks import squeezed_channels
from enas_tf.layers.kernels import PoolKind


class Counted(NamedTuple):
    """A stand-in for images that has only their shape, `(None, height, width, channels)`."""

    shape: tuple[int | None, int, int, int]

    def resized(self, stride: int, channels: int) -> "Counted":
        """Returns the output of an op with this stride and number of channels; sides round up."""
        _, height, width, _ = self.shape
        return Counted((None, -(-height // stride), -(-width // stride), channels))


class CountingBlocks:
    """Counts the cost of a network made of blocks without building it; see `layers.blocks.Blocks`.

    An auxiliary head does not count, as in papers.

    Attributes:
        params: number of trained parameters so far.
        multiply_adds: multiply-adds of convolutions and dense layers so far, for one image.
    """

    def __init__(self) -> None:
        self.params = 0
        self.multiply_adds = 0

    def _count(self, weights: int, places: Counted | None, norm: int = 0) -> None:
        self.params += weights + 2 * norm
        if places:
            self.multiply_adds += math.prod(places.shape[1:3]) * weights

    def relu(self, x: Counted) -> Counted:
        """Counts nothing."""
        return x

    def normalize(self, x: Counted, name: str) -> Counted:
        """Counts scale and offset."""
        self._count(0, None, norm=x.shape[-1])
        return x

    def zeros(self, x: Counted) -> Counted:
        """Costs nothing."""
        return x

    def conv(
        self,
        x: Counted,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        has_norm: bool = True,
    ) -> Counted:
        """Counts kernel and, where there is batch norm, scale and offset."""
        output = x.resized(stride, filters)
        weights = kernel_size**2 * x.shape[-1] * filters
        self._count(weights, output, norm=filters if has_norm else 0)
        return output

    def separable_conv(
        self,
        x: Counted,
        filters: int,
        kernel_size: int,
        name: str,
        stride: int = 1,
        dilation: int = 1,
    ) -> Counted:
        """Counts both kernels, and the batch norm's scale and offset."""
        # With a dilation, the stride is applied after the convolution; see `KerasBlocks`.
        channels, places = x.shape[-1], x.resized(1 if dilation > 1 else stride, filters)
        self._count(kernel_size**2 * channels + channels * filters, places, norm=filters)
        return x.resized(stride, filters)

    def pool(self, x: Counted, kind: PoolKind, size: int, name: str, stride: int = 1) -> Counted:
        """Counts nothing."""
        return x.resized(stride, x.shape[-1])

    def reduce(self, x: Counted, filters: int, name: str, is_used: bool = True) -> Counted:
        """Counts both kernels, scale and offset, but multiply-adds only if the output is used."""
        output = x.resized(2, filters)
        self._count(x.shape[-1] * filters, output if is_used else None, norm=filters)
        return output

    def excite(self, x: Counted, reduction: int, name: str) -> Counted:
        """Counts both kernels, which are applied once per image."""
        channels = x.shape[-1]
        weights = 2 * channels * squeezed_channels(channels, reduction)
        self._count(weights, Counted((None, 1, 1, channels)))
        return x

    def add(self, parts: Sequence[Counted], name: str) -> Counted:
        """Counts nothing."""
        return parts[0]

    def concatenate(self, parts: Sequence[Counted], name: str) -> Counted:
        """Counts nothing."""
        return parts[0].resized(1, sum(part.shape[-1] for part in parts))

    def drop_path(self, x: Counted, keep_prob: float, depth: float, name: str) -> Counted:
        """Counts nothing."""
        return x

    def aux_head(self, x: Counted, num_classes: int) -> None:
        """Counts nothing, since only training uses it."""

    def classify(
        self, x: Counted, num_classes: int, keep_prob: float, use_bias: bool = False
    ) -> None:
        """Counts the dense layer."""
        self._count(x.shape[-1] * num_classes, Counted((None, 1, 1, num_classes)))
        self.params += num_classes if use_bias else 0


class Cost(NamedTuple):
    """The cost of a network, without its auxiliary head.

    Attributes:
        params: number of trained parameters.
        multiply_adds: multiply-adds for one example, an image or a word.
    """

    params: int
    multiply_adds: int


def count(
    assemble: Callable[[Counted, CountingBlocks], object],
    image_shape: tuple[int, int, int],
    blocks: CountingBlocks | None = None,
) -> Cost:
    """Counts the cost of a network made of blocks.

    Args:
        assemble: builds the network, given images and blocks.
        image_shape: `(height, width, channels)` of the images.
        blocks: what counts; None makes `CountingBlocks`.
    """
    blocks = blocks or CountingBlocks()
    assemble(Counted((None, *image_shape)), blocks)
    return Cost(blocks.params, blocks.multiply_adds)


def count_params(network: keras.Model) -> int:
    """Counts the trained parameters as papers do, without those of the auxiliary head."""
    head = {id(v) for layer in network.layers if layer.name == "aux_head" for v in layer.variables}
    weights = [v for v in network.trainable_variables if id(v) not in head]
    return sum(math.prod(variable.shape) for variable in weights)


def count_multiply_adds(network: keras.Model) -> int:
    """Counts multiply-adds for one image: of convolutions and dense layers, no auxiliary head."""
    return sum(_multiply_adds(layer) for layer in network.layers)


def _multiply_adds(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
        kernels = [layer.kernel]
    else:
        return 0
    places = math.prod(layer.output.shape[1:-1])
    return sum(places * math.prod(kernel.shape) for kernel in kernels)
