"""What the rows of the image spaces' tables share: how an op runs with shared weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from etils import epy

# Spaces read the names of ops, and are plain Python: TensorFlow loads when an op first runs.
with epy.lazy_imports():
    import tensorflow as tf

    from enas_tf.layers import norm


class Kernel(NamedTuple):
    """What a shared kernel looks like.

    Attributes:
        shape: of one set of it.
        fan_in: how many inputs each of its outputs sums, for its initial deviation.
    """

    shape: tuple[int, ...]
    fan_in: int


class Kept(NamedTuple):
    """What an op keeps for its gradient beside its input.

    Attributes:
        images: tensors of the input's shape.
        reserves: of its batch norms.
    """

    images: Sequence[tf.Tensor] = ()
    reserves: Sequence[norm.Reserve] = ()


@dataclass(frozen=True)
class SharedOp(ABC):
    """An op on a batch of images that keeps their shape.

    Attributes:
        name: what an architecture is described by.
    """

    name: str

    num_norms: ClassVar[int] = 0
    """Its batch norms."""

    room: ClassVar[tuple[int, int]] = (0, 0)
    """How many images and how many reserves of batch norms `run` keeps for `gradients`."""

    @property
    def has_weights(self) -> bool:
        """Whether it has weights of its own."""
        return bool(self.kernel_shapes(1))

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns its shared kernels, by name.

        `run` takes them in this order, followed, where there are batch norms, by their scales
        and offsets, `(num_norms, channels)`, and the means and variances to normalise by, if any.
        """
        return {}

    @abstractmethod
    def run(
        self, x: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Kept, norm.Statistics | None]:
        """Runs it with shared weights.

        Args:
            x: `(batch, height, width, channels)`.
            *weights: as `kernel_shapes` says.

        Returns:
            The output, of `x`'s shape; what `gradients` needs beside the input, `Kept()` for
            nothing; and the means and variances that its batch norms used, `(num_norms, channels)`
            each, None where there are none.
        """

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Sequence[tf.Tensor], kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients of the input and of each weight; there are no averages then.

        Here the op runs again and TensorFlow differentiates it. An op that takes long does better
        with gradients of its own, of what `run` has kept.

        Args:
            grad: the output's gradient, of `x`'s shape.
            x: as for `run`.
            weights: as for `run`.
            kept: what `run` returned.
        """
        # A tape in a branch of `tf.switch_case` reaches only tensors of that branch.
        given = [tf.identity(one) for one in (x, *weights)]
        with tf.GradientTape() as tape:
            tape.watch(given)
            output, *_ = self.run(*given)
        return tape.gradient(output, given, grad)
