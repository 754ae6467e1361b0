"""The base class of the ops in the tables of the image spaces, which run with shared weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from etils import epy

# Spaces are plain Python but read the names of ops, so TensorFlow loads only when an op first runs.
with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

    from enas_tf.layers import final_weights, norm


class Kernel(NamedTuple):
    """The shape and the fan-in of a shared kernel.

    Attributes:
        shape: shape of one set of the kernel.
        fan_in: how many inputs each output sums, which determines the initial deviation.
    """

    shape: tuple[int, ...]
    fan_in: int


class Kept(NamedTuple):
    """The tensors that an op keeps for its gradient, besides its input.

    Attributes:
        images: tensors with the input's shape.
        reserves: the reserves of its batch norms.
    """

    images: Sequence[tf.Tensor] = ()
    reserves: Sequence[norm.Reserve] = ()


@dataclass(frozen=True)
class SharedOp(ABC):
    """An op on a batch of images that keeps their shape.

    Attributes:
        name: name of the op in descriptions of architectures.
    """

    name: str

    num_norms: ClassVar[int] = 0
    """Number of batch norms in the op."""

    room: ClassVar[tuple[int, int]] = (0, 0)
    """How many images, and how many reserves of batch norms, `run` keeps for `gradients`."""

    @property
    def has_weights(self) -> bool:
        """Whether it has weights of its own."""
        return bool(self.kernel_shapes(1))

    def kernel_shapes(self, channels: int) -> dict[str, Kernel]:
        """Returns the shared kernels by name.

        `run` takes the kernels in this order. If the op has batch norms, their scales and offsets,
        `(num_norms, channels)`, follow, and then the means and variances to normalise by, if any.
        """
        return {}

    @abstractmethod
    def run(
        self, x: tf.Tensor, *weights: tf.Tensor
    ) -> tuple[tf.Tensor, Kept, norm.Statistics | None]:
        """Runs the op with shared weights.

        Args:
            x: `(batch, height, width, channels)`.
            *weights: the weights, in the order that `kernel_shapes` describes.

        Returns:
            The output, with `x`'s shape; what `gradients` needs besides the input, `Kept()` if
            nothing; and the means and variances that the batch norms used, each
            `(num_norms, channels)`, or None if the op has no batch norms.
        """

    def gradients(
        self, grad: tf.Tensor, x: tf.Tensor, weights: Sequence[tf.Tensor], kept: Kept
    ) -> list[tf.Tensor]:
        """Returns the gradients of the input and of each weight.

        By default, the op runs again and TensorFlow differentiates it. An op that takes long should
        override this, and compute its gradients from what `run` kept.

        Args:
            grad: gradient of the output, with `x`'s shape.
            x: as for `run`.
            weights: as for `run`, but never with means and variances to normalise by.
            kept: what `run` returned for the gradient.
        """
        # In a branch of `tf.switch_case`, a tape can only reach tensors of the branch itself.
        given = [tf.identity(one) for one in (x, *weights)]
        with tf.GradientTape() as tape:
            tape.watch(given)
            output, *_ = self.run(*given)
        return tape.gradient(output, given, grad)

    def final_weights(self, name: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns one set of weights by the paths that final networks have for them.

        By default those of one convolution, separable or not, with its batch norm. An op that
        `layers` builds from other blocks should override this; of weights with other names or
        shapes, a final network takes none.

        Args:
            name: what `layers` is given.
            weights: the kernels by the names of `kernel_shapes`; of batch norms `scale`, `offset`
                and, if there are moving averages, `mean` and `variance`, each `(norms, channels)`.
        """
        of_norm = ("scale", "offset", "mean", "variance")
        one = {kind: w[0] if kind in of_norm else w for kind, w in weights.items()}
        return final_weights.conv_weights(name, one)
