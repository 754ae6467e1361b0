"""What the shared-weight network and the network trained from scratch have in common."""

import math
from dataclasses import dataclass

from enas_tf.errors import UserError
from enas_tf.options import option


@dataclass(frozen=True)
class ImageChildConfig:
    """The child network of images, and how its weights are trained."""

    out_filters: int = option(20, "channels of the first layers, even; doubled at a reduction")
    keep_prob: float = option(0.9, "dropout before the classifier keeps this much")
    drop_path_keep_prob: float = option(
        1.0, "drop path keeps this much of the last layer's ops at the end of the training"
    )
    aux_head: bool = option(True, "add an auxiliary classifier behind the second reduction")
    aux_weight: float = option(0.4, "weight of the auxiliary classifier's loss")
    train_aux_head: bool = option(
        True, "train the auxiliary classifier's own weights too; the authors' code does not"
    )
    l2: float = option(1e-4, "weight of the sum of squares of all weights in the loss")
    lr_max: float = option(0.05, "learning rate at the start of each cosine period")
    lr_min: float = option(0.0005, "learning rate that each cosine period falls to")
    lr_period: int = option(10, "epochs of the first cosine period")
    lr_period_factor: int = option(2, "each cosine period is this many times the one before")
    momentum: float = option(0.9, "Nesterov momentum of SGD")
    grad_clip: float = option(0.0, "largest global norm of the gradient; 0 does not clip")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no network."""
        for name in ("out_filters", "lr_period", "lr_period_factor"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.out_filters % 2:
            raise UserError(
                f"out_filters must be even, since a reduction splits channels in two halves, "
                f"got {self.out_filters}; try {self.out_filters + 1}"
            )
        for name in ("keep_prob", "drop_path_keep_prob"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"{name} must be over 0 and at most 1, got {getattr(self, name)}")
        for name in ("l2", "lr_max", "lr_min", "momentum", "grad_clip", "aux_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def size(self) -> str:
        """The network's size in words, as far as the configuration says."""
        return f"{self.out_filters} filters"


@dataclass(frozen=True)
class ChildConfig(ImageChildConfig):
    """The child network of images as a stack of cells, and how its weights are trained."""

    num_layers: int = option(6, "layers, not counting the two that halve height and width")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no network."""
        super().__post_init__()
        if self.num_layers < 3:
            raise UserError(
                f"num_layers must be at least 3, one for each width, got {self.num_layers}"
            )

    @property
    def size(self) -> str:
        """The network's size in words."""
        return f"{self.num_layers} layers and 2 reductions, {super().size}"

    @property
    def reductions(self) -> tuple[int, int]:
        """The layers that halve height and width, counted from 0 among `num_layers + 2`.

        The authors' choice: `num_layers // 3` and `2 * (num_layers // 3) + 1`.
        """
        third = self.num_layers // 3
        return third, 2 * third + 1

    @property
    def aux_layer(self) -> int:
        """The layer whose output the auxiliary classifier reads."""
        return self.reductions[-1] + 1
