"""The result of a search, which derivation and comparison start from."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.evaluator import Evaluator


@dataclass(frozen=True)
class Searched:
    """A search at some step.

    Attributes:
        algorithm: the algorithm, with what it has learnt so far.
        evaluator: computes rewards with the shared weights as they are at this step.
        draw: a function of a number of architectures, `n`, and the number of a block. Draws the
            block from the algorithm, with random numbers that the search has not used; returns
            tokens, `(n, num_tokens)`, int32.
        step: step of the search.
        seed: seed of the search.
    """

    algorithm: Algorithm
    evaluator: Evaluator
    draw: Callable[[int, int], tf.Tensor]
    step: int
    seed: int


def draw_uniformly(space: Space, n: int, rng: random.Random) -> tf.Tensor:
    """Draws `n` architectures of a space, all equally likely: tokens, `(n, num_tokens)`, int32."""
    with tf.device("CPU:0"):
        return tf.constant([space.random(rng).tokens for _ in range(n)], tf.int32)
