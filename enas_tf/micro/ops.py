"""The ops of the micro space, each in a row that says all that there is to know of it.

To add one, add a row at the end. Where no class below fits, write one: `run` and `layers`, and
for an op with weights `kernel_shapes` and `num_norms`. Nothing else names an op or knows its
number.
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
    from enas_tf.layers.kernels import PoolKind
    from enas_tf.layers.norm import Statistics

# The space reads names here, and is plain Python: TensorFlow loads when an op first runs.
with epy.lazy_imports():
    import tensorflow as tf

    from enas_tf.layers import kernels
    from enas_tf.micro import separable


@dataclass(frozen=True)
class MicroOp(SharedOp):
    """An op on one input of a node.

    Attributes:
        drop_path: whether drop path may drop its output.
        initial_bias: what the controller adds to its logit, at the start of the search.
        normal_cell_bias: what it adds in the normal cell, and never learns.
    """

    drop_path: bool = True
    initial_bias: float = 0.0
    normal_cell_bias: float = -0.25

    @abstractmethod
    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Makes it of blocks for a network of one architecture; with stride 2 it halves sides."""


@dataclass(frozen=True)
class SeparableConv(MicroOp):
    """Relu, depthwise and pointwise convolution, batch norm; all of it twice."""

    # The authors' code prefers these ops.
    initial_bias: float = 10.0
    normal_cell_bias: float = 0.25
    kernel_size: int = 3

    num_norms: ClassVar[int] = 2
    # Of six tensors of an edge's size the last norm's input alone: 340 MiB less in a step at batch
    # 32, and a GPU takes longer to copy the others than to compute them again.
    room: ClassVar[tuple[int, int]] = (1, 1)

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns both depthwise and both pointwise kernels."""
        size = self.kernel_size
        return {
            "depthwise": Kernel((2, size, size, channels, 1), fan_in=size * size),
            "pointwise": Kernel((2, channels, channels), fan_in=channels),
        }

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Keeps what the second batch norm normalised."""
        output, (_, last), statistics = separable.separable_conv(x, *weights)
        return output, Kept([last.mixed], [last.reserve]), statistics

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Runs again all but what was kept."""
        (mixed,), (reserve,) = kept
        # Of a second run the graph computes no more than what the gradient takes from it.
        _, (first, last), _ = separable.separable_conv(x, *weights)
        halves = first, last._replace(mixed=mixed, reserve=reserve)
        return separable.separable_gradients(grad, halves, *weights)

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """The first half has the stride."""
        size = self.kernel_size
        x = blocks.separable_conv(blocks.relu(x), channels, size, f"{name}_1", stride)
        return blocks.separable_conv(blocks.relu(x), channels, size, f"{name}_2")


@dataclass(frozen=True)
class Pool(MicroOp):
    """3x3 pooling."""

    kind: PoolKind = "average"

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Pools with stride 1."""
        return kernels.pool(x, self.kind), Kept(), None

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Pools with the stride."""
        return blocks.pool(x, self.kind, 3, name, stride)


@dataclass(frozen=True)
class Identity(MicroOp):
    """Its input as it is."""

    drop_path: bool = False

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Returns the input."""
        return tf.identity(x), Kept(), None

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """With stride 2 a factorised reduction."""
        return blocks.reduce(x, channels, name) if stride == 2 else x


OPS = OpTable(
    (
        SeparableConv("separable conv 3x3", kernel_size=3),
        SeparableConv("separable conv 5x5", kernel_size=5),
        Pool("average pool 3x3", kind="average"),
        Pool("max pool 3x3", kind="max"),
        Identity("identity"),
    ),
    default=5,
)
"""All ops, in the order of their numbers."""
