"""The ops of NAS-Bench-201's space, each in a row that says all that there is to know of it.

They have the benchmark's names and stand in its order. To add one, add a row at the end. Where no
class below fits, write one: `run` and `layers`, and for an op with weights `kernel_shapes` and
`num_norms`. Nothing else names an op or knows its number.

Reference: `OPS` of cell_operations.py in the benchmark's code, github.com/D-X-Y/AutoDL-Projects.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from etils import epy

from enas_tf.core.op_table import OpTable
from enas_tf.layers.shared_op import Kept, Kernel, SharedOp

if TYPE_CHECKING:
    from enas_tf.layers.blocks import Blocks, Images
    from enas_tf.layers.choice import Weights
    from enas_tf.layers.norm import Statistics

# The space reads names here, and is plain Python: TensorFlow loads when an op first runs.
with epy.lazy_imports():
    import tensorflow as tf

    from enas_tf.layers import kernels, norm


@dataclass(frozen=True)
class Nasbench201Op(SharedOp):
    """An op on an edge of the cell.

    Attributes:
        drop_path: whether drop path may drop its output.
        is_zero: whether its output is zeros, whatever the input.
    """

    drop_path: bool = True
    is_zero: bool = False

    @abstractmethod
    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Makes it of blocks for a network of one architecture."""


@dataclass(frozen=True)
class Zero(Nasbench201Op):
    """Zeros: no edge."""

    drop_path: bool = False
    is_zero: bool = True

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Returns zeros."""
        return tf.zeros_like(x), Kept(), None

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Returns zeros as well."""
        return [tf.zeros_like(grad)]

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Makes the op of the block of that kind."""
        return blocks.zeros(x)


@dataclass(frozen=True)
class Identity(Nasbench201Op):
    """Its input as it is."""

    drop_path: bool = False

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Returns the input."""
        return tf.identity(x), Kept(), None

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Makes the op of the block of that kind."""
        return x


@dataclass(frozen=True)
class Conv(Nasbench201Op):
    """Relu, convolution, batch norm."""

    kernel_size: int = 3

    num_norms: ClassVar[int] = 1
    room: ClassVar[tuple[int, int]] = (1, 1)

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the kernel's."""
        size = self.kernel_size
        return {"kernel": Kernel((size, size, channels, channels), fan_in=size * size * channels)}

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Keeps what the batch norm normalised."""
        kernel, scale, offset, *averages = weights
        averages = tuple(one[0] for one in averages) or None
        x = tf.nn.relu(x)
        if self.kernel_size == 1:
            convolved = kernels.pointwise_conv(x, kernel)
        else:
            convolved = tf.nn.conv2d(x, kernel, 1, "SAME")
        y, statistics, reserve = norm.normalize_and_reserve(
            convolved, scale[0], offset[0], averages=averages
        )
        return y, Kept([convolved], [reserve]), tuple(one[tf.newaxis] for one in statistics)

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Goes back through all three."""
        kernel, scale, _ = weights
        (convolved,), (reserve,) = kept
        grad, *grad_norm = norm.norm_gradients(grad, convolved, scale[0], reserve)
        positive = tf.nn.relu(x)
        if self.kernel_size == 1:
            matrix = tf.reshape(kernel, kernel.shape[-2:])
            grad_x, grad_kernel = kernels.pointwise_gradients(positive, matrix, grad)
            grad_kernel = tf.reshape(grad_kernel, kernel.shape)
        else:
            options = {"out_backprop": grad, "strides": [1, 1, 1, 1], "padding": "SAME"}
            grad_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x), filter=kernel, **options
            )
            grad_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=positive, filter_sizes=kernel.shape, **options
            )
        grad_x = tf.where(x > 0, grad_x, tf.zeros_like(grad_x))
        return [grad_x, grad_kernel, *(one[tf.newaxis] for one in grad_norm)]

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Makes the op of the block of that kind."""
        return blocks.conv(blocks.relu(x), channels, self.kernel_size, name)


@dataclass(frozen=True)
class AveragePool(Nasbench201Op):
    """3x3 average pooling; what lies beyond the borders does not count."""

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Pools with stride 1."""
        return kernels.pool(x, "average"), Kept(), None

    def layers(self, blocks: Blocks, x: Images, channels: int, name: str) -> Images:
        """Makes the op of the block of that kind."""
        return blocks.pool(x, "average", 3, name)


OPS = OpTable(
    (
        Zero("none"),
        Identity("skip_connect"),
        Conv("nor_conv_1x1", kernel_size=1),
        Conv("nor_conv_3x3", kernel_size=3),
        AveragePool("avg_pool_3x3"),
    ),
    default=5,
)
"""All ops, in the order of their numbers."""
