"""Derivation: chooses the best of the architectures that the controller draws.

Reference: Pham et al. 2018, section 2.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc
from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.searched import Searched
from enas_tf.training.run_folder import Run

_ARCS, _BEST = "arcs.json", "arc.txt"


@dataclass(frozen=True)
class DeriveConfig:
    """The choice of an architecture after the search."""

    num_samples: int = option(100, "distinct architectures to draw from the controller")
    num_batches: int = option(0, "validation batches to rank them on; 0: the whole split")

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no choice is possible."""
        if self.num_samples < 1:
            raise UserError(f"derive.num_samples must be at least 1, got {self.num_samples}")
        if self.num_batches < 0:
            raise UserError(f"derive.num_batches must not be negative, got {self.num_batches}")


def derive(
    searched: Searched, config: DeriveConfig, run: Run, count_params: Callable[[Arc], int]
) -> Arc:
    """Draws architectures from a trained controller and ranks them on the same validation data.

    Writes all of them to `arcs.json`, best first, and the best one to `arc.txt`. Architectures that
    an earlier call, which was killed, has rewarded are not rewarded again.

    Args:
        searched: the search at its end.
        config: number of architectures and of validation batches.
        run: the run that results are written to.
        count_params: returns the number of weights of an architecture's final network.

    Returns:
        The best architecture.
    """
    space, arcs = searched.algorithm.space, draw_distinct(searched, config.num_samples)
    kept = KeptRewards(run, "search/derived.jsonl", searched.step)
    rewards = searched.evaluator.rewards_on_split(arcs, config.num_batches, kept, "derive")
    ranking = sorted(arcs, key=lambda text: -rewards[text])
    records = [
        {"arc": text, "reward": rewards[text], "params": count_params(space.parse(text))}
        for text in ranking
    ]
    run.write_json(_ARCS, records)
    run.write_text(_BEST, space.parse(ranking[0]).portable + "\n")
    run.mark_done("derive", outputs=[_ARCS, _BEST], step=searched.step)
    best, mean = rewards[ranking[0]], sum(rewards[text] for text in arcs) / len(arcs)
    print(
        f"derive: {len(arcs)} architectures, mean reward {mean:.4f}, best {best:.4f}. "
        f"{searched.evaluator.note}"
    )
    return space.parse(ranking[0])


def draw_distinct(searched: Searched, wanted: int) -> dict[str, tf.Tensor]:
    """Draws distinct architectures from the controller; returns their tokens by their text.

    There are fewer than `wanted`, with a warning, if the controller has settled on few.
    """
    found: dict[str, tf.Tensor] = {}
    for block in range(10):
        for tokens in searched.draw(wanted, block):
            if len(found) < wanted:
                found.setdefault(" ".join(map(str, tokens.numpy())), tokens)
        if len(found) == wanted:
            return found
    print(
        f"warning: {10 * wanted} draws gave only {len(found)} distinct architectures; the "
        "controller has settled on them"
    )
    return found
