"""Draws of architectures that do not depend on a controller.

Reference: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
2020; Chu et al., "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture
Search", 2021, section 3.
"""

import random
from collections.abc import Callable, Mapping

import tensorflow as tf

from enas_tf.core.space import Space

Sampler = Callable[[Space, int, random.Random], tf.Tensor]
"""Draws so many architectures of a space: tokens, `(n, num_tokens)`, int32."""


def draw_uniformly(space: Space, n: int, rng: random.Random) -> tf.Tensor:
    """Draws `n` architectures, all equally likely."""
    with tf.device("CPU:0"):
        return tf.constant([space.random(rng).tokens for _ in range(n)], tf.int32)


def draw_fairly(space: Space, n: int, rng: random.Random) -> tf.Tensor:
    """Draws `n` architectures in which the values of a token take turns.

    Each is as likely as any other, but in every `k` draws, from the first one on, a token of `k`
    values has each of them once, in a random order. FairNAS joins such draws in one step; here
    each has its own.
    """
    columns = []
    for size in space.sizes:
        rounds = -(-n // size)
        columns.append([value for _ in range(rounds) for value in rng.sample(range(size), size)])
    with tf.device("CPU:0"):
        return tf.transpose(tf.constant([column[:n] for column in columns], tf.int32))


SAMPLERS: Mapping[str, Sampler] = {"uniform": draw_uniformly, "fair": draw_fairly}
"""By the names of `search.sampling`."""
