"""The ops of the macro space, each a row of a table that holds all there is to know about it.

An op comes after a 1x1 convolution of its own, batch norm and relu on its layer's input, and before
another relu. To add one, add a row at the end. If no class below fits, write one with `run` and
`layers`, and for an op with weights also `kernel_shapes` and `num_norms`. Nothing else names an op
or knows its number.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from etils import epy

from enas_tf.core.op_table import OpTable
from enas_tf.layers.shared_op import Kept, Kernel, SharedOp

if TYPE_CHECKING:
    from enas_tf.layers.blocks import Blocks, Images
    from enas_tf.layers.choice import Weights
    from enas_tf.layers.kernels import PoolKind
    from enas_tf.layers.norm import Reserve, Statistics

# The space reads names here, and is plain Python: TensorFlow loads when an op first runs.
with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

    from enas_tf.layers import final_weights, kernels, norm

EPSILON = 1e-3
"""Epsilon of the ops' batch norms; everywhere else the authors' code uses another one."""


@dataclass(frozen=True)
class MacroOp(SharedOp):
    """An op of a layer.

    Attributes:
        authors_kernel_size: kernel size of the plain convolution that replaces the op in the
            authors' final network; None if that network cannot have the op.
    """

    authors_kernel_size: int | None = None

    by_channel: ClassVar[bool] = True
    """Whether no channel of the output depends on another one."""

    def run_part(
        self, x: tf.Tensor, start: tf.Tensor, count: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Statistics | None]:
        """Runs the op and returns some channels of what `run` returns.

        By default all are computed. An op with weights should override this, and leave out those
        of the other channels.

        Args:
            x: `(batch, height, width, channels)`.
            start: the first channel of the output, int32.
            count: number of channels, int32.
            *weights: as for `run`.

        Returns:
            The output, `(batch, height, width, count)`, and the means and variances, `(1, count)`
            each, or None.
        """
        y, _, statistics = self.run(x, *weights)
        part = partial(_part, start=start, count=count)
        return part(y), statistics and tuple(map(part, statistics))

    @abstractmethod
    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Builds the op for a final network."""


@dataclass(frozen=True)
class Conv(MacroOp):
    """A convolution and batch norm."""

    kernel_size: int = 3

    num_norms: ClassVar[int] = 1
    room: ClassVar[tuple[int, int]] = (1, 1)

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the shape of the kernel."""
        size = self.kernel_size
        return {"kernel": Kernel((size, size, channels, channels), fan_in=size * size * channels)}

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Runs the op; keeps the input of the batch norm."""
        kernel, *norm_weights = weights
        convolved = tf.nn.conv2d(x, kernel, 1, "SAME")
        y, statistics, reserve = _normalize(convolved, *norm_weights)
        return y, Kept([convolved], [reserve]), statistics

    def run_part(
        self, x: tf.Tensor, start: tf.Tensor, count: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Statistics]:
        """Computes some channels and no others."""
        y, _, statistics = self.run(x, *(_part(one, start, count) for one in weights))
        return y, statistics

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients of batch norm and convolution."""
        kernel, scale, _ = weights
        (convolved,), (reserve,) = kept
        grad, *grad_norm = _norm_gradients(grad, convolved, scale, reserve)
        options = {"out_backprop": grad, "strides": [1, 1, 1, 1], "padding": "SAME"}
        return [
            tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, **options),
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **options),
            *grad_norm,
        ]

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Builds the convolution and the batch norm."""
        return blocks.conv(x, channels, self.kernel_size, name)


@dataclass(frozen=True)
class SeparableConv(MacroOp):
    """A depthwise convolution, a pointwise convolution and batch norm."""

    kernel_size: int = 3

    num_norms: ClassVar[int] = 1
    room: ClassVar[tuple[int, int]] = (2, 1)

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the shapes of both kernels."""
        size = self.kernel_size
        return {
            "depthwise": Kernel((size, size, channels, 1), fan_in=size * size),
            "pointwise": Kernel((channels, channels), fan_in=channels),
        }

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Runs the op; keeps the outputs of both convolutions."""
        depthwise, pointwise, *norm_weights = weights
        filtered = kernels.depthwise_conv(x, depthwise)
        mixed = kernels.pointwise_conv(filtered, pointwise)
        y, statistics, reserve = _normalize(mixed, *norm_weights)
        return y, Kept([filtered, mixed], [reserve]), statistics

    def run_part(
        self, x: tf.Tensor, start: tf.Tensor, count: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Statistics]:
        """Computes some channels of the pointwise convolution and no others."""
        depthwise, *others = weights
        y, _, statistics = self.run(x, depthwise, *(_part(one, start, count) for one in others))
        return y, statistics

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients of batch norm and both convolutions."""
        depthwise, pointwise, scale, _ = weights
        (filtered, mixed), (reserve,) = kept
        grad, *grad_norm = _norm_gradients(grad, mixed, scale, reserve)
        grad, grad_pointwise = kernels.pointwise_gradients(filtered, pointwise, grad)
        grad_x, grad_depthwise = kernels.depthwise_gradients(x, depthwise, grad)
        return [grad_x, grad_depthwise, grad_pointwise, *grad_norm]

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Builds both convolutions and the batch norm."""
        return blocks.separable_conv(x, channels, self.kernel_size, name)


@dataclass(frozen=True)
class Pool(MacroOp):
    """A 3x3 pool, average or max."""

    kind: PoolKind = "average"

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Pools with stride 1."""
        return kernels.pool(x, self.kind), Kept(), None

    def run_part(
        self, x: tf.Tensor, start: tf.Tensor, count: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, None]:
        """Pools some channels and no others."""
        return kernels.pool(_part(x, start, count), self.kind), None

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Builds the pool with stride 1."""
        return blocks.pool(x, self.kind, 3, name)


@dataclass(frozen=True)
class ExcitedConv(Conv):
    """A convolution and batch norm, then a factor for each channel, computed from all their means.

    Reference: Hu et al., "Squeeze-and-excitation networks", without biases.

    Attributes:
        reduction: divides the channels for the layer between squeeze and excitation.
    """

    reduction: int = 4

    room: ClassVar[tuple[int, int]] = (2, 1)
    by_channel: ClassVar[bool] = False

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the shapes of the convolution's kernel and of both layers of the excitation."""
        squeezed = max(1, channels // self.reduction)
        return super().kernel_shapes(channels) | {
            "squeeze": Kernel((channels, squeezed), fan_in=channels),
            "excite": Kernel((squeezed, channels), fan_in=squeezed),
        }

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Runs the op; keeps the input and the output of the batch norm."""
        kernel, squeeze, excite, *norm_weights = weights
        y, kept, statistics = super().run(x, kernel, *norm_weights)
        return _excite(y, squeeze, excite), Kept([*kept.images, y], kept.reserves), statistics

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients of the excitation, then of batch norm and convolution."""
        kernel, *excitation, scale, offset = weights
        (convolved, y), reserves = kept
        with tf.GradientTape() as tape:
            tape.watch([y, *excitation])
            output = _excite(y, *excitation)
        grad, *grad_excitation = tape.gradient(output, [y, *excitation], grad)
        grad_x, grad_kernel, *grad_norm = super().gradients(
            grad, x, (kernel, scale, offset), Kept([convolved], reserves)
        )
        return [grad_x, grad_kernel, *grad_excitation, *grad_norm]

    def final_weights(self, name: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the weights of the convolution and of both layers of the excitation."""
        return super().final_weights(name, weights) | {
            f"{name}_relu/kernel": final_weights.as_kernel(weights["squeeze"]),
            f"{name}_sigmoid/kernel": final_weights.as_kernel(weights["excite"]),
        }

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Builds the convolution, the batch norm and the excitation."""
        return blocks.excite(super().layers(blocks, x, channels, name), self.reduction, name)


def _part(x: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns some places of the last axis."""
    axes = x.shape.rank - 1
    # Not `x[..., start:]`: the gradient of a strided slice takes several times as long.
    part = tf.slice(x, [*[0] * axes, start], [*[-1] * axes, count])
    return tf.ensure_shape(part, [*x.shape[:-1], None])


def _normalize(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *averages: tf.Tensor
) -> tuple[tf.Tensor, Statistics, Reserve]:
    """Applies the only batch norm of an op; its weights are `(1, channels)` each."""
    averages = tuple(one[0] for one in averages) or None
    y, statistics, reserve = norm.normalize_and_reserve(x, scale[0], offset[0], EPSILON, averages)
    return y, tuple(one[tf.newaxis] for one in statistics), reserve


def _norm_gradients(
    grad: tf.Tensor, x: tf.Tensor, scale: tf.Tensor, reserve: Reserve
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of `x`, scale and offset in `_normalize` by the batch's statistics."""
    grad_x, *grads = norm.norm_gradients(grad, x, scale[0], reserve, EPSILON)
    return grad_x, *(one[tf.newaxis] for one in grads)


def _excite(y: tf.Tensor, squeeze: tf.Tensor, excite: tf.Tensor) -> tf.Tensor:
    squeezed = tf.nn.relu(tf.matmul(tf.reduce_mean(y, [1, 2]), squeeze))
    return y * tf.sigmoid(tf.matmul(squeezed, excite))[:, tf.newaxis, tf.newaxis]


OPS = OpTable(
    (
        Conv("conv 3x3", kernel_size=3, authors_kernel_size=3),
        SeparableConv("separable conv 3x3", kernel_size=3, authors_kernel_size=3),
        Conv("conv 5x5", kernel_size=5, authors_kernel_size=5),
        SeparableConv("separable conv 5x5", kernel_size=5, authors_kernel_size=5),
        Pool("average pool 3x3", kind="average"),
        Pool("max pool 3x3", kind="max"),
        ExcitedConv("squeeze-and-excitation conv 3x3", kernel_size=3),
    ),
    default=6,
)
"""All ops, in the order of their numbers."""
