"""The result of a search, which derivation and comparison start from."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from enas_tf.search.algorithm import Algorithm
from enas_tf.search.evaluator import Rewarder


@dataclass(frozen=True)
class Searched:
    """A search at some step.

    Attributes:
        algorithm: as far as it has learnt.
        evaluator: rewards, with the shared weights as far as they are trained.
        draw: from a number of architectures and a block's number, as many architectures of the
            algorithm that the search has not drawn: tokens, `(n, num_tokens)`, int32.
        step: of the search.
        seed: of the search.
    """

    algorithm: Algorithm
    evaluator: Rewarder
    draw: Callable[[int, int], tf.Tensor]
    step: int
    seed: int
