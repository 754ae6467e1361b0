"""The ops of the micro space, each a row of a table that holds all there is to know about it.

To add one, add a row at the end. If no class below fits, write one with the methods `run` and
`layers`, and for an op with weights also `kernel_shapes` and `num_norms`. Nothing else names an op
or knows its number.
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
    import numpy as np
    import tensorflow as tf

    from enas_tf.layers import final_weights, kernels
    from enas_tf.micro import separable


@dataclass(frozen=True)
class MicroOp(SharedOp):
    """An op on one of the two inputs of a node.

    Attributes:
        drop_path: whether drop path may drop its output.
        initial_bias: initial value of the bias that the controller adds to its logit and learns.
        normal_cell_bias: bias that the controller adds in the normal cell and never learns.
    """

    drop_path: bool = True
    initial_bias: float = 0.0
    normal_cell_bias: float = -0.25

    @abstractmethod
    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Builds the op for a final network; stride 2 halves height and width."""


@dataclass(frozen=True)
class SeparableConv(MicroOp):
    """Relu, depthwise convolution, pointwise convolution and batch norm, applied twice."""

    # As in the authors' code, which favours these ops.
    initial_bias: float = 10.0
    normal_cell_bias: float = 0.25
    kernel_size: int = 3

    num_norms: ClassVar[int] = 2
    # Of six tensors of an edge's size, only the last norm's input is kept: this saves 340 MiB in a
    # step at batch 32, and a GPU takes longer to copy the others than to compute them again.
    room: ClassVar[tuple[int, int]] = (1, 1)

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the shapes of both depthwise and both pointwise kernels."""
        size = self.kernel_size
        return {
            "depthwise": Kernel((2, size, size, channels, 1), fan_in=size * size),
            "pointwise": Kernel((2, channels, channels), fan_in=channels),
        }

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, Statistics]:
        """Runs the op with stride 1; keeps the input of the second batch norm."""
        output, (_, last), statistics = separable.separable_conv(x, *weights)
        return output, Kept([last.mixed], [last.reserve]), statistics

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients; computes again what was not kept."""
        (mixed,), (reserve,) = kept
        # The graph computes only what the gradients take from this second run.
        _, (first, last), _ = separable.separable_conv(x, *weights)
        halves = first, last._replace(mixed=mixed, reserve=reserve)
        return separable.separable_gradients(grad, halves, *weights)

    def final_weights(self, name: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the weights of both halves, over which all of them have a leading axis."""
        first, last = ({kind: w[half] for kind, w in weights.items()} for half in range(2))
        conv_weights = final_weights.conv_weights
        return conv_weights(f"{name}_1", first) | conv_weights(f"{name}_2", last)

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Builds both halves; the first one has the stride."""
        size = self.kernel_size
        x = blocks.separable_conv(blocks.relu(x), channels, size, f"{name}_1", stride)
        return blocks.separable_conv(blocks.relu(x), channels, size, f"{name}_2")


@dataclass(frozen=True)
class Pool(MicroOp):
    """A 3x3 pool, average or max."""

    kind: PoolKind = "average"

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Pools with stride 1."""
        return kernels.pool(x, self.kind), Kept(), None

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Builds the pool with the given stride."""
        return blocks.pool(x, self.kind, 3, name, stride)


@dataclass(frozen=True)
class Identity(MicroOp):
    """An op that returns its input unchanged."""

    drop_path: bool = False

    def run(self, x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Kept, None]:
        """Returns the input."""
        return tf.identity(x), Kept(), None

    def layers(
        self, blocks: Blocks, x: Images, channels: int, name: str, stride: int = 1
    ) -> Images:
        """Returns the input, or with stride 2 its factorised reduction."""
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
