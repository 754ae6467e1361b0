"""Derivation: chooses the best of the architectures that the controller draws.

Reference: Pham et al. 2018, section 2.2.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.duration import format_duration
from enas_tf.core.errors import NotFinite, UserError
from enas_tf.core.space import Arc, text_of
from enas_tf.search.cost_rewards import LATENCY, CostOf, front, in_words
from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.searched import Searched
from enas_tf.training.run_folder import Run

TrainEach = Callable[[Mapping[str, Run], int, str], Mapping[str, str]]
"""A function that trains architectures, each from scratch into a folder of its own.

It takes their folders by their texts, a number of epochs, and the first word of the lines that it
prints; writes `train/result.json` where it is missing; and returns the errors of those whose loss
was not finite, by their texts.
"""

# Of so many draws each, until there are enough.
_BLOCKS = 10

OUTPUTS = _ARCS, _BEST = "arcs.json", "arc.txt"
"""The files that a derivation writes: all architectures that it has ranked, and the best."""


@dataclass(frozen=True)
class DeriveConfig:
    """The choice of an architecture after the search."""

    num_samples: int = option(100, "distinct architectures to draw from the controller")
    num_batches: int = option(0, "validation batches to rank them on; 0: the whole split")
    max_params: int = option(0, "rank only what has at most so many parameters; 0: any number")
    max_madds: int = option(0, "rank only what has at most so many multiply-adds; 0: any number")
    max_latency_ms: float = option(
        0.0,
        "rank only what takes at most so many milliseconds for search.latency_batch images on this "
        "device, by a table that is measured once; 0: any time",
    )
    finalists: int = option(
        1, "train so many of the best alone for a few epochs, and take the best of these"
    )
    finalist_epochs: int = option(3, "epochs of each of these trainings")

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no choice is possible."""
        if self.num_samples < 1:
            raise UserError(f"derive.num_samples must be at least 1, got {self.num_samples}")
        for name in ("num_batches", "max_params", "max_madds", "max_latency_ms"):
            if not getattr(self, name) >= 0:
                raise UserError(f"derive.{name} must not be negative, got {getattr(self, name)}")
        if not 1 <= self.finalists <= self.num_samples:
            raise UserError(
                "derive.finalists must be between 1 and derive.num_samples, "
                f"{self.num_samples}, got {self.finalists}"
            )
        if self.finalist_epochs < 1:
            raise UserError(
                f"derive.finalist_epochs must be at least 1, got {self.finalist_epochs}"
            )

    @property
    def limits(self) -> dict[str, float]:
        """The limits of what is ranked, by the names of the costs."""
        limits = {"params": self.max_params, "madds": self.max_madds, LATENCY: self.max_latency_ms}
        return {name: limit for name, limit in limits.items() if limit}


def derive(
    searched: Searched, config: DeriveConfig, run: Run, cost_of: CostOf, train_each: TrainEach
) -> Arc:
    """Draws architectures from a trained controller and ranks them on the same validation data.

    Writes all of them to `arcs.json`, best first, and the best one to `arc.txt`. Architectures that
    an earlier call, which was killed, has rewarded or trained are not rewarded or trained again.

    Args:
        searched: the search at its end.
        config: number of architectures and of validation batches; limits; finalists.
        run: the run that results are written to.
        cost_of: the costs of an architecture's final network.
        train_each: trains the finalists; must hold the validation split out.

    Returns:
        The best architecture.

    Raises:
        UserError: no architecture that was drawn is within the limits.
    """
    space, arcs = searched.algorithm.space, draw_within(searched, config, cost_of)
    kept = KeptRewards(run, "search/derived.jsonl", searched.step, config.num_batches)
    rewards = searched.evaluator.rewards_on_split(arcs, config.num_batches, kept, "derive")
    ranking = sorted(arcs, key=lambda text: -rewards[text])
    costs = {text: dict(cost_of(space.parse(text).tokens)) for text in ranking}
    records = [{"arc": text, "reward": rewards[text], **costs[text]} for text in ranking]
    axis = LATENCY if LATENCY in costs[ranking[0]] else "params"
    best_at_their_cost = front(rewards, {text: costs[text][axis] for text in ranking})
    for record in records:
        record["front"] = record["arc"] in best_at_their_cost
    mean = sum(rewards[text] for text in arcs) / len(arcs)
    print(
        f"derive: {len(arcs)} architectures, mean reward {mean:.4f}, best "
        f"{rewards[ranking[0]]:.4f}. {searched.evaluator.note}"
    )
    if config.finalists > 1:
        records = train_finalists(searched, config, run, records, train_each)
    run.write_json(_ARCS, records)
    best = space.parse(records[0]["arc"])
    run.write_text(_BEST, best.portable + "\n")
    return best


def train_finalists(
    searched: Searched,
    config: DeriveConfig,
    run: Run,
    records: list[dict],
    train_each: TrainEach,
) -> list[dict]:
    """Trains the best architectures alone for a few epochs; returns all, the best of these first.

    Each of them gets `stand_alone_reward`, on validation data; those whose loss is not finite get
    none, and stay with the others.

    Raises:
        NotFinite: this is so of all of them.
    """
    finalists, runs = records[: config.finalists], {}
    for text in (record["arc"] for record in finalists):
        name = hashlib.sha256(f"{text} {config.finalist_epochs}".encode()).hexdigest()
        runs[text] = run.part(f"derive/{searched.step}/{name[:12]}")
    errors = train_each(runs, config.finalist_epochs, "derive")
    trained = [record for record in finalists if record["arc"] not in errors]
    if not trained:
        raise NotFinite(f"no finalist could be trained: {next(iter(errors.values()))}")
    seconds = 0.0
    for record in trained:
        result = runs[record["arc"]].read_json("train/result.json")
        record["stand_alone_reward"] = searched.evaluator.task.reward(result["best_valid"])
        seconds += result["seconds"]
    ranked = sorted(trained, key=lambda record: -record["stand_alone_reward"])
    best, gained = ranked[0], ""
    if finalists[0] in trained:
        more = best["stand_alone_reward"] - finalists[0]["stand_alone_reward"]
        gained = f", {more:+.4f} over number 1"
    print(
        f"derive: trained alone for {config.finalist_epochs} epochs, "
        f"{format_duration(seconds)} in all, number {records.index(best) + 1} by shared weights "
        f"is the best: {best['stand_alone_reward']:.4f}{gained}"
    )
    return ranked + [record for record in records if record not in ranked]


def draw_within(searched: Searched, config: DeriveConfig, cost_of: CostOf) -> dict[str, tf.Tensor]:
    """Draws distinct architectures from the controller that cost no more than the limits.

    Returns:
        Their tokens by their text. There are fewer than `config.num_samples`, with a warning, if
        the controller has settled on few or if few are within the limits.

    Raises:
        UserError: none of those that were drawn is within the limits.
    """
    found: dict[str, tf.Tensor] = {}
    costs: list[Mapping[str, float]] = []
    limits, seen = config.limits, set()
    for block in range(_BLOCKS):
        for tokens in searched.draw(config.num_samples, block):
            text = text_of(tokens.numpy())
            if text in seen or len(found) == config.num_samples:
                continue
            seen.add(text)
            if limits:
                costs.append(cost_of(tuple(tokens.numpy().tolist())))
                if any(costs[-1][name] > limit for name, limit in limits.items()):
                    continue
            found[text] = tokens
        if len(found) == config.num_samples:
            break
    if limits:
        _tell_limits(limits, costs, len(found))
    if len(found) < config.num_samples:
        why = "the controller has settled on them"
        if limits:
            why = "few fit"
        elif len(found) == searched.algorithm.space.count():
            why = "the space has no more"
        print(
            f"warning: {_BLOCKS * config.num_samples} draws gave only {len(found)} distinct "
            f"architectures; {why}"
        )
    return found


def _tell_limits(limits: Mapping[str, float], costs: list[Mapping[str, float]], fit: int) -> None:
    wanted = " and ".join(in_words(name, limit) for name, limit in limits.items())
    if not fit:
        least = {name: min(one[name] for one in costs) for name in limits}
        smallest = " and ".join(in_words(name, cost) for name, cost in least.items())
        flags = " or ".join(f"--derive.max_{name}" for name in limits)
        raise UserError(
            f"none of {len(costs)} architectures that the controller draws has at most {wanted}; "
            f"the smallest have {smallest}: raise {flags}, make the final network smaller by "
            "--train.out_filters, or search with --search.cost"
        )
    print(f"derive: {fit} of {len(costs)} distinct architectures have at most {wanted}")
