"""Configs of child networks, for both the shared weights and the training from scratch."""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.schedules import CosineRestarts

if TYPE_CHECKING:
    import keras


StemKind = Literal["cifar", "imagenet"]


@dataclass(frozen=True)
class ImageChildConfig:
    """The child network of images, and how its weights are trained."""

    width_option: ClassVar[str] = "out_filters"

    out_filters: int = option(20, "channels of the first layers, even; doubled at a reduction")
    stem: StemKind = option(
        "cifar",
        "what comes before the first searched layer: cifar, a convolution 3x3, as the authors have "
        "it; imagenet, for large images, three of stride 2, which leave an eighth of each side",
        is_size=True,
    )
    keep_prob: float = option(0.9, "dropout before the classifier keeps this much")
    drop_path_keep_prob: float = option(
        1.0, "drop path keeps this much of the last layer's ops at the end of the training"
    )
    aux_head: bool = option(True, "add an auxiliary classifier after the second reduction")
    aux_weight: float = option(0.4, "weight of the auxiliary classifier's loss")
    train_aux_head: bool = option(
        True, "train the auxiliary classifier's own weights too; the authors' code does not"
    )
    l2: float = option(1e-4, "weight of the sum of squares of all weights in the loss")
    decay_idle: bool = option(
        True,
        "in the search, let l2 shrink those weights too that a step's architecture does not use, "
        "as the authors' code does",
    )
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
                raise UserError(f"child.{name} must be at least 1, got {getattr(self, name)}")
        if self.out_filters % 2:
            raise UserError(
                f"child.out_filters must be even, since a reduction splits channels in two "
                f"halves, got {self.out_filters}; try {self.out_filters + 1}"
            )
        for name in ("keep_prob", "drop_path_keep_prob"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise UserError(f"child.{name} must be over 0 and at most 1, got {value}")
        for name in ("l2", "lr_max", "lr_min", "grad_clip", "aux_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"child.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"child.momentum must be at least 0 and below 1, got {self.momentum}")

    @property
    def description(self) -> str:
        """The network's size in words, as far as the configuration says."""
        return f"{self.out_filters} filters"

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        return self._schedule(epoch)

    def ends_high(self, epochs: int) -> bool:
        """Returns whether so many epochs end before the learning rate has come to its lowest."""
        return self.lr_max > self.lr_min and not self._schedule.ends_after(epochs)

    @property
    def _schedule(self) -> CosineRestarts:
        periods = self.lr_period, self.lr_period_factor
        return CosineRestarts(self.lr_max, self.lr_min, *periods)

    def trained(self, child: "keras.Model") -> list:
        """Returns the weights that the optimizer trains and that weight decay applies to."""
        if self.train_aux_head or not self.aux_head:
            return child.trainable_variables
        untrained = {id(variable) for variable in child.get_layer("aux_head").variables}
        return [v for v in child.trainable_variables if id(v) not in untrained]


@dataclass(frozen=True)
class CellChildConfig(ImageChildConfig):
    """The child network of images as a stack of cells, and how its weights are trained."""

    num_layers: int = option(6, "layers, not counting the two that halve height and width")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no network."""
        super().__post_init__()
        if self.num_layers < 3:
            raise UserError(
                f"child.num_layers must be at least 3, one for each width, got {self.num_layers}"
            )

    @property
    def description(self) -> str:
        """The network's size in words."""
        return f"{self.num_layers} layers and 2 reductions, {super().description}"

    @property
    def reductions(self) -> tuple[int, int]:
        """The layers that halve height and width, counted from 0 among `num_layers + 2`.

        The authors' choice: `num_layers // 3` and `2 * (num_layers // 3) + 1`.
        """
        third = self.num_layers // 3
        return third, 2 * third + 1

    @property
    def places(self) -> list[tuple[int, int]]:
        """For each layer how many reductions have begun, and its place since, from 0."""
        starts = (0, *self.reductions, self.num_layers + 2)
        return [
            (stage, layer - start)
            for stage, (start, end) in enumerate(itertools.pairwise(starts))
            for layer in range(start, end)
        ]

    @property
    def aux_layer(self) -> int:
        """The layer whose output the auxiliary classifier reads."""
        return self.reductions[-1] + 1


@dataclass(frozen=True)
class RnnChildConfig:
    """The child network of text, and how its weights are trained.

    The drop rates are probabilities to drop, not to keep. Reference: the parameters of the authors'
    child.py and fixed_lib.py.
    """

    width_option: ClassVar[str] = "hidden_size"
    momentum: ClassVar[float] = 0.0
    # The network computes its own weight decay, which does not cover all weights.
    l2: ClassVar[float] = 0.0

    hidden_size: int = option(200, "width of the embedding, of the state and of every node")
    output: Literal["all", "loose_ends"] = option(
        "all",
        "whose mean the cell gives: all nodes but the first, or the loose ends (the paper)",
        is_size=True,
    )
    drop_word: float = option(0.1, "drop rate of whole words in the input embedding")
    drop_embedding: float = option(0.2, "drop rate of the embedded words' channels")
    drop_input: float = option(0.75, "drop rate of the cell's input, on top of drop_embedding")
    drop_node: float = option(0.25, "drop rate of what each node reads")
    drop_output: float = option(0.75, "drop rate of the states before the softmax")
    drop_weight: float = option(0.0, "drop rate of single recurrent weights")
    init_range: float = option(0.04, "initial weights are uniform between minus and plus this")
    activation_l2: float = option(0.0, "weight of the states' mean square in the loss")
    slowness: float = option(1.0, "weight of the mean square of the states' changes in the loss")
    weight_decay: float = option(8e-7, "weight of the decay of weights in the loss")
    authors_decay: bool = option(
        False, "decay fourth powers, and not node 1, in the search, as the authors' code does"
    )
    learning_rate: float = option(20.0, "of SGD, for sequences of data.sequence_length words")
    grad_clip: float = option(0.1, "largest global norm of the gradient; 0 does not clip")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no network."""
        if self.hidden_size < 1:
            raise UserError(f"child.hidden_size must be at least 1, got {self.hidden_size}")
        for place in ("word", "embedding", "input", "node", "output", "weight"):
            rate = getattr(self, f"drop_{place}")
            if not 0 <= rate < 1:
                raise UserError(f"child.drop_{place} must be at least 0 and below 1, got {rate}")
        names = ("init_range", "activation_l2", "slowness", "weight_decay", "learning_rate")
        for name in (*names, "grad_clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"child.{name} must not be negative, got {getattr(self, name)}")

    @property
    def description(self) -> str:
        """The network's size in words."""
        return f"hidden size {self.hidden_size}"

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate, which is the same in all epochs."""
        return self.learning_rate

    def trained(self, child: "keras.Model") -> list:
        """Returns the weights that the optimizer trains: all trainable ones."""
        return child.trainable_variables
