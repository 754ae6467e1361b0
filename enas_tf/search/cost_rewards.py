"""Costs in the reward: architectures that cost more than a target are rewarded less.

References: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", 2019, for
the soft form; Bender et al., "Can Weight Sharing Outperform Random Architecture Search? An
Investigation With TuNAS", 2020, for the absolute one.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.search.evaluator import KeptRewards, Rewarder

CostKind = Literal["none", "params", "madds", "latency"]

LATENCY = "latency_ms"

NAMES = {"params": "parameters", "madds": "multiply-adds", LATENCY: "ms of latency"}
"""The costs of a network, and what they count, in words."""

CostOf = Callable[[tuple[int, ...]], Mapping[str, float]]
"""From an architecture's tokens to the costs of its final network, by the names in `NAMES`.

Latencies are among them only where the settings ask for them.
"""


def in_words(name: str, cost: float) -> str:
    """Returns a cost with what it counts, such as `1,000 parameters`."""
    digits = 2 if name == LATENCY else 0
    return f"{cost:,.{digits}f} {NAMES[name]}"


@dataclass(frozen=True)
class CostReward:
    """How a cost changes rewards.

    Attributes:
        kind: of the cost.
        target: above it, the soft form lowers a reward; the absolute one does on both sides.
        weight: the exponent of the soft form, the factor of the absolute one; negative.
        form: of the change.
    """

    kind: CostKind
    target: float
    weight: float
    form: Literal["soft", "absolute"]

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no reward can be computed."""
        if self.kind != "none" and not (math.isfinite(self.target) and self.target > 0):
            raise UserError(
                f"search.cost={self.kind} needs search.cost_target, over 0, got {self.target:g}"
            )
        if not (math.isfinite(self.weight) and self.weight < 0):
            raise UserError(f"search.cost_weight must be below 0, got {self.weight:g}")

    @property
    def name(self) -> str:
        """The cost's name in `NAMES`."""
        return LATENCY if self.kind == "latency" else self.kind

    @property
    def note(self) -> str:
        """What it does, as a sentence."""
        target = in_words(self.name, self.target)
        if self.form == "absolute":
            return f"They are lower the further an architecture is from {target} (--search.cost)."
        return f"They are lower where there are more than {target} (--search.cost)."

    def __call__(self, reward: float, cost: float) -> float:
        """Returns the reward of an architecture that has a cost."""
        ratio = cost / self.target
        if self.form == "absolute":
            return reward + self.weight * abs(ratio - 1)
        return reward * ratio**self.weight if ratio > 1 else reward


class CostEvaluator:
    """Rewards by another evaluator, less what architectures cost.

    Args:
        evaluator: computes rewards without regard to costs.
        reward: says what costs change.
        cost_of: of an architecture.
    """

    def __init__(self, evaluator: Rewarder, reward: CostReward, cost_of: CostOf) -> None:
        self._evaluator = evaluator
        self._reward = reward
        self._cost_of = cost_of
        self.note = f"{evaluator.note} {reward.note}"

    @property
    def task(self):
        """The other evaluator's."""
        return self._evaluator.task

    def shuffled_batches(self, seed: int, first: int, count: int) -> Iterator:
        """Makes the data of the other evaluator's rewards."""
        return self._evaluator.shuffled_batches(seed, first, count)

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """Rewards each architecture, `(n, num_tokens)`, on its own part of the data."""
        rewards = self._evaluator.rewards(tokens, batches)
        arcs = map(tuple, tokens.numpy().tolist())
        return [self._changed(reward, arc) for reward, arc in zip(rewards, arcs, strict=True)]

    def rewards_on_split(
        self, arcs: Mapping[str, tf.Tensor], num_batches: int, kept: KeptRewards, label: str
    ) -> dict[str, float]:
        """Rewards architectures on the same data; what is kept are rewards before costs."""
        rewards = self._evaluator.rewards_on_split(arcs, num_batches, kept, label)
        return {
            text: self._changed(reward, tuple(arcs[text].numpy().tolist()))
            for text, reward in rewards.items()
        }

    def _changed(self, reward: float, tokens: tuple[int, ...]) -> float:
        return self._reward(reward, self._cost_of(tokens)[self._reward.name])


def front(rewards: Mapping[str, float], costs: Mapping[str, float]) -> set[str]:
    """Returns those that no other one beats, by at least as much reward at no more cost."""
    best, found = -math.inf, set()
    for name in sorted(rewards, key=lambda name: (costs[name], -rewards[name])):
        if rewards[name] > best:
            best = rewards[name]
            found.add(name)
    return found
