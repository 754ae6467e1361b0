"""What a search asks of the algorithm that proposes architectures and learns from their rewards."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.controller import Controller, ControllerConfig, Draws


class Algorithm(ABC):
    """Proposes architectures, and takes in how good they were.

    It knows nothing of epochs, files or networks, and lives on the host, in no strategy:
    `tf.switch_case` asks there for the tokens that it draws. Reference for the interface: pyglove's
    `DNAGenerator`, which decouples the algorithms from what evaluates their proposals.

    Args:
        space: of the architectures.
        config: of the algorithm.

    Attributes:
        learns: whether rewards change what is proposed; a search warns of one that should learn
            and does not move.
    """

    learns: ClassVar[bool]

    def __init__(self, space: Space, config: ControllerConfig) -> None:
        self.space = space
        self.config = config

    @classmethod
    @abstractmethod
    def make(
        cls, controller: type[Controller], space: Space, config: ControllerConfig
    ) -> "Algorithm":
        """Makes one of a recipe's parts.

        Args:
            controller: the recipe's class, called with space and configuration.
            space: of the architectures.
            config: of controller and algorithm.
        """

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name."""

    @abstractmethod
    def propose(self, n: int, seed: Sequence[int]) -> Draws:
        """Draws `n` architectures; the same seed, two integers, draws the same ones."""

    @abstractmethod
    def feedback(self, tokens: tf.Tensor, rewards: Sequence[float]) -> dict[str, tf.Tensor]:
        """Takes in the rewards of architectures.

        Args:
            tokens: `(n, num_tokens)`, int32, proposed since the last call.
            rewards: `(n,)`, in the order in which a baseline takes them in.

        Returns:
            Metrics, scalars by name: `reward`, `baseline`, `advantage`, `entropy`, `log_prob`,
            `loss`, `grad_norm`, and more that an algorithm or its controller adds.
        """

    @abstractmethod
    def log_prob(self, tokens: tf.Tensor) -> tf.Tensor:
        """Computes the log-probabilities, `(n,)`, float32, of architectures, `(n, num_tokens)`."""
