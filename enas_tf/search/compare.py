"""The comparison with chance: whether a controller's architectures are better than uniform draws.

Both sets are rewarded with the same shared weights, on the same validation data. A few of both are
trained from scratch, to see whether these rewards rank them as their own weights do. Reference: Li
and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", 2019; Yu et al.,
"Evaluating the Search Phase of Neural Architecture Search", 2020.
"""

import itertools
import math
import random
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Space, text_of
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.derive import DeriveConfig, TrainEach
from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.monitor import count_ops
from enas_tf.search.sampling import draw_uniformly
from enas_tf.search.searched import Searched
from enas_tf.search.statistics import (
    Rewards,
    difference,
    difference_in_words,
    rank_correlation,
    ranks_in_words,
)
from enas_tf.search.truth import Truth
from enas_tf.search.truth_report import truth_in_words, truth_of_sets, truth_of_trained
from enas_tf.tasks.base import Task
from enas_tf.training.run_folder import Run


@dataclass(frozen=True)
class CompareConfig:
    """The comparison of the controller's architectures with uniform draws."""

    num_samples: int = option(
        100, "architectures to draw from the controller, and as many uniformly"
    )
    num_trained: int = option(8, "architectures to train from scratch, half of them from each set")
    epochs: int = option(5, "epochs of each of these trainings")

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no comparison is possible."""
        if self.num_samples < 2:
            raise UserError(f"compare.num_samples must be at least 2, got {self.num_samples}")
        if not 2 <= self.num_trained <= self.num_samples:
            raise UserError(
                "compare.num_trained must be between 2 and compare.num_samples, "
                f"{self.num_samples}, got {self.num_trained}"
            )
        if self.epochs < 1:
            raise UserError(f"compare.epochs must be at least 1, got {self.epochs}")


def compare(
    searched: Searched,
    config: CompareConfig,
    derive_config: DeriveConfig,
    run: Run,
    train_each: TrainEach,
    truth: Truth | None = None,
) -> dict:
    """Compares a trained controller with chance.

    Repeated draws are rewarded once and count as often as they were drawn. The work of an earlier
    call that was killed is not repeated.

    Args:
        searched: the search at its end.
        config: how many architectures, and how long a training.
        derive_config: says on how much validation data architectures are rewarded.
        run: where the results go, and in `compare/` what they are made of.
        train_each: must hold the validation split out.
        truth: true accuracies of architectures.

    Returns:
        What `compare.json` holds: the algorithm's `kind`; `controller` and `uniform`, as
        `summary` gives them; `difference`, `entropy` (of `entropies`) and `rank_correlation`;
        with true accuracies the `truth`, as `truth_of_sets` gives it, and in it `trained`, by
        `truth_of_trained`;
        `trained`, the architectures trained from scratch, and `failed`, those whose loss was not
        finite; the `config`; and a `verdict` in words.
    """
    algorithm, seed, number = searched.algorithm, searched.seed, config.num_samples
    space = algorithm.space
    drawn, uniform = searched.draw(number, 0), draw_uniformly(space, number, random.Random(seed))
    sets = [_texts(tokens) for tokens in (drawn, uniform)]
    arcs = dict(zip(itertools.chain(*sets), itertools.chain(drawn, uniform), strict=True))
    num_batches = derive_config.num_batches
    kept = KeptRewards(run, "compare/rewards.jsonl", searched.step, num_batches)
    known = searched.evaluator.rewards_on_split(arcs, num_batches, kept, "compare")
    result = {
        "kind": algorithm.config.kind,
        "controller": summary(space, sets[0], known),
        "uniform": summary(space, sets[1], known),
        "difference": difference(*([known[text] for text in texts] for texts in sets), seed),
        "entropy": entropies(algorithm, drawn),
        "config": asdict(config),
    }
    if truth:
        names = dict(zip(("controller", "uniform"), sets, strict=True))
        result["truth"] = truth_of_sets(truth, names, known, seed)
    print(f"compare: {difference_in_words(result)}")
    chosen = choose(*({text: known[text] for text in texts} for texts in sets), config.num_trained)
    _remove_others(run, {"epochs": config.epochs, "arcs": list(chosen)})
    runs = {arc: run.part(f"compare/arc_{n:02d}") for n, arc in enumerate(chosen)}
    errors = train_each(runs, config.epochs, "compare")
    trained, failed = _records(chosen, known, searched.evaluator.task, runs, errors)
    result |= {"trained": trained, "failed": failed, "rank_correlation": rank_correlation(trained)}
    if result.get("truth"):
        result["truth"]["trained"] = truth_of_trained(truth, trained, seed)
    more = " ".join([ranks_in_words(result), *truth_in_words(result.get("truth"))])
    result["verdict"] = f"{difference_in_words(result)} {more}"
    run.write_json("compare.json", result)
    print(f"compare: {more}")
    return result


def summary(space: Space, drawn: Sequence[str], rewards: Rewards) -> dict:
    """Summarises a set of draws.

    Args:
        space: the space of the architectures.
        drawn: the architectures as text; some may be equal.
        rewards: the reward of each architecture.

    Returns:
        The `count` of draws and how many are `distinct`; `mean`, standard `deviation` and `best`
        of their rewards; `ops`, how often each op occurs in them; and `rewards`, a list of
        `{"arc": ..., "reward": ..., "draws": ...}` of the distinct ones, best first.
    """
    values, times = [rewards[text] for text in drawn], Counter(drawn)
    return {
        "count": len(drawn),
        "distinct": len(times),
        "mean": statistics.fmean(values),
        "deviation": statistics.pstdev(values),
        "best": max(values),
        "ops": count_ops(space, map(space.parse, drawn)),
        "rewards": [
            {"arc": text, "reward": rewards[text], "draws": times[text]}
            for text in sorted(times, key=rewards.get, reverse=True)
        ],
    }


def choose(controller: Rewards, uniform: Rewards, number: int) -> dict[str, str]:
    """Chooses architectures to train: half from each set, evenly over each set's rewards.

    Returns:
        The origin of each, `"controller"` or `"uniform"`, by its text. If the controller has
        settled on too few architectures, more uniform draws take their places.
    """
    drawn = _spread(controller, number // 2)
    others = {text: reward for text, reward in uniform.items() if text not in drawn}
    random_ones = _spread(others, number - len(drawn))
    return dict.fromkeys(drawn, "controller") | dict.fromkeys(random_ones, "uniform")


def entropies(algorithm: Algorithm, tokens: tf.Tensor) -> dict[str, float]:
    """Measures how settled an algorithm is, by architectures that it has drawn, `(n, num_tokens)`.

    Returns:
        Two entropies in nats: `controller`, that of the algorithm's distribution of architectures,
        estimated by the mean of `-log p`; and `uniform`, that of the uniform distribution, the
        largest possible.
    """
    with tf.device("CPU:0"):
        entropy = -tf.reduce_mean(algorithm.log_prob(tokens))
    return {"controller": float(entropy), "uniform": math.log(algorithm.space.count())}


def _texts(tokens: tf.Tensor) -> list[str]:
    return [text_of(one) for one in tokens.numpy()]


def _spread(rewards: Rewards, number: int) -> list[str]:
    """Returns at most `number` architectures, spread evenly over the range of rewards."""
    left, chosen = dict(rewards), []
    if not left:
        return chosen
    targets = np.linspace(min(left.values()), max(left.values()), min(number, len(left)))
    for target in targets:
        nearest = min(left, key=lambda text: abs(left[text] - target))
        chosen.append(nearest)
        del left[nearest]
    return chosen


def _records(
    chosen: Mapping[str, str],
    rewards: Rewards,
    task: Task,
    runs: Mapping[str, Run],
    errors: Mapping[str, str],
) -> tuple[list[dict], list[dict]]:
    """Returns the records of the architectures that have been trained, and of those that failed."""
    trained, failed = [], []
    for text, origin in chosen.items():
        record = {"arc": text, "from": origin, "reward": rewards[text]}
        if text in errors:
            failed.append(record | {"error": errors[text]})
            continue
        result = runs[text].read_json("train/result.json")
        record["stand_alone_reward"] = task.reward(result["best_valid"])
        trained.append(
            record | {name: result[name] for name in ("best_valid", "params", "seconds")}
        )
    return trained, failed


def _remove_others(run: Run, plan: dict) -> None:
    """Removes trainings that belong to a comparison other than the planned one."""
    name = "compare/trained.json"
    if run.path(name).exists() and run.read_json(name) != plan:
        print("compare: another choice of architectures or epochs than before; trains them anew")
        for folder in run.path("compare").glob("arc_*"):
            shutil.rmtree(folder)
    run.write_json(name, plan)
