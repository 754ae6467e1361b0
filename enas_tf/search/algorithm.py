"""The interface of the algorithms that propose architectures and learn from their rewards."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.controller import Controller, ControllerConfig, Draws


class Algorithm(ABC):
    """Proposes architectures and receives their rewards.

    An algorithm knows nothing of epochs, files or networks. It lives on the host and outside of any
    strategy, since the host is where `tf.switch_case` reads the tokens that it draws. Reference for
    the interface: pyglove's `DNAGenerator`, which decouples algorithms from the evaluation of their
    proposals.

    Args:
        space: the space of the architectures.
        config: settings of the algorithm.

    Attributes:
        learns: whether rewards change what is proposed; a search warns if an algorithm that should
            learn does not change.
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
        """Makes an algorithm from the parts of a recipe.

        Args:
            controller: the recipe's controller class, called with space and configuration.
            space: the space of the architectures.
            config: settings of controller and algorithm.
        """

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""

    @abstractmethod
    def propose(self, n: int, seed: Sequence[int]) -> Draws:
        """Draws `n` architectures; the same seed, two integers, draws the same ones."""

    @abstractmethod
    def feedback(self, tokens: tf.Tensor, rewards: Sequence[float]) -> dict[str, tf.Tensor]:
        """Learns from the rewards of architectures.

        Args:
            tokens: tokens proposed since the last call, `(n, num_tokens)`, int32.
            rewards: rewards, `(n,)`, in the order in which they enter a baseline.

        Returns:
            Metrics, scalars by name: `reward`, `baseline`, `advantage`, `entropy`, `log_prob`,
            `loss`, `grad_norm`, and others that an algorithm or its controller adds.
        """

    @abstractmethod
    def log_prob(self, tokens: tf.Tensor) -> tf.Tensor:
        """Computes the log-probabilities, `(n,)`, float32, of architectures, `(n, num_tokens)`."""
