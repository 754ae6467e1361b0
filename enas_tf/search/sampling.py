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
    """Draws `n` architectures in which the outcomes of a choice take turns.

    Each is as likely as any other, but in every `k` draws, from the first one on, a choice of `k`
    outcomes has each of them once, in a random order. FairNAS joins such draws in one step; here
    each has its own.
    """
    drawn = [[] for _ in range(n)]
    for outcomes in space.choices:
        size = len(outcomes)
        order = [place for _ in range(-(-n // size)) for place in rng.sample(range(size), size)]
        for tokens, place in zip(drawn, order, strict=False):
            tokens += outcomes[place]
    with tf.device("CPU:0"):
        return tf.constant(drawn, tf.int32)


SAMPLERS: Mapping[str, Sampler] = {"uniform": draw_uniformly, "fair": draw_fairly}
"""By the names of `search.sampling`."""
