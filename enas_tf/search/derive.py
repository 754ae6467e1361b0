"""Derivation: which of the architectures that the controller draws is the best?

Reference: Pham et al. 2018, section 2.2.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.search.search import Search
from enas_tf.tasks.base import REWARD_NOTE
from enas_tf.training.distribution import distribute
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.progress import Progress
from enas_tf.training.run_folder import Run, json_line

_REWARDS = "search/derived.jsonl"


@dataclass(frozen=True)
class DeriveConfig:
    """The choice of an architecture after the search."""

    num_samples: int = option(100, "distinct architectures to draw from the controller")
    num_batches: int = option(0, "validation batches to rank them on; 0: the whole split")

    def __post_init__(self) -> None:
        """Raises UserError for numbers that choose nothing."""
        if self.num_samples < 1:
            raise UserError(f"derive.num_samples must be at least 1, got {self.num_samples}")
        if self.num_batches < 0:
            raise UserError(f"derive.num_batches must not be negative, got {self.num_batches}")


def derive(
    search: Search,
    space: Space,
    config: DeriveConfig,
    run: Run,
    count_params: Callable[[Arc], int],
) -> Arc:
    """Draws architectures from a trained controller and ranks them on the same validation data.

    Leaves all of them in `arcs.json`, best first, and the best one in `arc.txt`. What an earlier,
    killed call has ranked is not ranked again.

    Args:
        search: restored to the end of the search.
        space: of the architectures.
        config: how many, on how much.
        run: where the results go.
        count_params: the parameters of an architecture's final network.

    Returns:
        The best one.
    """
    arcs = draw_distinct(search, config.num_samples)
    rewards = rewards_of(search, arcs, config, run, _REWARDS, "derive")
    ranking = sorted(arcs, key=lambda text: -rewards[text])
    records = [
        {"arc": text, "reward": rewards[text], "params": count_params(space.parse(text))}
        for text in ranking
    ]
    run.write_json("arcs.json", records)
    run.write_text("arc.txt", ranking[0] + "\n")
    best, mean = rewards[ranking[0]], sum(rewards[text] for text in arcs) / len(arcs)
    print(
        f"derive: {len(arcs)} architectures, mean reward {mean:.4f}, best {best:.4f}. {REWARD_NOTE}"
    )
    return space.parse(ranking[0])


def is_derived(run: Run) -> bool:
    """Whether `arcs.json` and `arc.txt` are of the weights that the search has by now."""
    records = read_metrics(run.path("search"))
    if not (records and run.path("arc.txt").exists()):
        return False
    rewards = _known_rewards(run, _REWARDS, records[-1]["step"])
    return all(rewards.get(one["arc"]) == one["reward"] for one in run.read_json("arcs.json"))


def rewards_of(
    search: Search,
    arcs: Mapping[str, tf.Tensor],
    config: DeriveConfig,
    run: Run,
    name: str,
    label: str,
) -> dict[str, float]:
    """The rewards of architectures with the shared weights, on the same validation data for all.

    Args:
        search: whose shared weights are used.
        arcs: tokens, `(num_tokens,)`, int32, by the architecture's text.
        config: on how many validation batches.
        run: keeps each reward, so that a call that follows a killed one goes on behind it.
        name: of the file of JSON lines in the run's folder that keeps them.
        label: the progress line's first word.

    Returns:
        The reward of each, by its text; and others that the file holds.
    """
    rewards = _known_rewards(run, name, search.steps_done)
    with Progress(len(arcs), "architectures", label) as progress:
        for step, (text, tokens) in enumerate(arcs.items(), 1):
            if text not in rewards:
                rewards[text] = _reward(search, tokens, config)
                record = {"step": search.steps_done, "arc": text, "reward": rewards[text]}
                run.append_line(name, json_line(record))
            progress.update(step, epoch=0, amount=1, reward=rewards[text])
    return rewards


def draw_distinct(search: Search, wanted: int) -> dict[str, tf.Tensor]:
    """Distinct architectures that the controller draws: their tokens by their text.

    They are fewer than wanted where the controller has settled on few.
    """
    found: dict[str, tf.Tensor] = {}
    for block in range(10):
        for tokens in search.sample_to_derive(wanted, block):
            if len(found) < wanted:
                found.setdefault(" ".join(map(str, tokens.numpy())), tokens)
        if len(found) == wanted:
            return found
    print(
        f"warning: {10 * wanted} draws gave only {len(found)} distinct architectures; the "
        "controller has settled on them"
    )
    return found


def _known_rewards(run: Run, name: str, step: int) -> dict[str, float]:
    """Rewards that an earlier call has left, with the weights of a step of the search.

    A half line, of a killed process, is dropped.
    """
    path = run.path(name)
    if not path.exists():
        return {}
    whole = path.read_text().rpartition("\n")[0]
    run.write_text(name, whole + "\n" if whole else "")
    records = [json.loads(line) for line in whole.splitlines()]
    return {r["arc"]: r["reward"] for r in records if r["step"] == step}


def _reward(search: Search, tokens: tf.Tensor, config: DeriveConfig) -> float:
    """One architecture's reward on the validation data that all are ranked on."""
    size = search.config.batch_size
    batches = distribute(
        search.learner.strategy,
        lambda shard: search.task.eval_batches("valid", size, shard).take(config.num_batches or -1),
    )
    return search.task.reward(search.learner.evaluate(batches, tokens))
