"""Configs of the final training, which trains one architecture.

Reference: Pham et al. 2018, sections 3.1 and 3.2.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import (
    CellChildConfig,
    ImageChildConfig,
    RnnChildConfig,
    StemKind,
)
from enas_tf.tasks.images import ClassWeights

ChildConfig = TypeVar("ChildConfig", ImageChildConfig, RnnChildConfig)


@dataclass(frozen=True)
class TrainConfig:
    """The final training; its network is larger than the search's."""

    num_epochs: int = option(630, "epochs")
    batch_size: int = option(144, "examples in a batch")
    max_steps: int = option(0, "steps in an epoch, at most; 0: once through the training split")
    init: str | None = option(
        None,
        "what the final network's weights start from; unset: random numbers; shared: this run's "
        "search, where sizes agree with it; the folder of a run of the same space: its trained "
        "network, with its architecture and sizes unless flags say otherwise",
    )
    # Not options here: a subclass makes them options if its kind of data uses them.
    use_validation: bool = False
    average_after: int = 0

    def __post_init__(self) -> None:
        """Raises UserError for values with which no training is possible."""
        if self.init == "":
            raise UserError("train.init must be none, shared, or a run's folder, got nothing")
        for name in ("num_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_steps", "average_after"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name} must not be negative, got {getattr(self, name)}")

    def child(self, search_child: ChildConfig) -> ChildConfig:
        """Returns the final network's configuration: the search's, with the values set here.

        Raises:
            UserError: no network can have these values.
        """
        try:
            return self._final(search_child)
        except UserError as error:
            # The search's own values have been checked, so the wrong one belongs to the training.
            raise UserError("train." + str(error).removeprefix("child.")) from error

    def shortened(self, epochs: int) -> "TrainConfig":
        """Returns the config of a short training, to compare architectures by validation data.

        What falls over a whole training, such as a learning rate, does so over these epochs.
        """
        return replace(self, num_epochs=epochs, use_validation=False)

    @abstractmethod
    def _final(self, child: ChildConfig) -> ChildConfig:
        """Returns a child's configuration with the values of this one in place of its own."""


@dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
    """The final training on images."""

    out_filters: int = option(36, "as child.out_filters, of the final network", is_size=True)
    stem: StemKind | None = option(
        None, "of the final network, like child.stem; unset: the same", is_size=True
    )
    keep_prob: float = option(0.8, "as child.keep_prob, of the final network")
    drop_path_keep_prob: float = option(0.6, "as child.drop_path_keep_prob, of the final network")
    aux_head: bool = option(True, "as child.aux_head, of the final network", is_size=True)
    l2: float = option(2e-4, "as child.l2, of the final network")
    lr_max: float = option(0.05, "as child.lr_max, of the final training")
    lr_min: float = option(0.0001, "as child.lr_min, of the final training")
    lr_period: int = option(10, "as child.lr_period, of the final training")
    use_validation: bool = option(
        True, "train on the validation split too; there is then no best epoch, only the last"
    )
    class_weights: ClassWeights = option(
        "none", "balanced: weight each image's loss so that all classes weigh the same"
    )
    label_smoothing: float = option(0.0, "share of each label that is spread over all classes")
    mixup: float = option(
        0.0, "mix each image with another one, by a beta distribution of this parameter; 0: never"
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no training is possible."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"train.label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            )
        if not (math.isfinite(self.mixup) and self.mixup >= 0):
            raise UserError(f"train.mixup must not be negative, got {self.mixup}")

    def shortened(self, epochs: int) -> "ImageTrainConfig":
        """Returns the config of a short training; see `TrainConfig`."""
        return replace(super().shortened(epochs), lr_period=epochs)

    def _final(self, child: ImageChildConfig) -> ImageChildConfig:
        return replace(
            child,
            out_filters=self.out_filters,
            stem=self.stem or child.stem,
            keep_prob=self.keep_prob,
            drop_path_keep_prob=self.drop_path_keep_prob,
            aux_head=self.aux_head,
            l2=self.l2,
            decay_idle=True,
            lr_max=self.lr_max,
            lr_min=self.lr_min,
            lr_period=self.lr_period,
        )


@dataclass(frozen=True)
class CellTrainConfig(ImageTrainConfig):
    """The final training of a stack of cells; its network is larger than the search's."""

    num_layers: int = option(15, "as child.num_layers, of the final network", is_size=True)

    def _final(self, child: CellChildConfig) -> CellChildConfig:
        return replace(super()._final(child), num_layers=self.num_layers)


@dataclass(frozen=True)
class RnnTrainConfig(TrainConfig):
    """The final training on text; with averaged SGD where plain SGD gets no further."""

    num_epochs: int = option(3000, "epochs")
    batch_size: int = option(64, "rows of text in a batch")
    hidden_size: int = option(800, "as child.hidden_size, of the final network", is_size=True)
    drop_word: float = option(0.125, "as child.drop_word, of the final network")
    drop_embedding: float = option(0.175, "as child.drop_embedding, of the final network")
    drop_input: float = option(0.725, "as child.drop_input, of the final network")
    drop_node: float = option(0.225, "as child.drop_node, of the final network")
    drop_output: float = option(0.75, "as child.drop_output, of the final network")
    init_range: float = option(0.05, "as child.init_range, of the final network")
    activation_l2: float = option(0.7, "as child.activation_l2, of the final training")
    slowness: float = option(0.0, "as child.slowness, of the final training")
    learning_rate: float = option(20.0, "as child.learning_rate, of the final training")
    grad_clip: float = option(0.25, "as child.grad_clip, of the final training")
    average_after: int = option(
        10,
        "epochs without a better validation perplexity after which the weights' average over the "
        "steps from then on is what is evaluated; 0: never",
    )

    def _final(self, child: RnnChildConfig) -> RnnChildConfig:
        return replace(
            child,
            hidden_size=self.hidden_size,
            drop_word=self.drop_word,
            drop_embedding=self.drop_embedding,
            drop_input=self.drop_input,
            drop_node=self.drop_node,
            drop_output=self.drop_output,
            init_range=self.init_range,
            activation_l2=self.activation_l2,
            slowness=self.slowness,
            learning_rate=self.learning_rate,
            grad_clip=self.grad_clip,
        )
