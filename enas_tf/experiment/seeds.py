"""Repeats a run with several seeds, to show how much of a result is chance."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.experiment.several import SeveralRuns
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.run_folder import Phase, Run


class Seeds(SeveralRuns):
    """The same work with several seeds, each in its own folder, `seed_0` and so on.

    Writes `seeds.json` beside these folders, with what `summary` returns.

    Args:
        recipe: the recipe to run.
        settings: the settings; `common.seed` is the first seed, `common.seeds` their number.
        work: as for `SeveralRuns`, and so is `last`.
        last: see there.
    """

    label, index_flag = "seeds", "seed_index"

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        work: Callable[[Experiment], object],
        last: Phase,
    ) -> None:
        common, runs = settings.common, {}
        for seed in range(common.seed, common.seed + common.seeds):
            workdir = f"{settings.workdir(recipe.name).rstrip('/')}/seed_{seed}"
            own = replace(common, seed=seed, seeds=1, seed_index="auto", workdir=workdir)
            runs[f"seed {seed}"] = replace(settings, common=own)
        super().__init__(recipe, settings, runs, work, last)

    @property
    def uses_processes(self) -> bool:
        """Whether finalists are trained at once."""
        return self.settings.derive.finalists > 1

    def report(self, done: Mapping[str, Run], folder: Path | None) -> None:
        """Prints what `summary` returns, and writes it to `seeds.json`; see `SeveralRuns`."""
        if len(done) < 2:
            return
        result = summary({self.runs[n].common.seed: metrics_of(run) for n, run in done.items()})
        if folder:
            Run(folder).write_json("seeds.json", result)
        for name, mean in result["mean"].items():
            deviation = result["deviation"][name]
            print(f"seeds: {name} {mean:.4f}, deviation {deviation:.4f} ({len(done)} seeds)")


def metrics_of(run: Run) -> dict[str, float]:
    """Collects the main metrics of a run, as far as it has got.

    Returns:
        The `best_reward` and the `mean_reward` of the derived architectures, all rewarded on the
        same data; the `gap` to uniform draws, averaged over the last quarter of the search's
        epochs; the trained network's metrics on the test split, prefixed with `test_`; and where a
        table was given, `tau`, the derived architecture's `true_accuracy` and `true_rank`, and
        `true_gain`, the points that it has over random search.
    """
    metrics = {}
    if run.path("arcs.json").exists():
        rewards = [one["reward"] for one in run.read_json("arcs.json")]
        metrics |= {"best_reward": max(rewards), "mean_reward": statistics.fmean(rewards)}
    gaps = [r["gap"] for r in read_metrics(run.path("search")) if r.get("gap") is not None]
    if gaps:
        metrics["gap"] = statistics.fmean(gaps[-math.ceil(len(gaps) / 4) :])
    if run.path("train/result.json").exists():
        test = run.read_json("train/result.json")["test"]
        metrics |= {f"test_{name}": value for name, value in test.items() if value is not None}
    if run.path("truth.json").exists():
        metrics |= _metrics_of_truth(run.read_json("truth.json"))
    return metrics


def _metrics_of_truth(truth: Mapping[str, Any]) -> dict[str, float]:
    """Returns what several seeds are summarised by, as far as the table had it."""
    derived, rival, metrics = truth["derived"], truth["random_search"], {}
    if truth["agreement"]:
        metrics["tau"] = truth["agreement"]["tau"]["value"]
    if derived:
        metrics |= {"true_accuracy": derived["accuracy"], "true_rank": derived["rank"]}
    if derived and rival:
        metrics["true_gain"] = derived["accuracy"] - rival["accuracy"]
    return metrics


def summary(found: Mapping[int, Mapping[str, float]]) -> dict:
    """Summarises the metrics of several runs.

    Args:
        found: the metrics of each run, by its seed.

    Returns:
        A dict with `seeds`, a list of the metrics of each run with its `seed`; and `mean` and
        `deviation`, the mean and the sample standard deviation of each metric that all runs have.
    """
    runs: Sequence[Mapping] = list(found.values())
    common = [name for name in runs[0] if all(name in run for run in runs)]
    columns = {name: [run[name] for run in runs] for name in common}
    return {
        "seeds": [{"seed": seed, **metrics} for seed, metrics in found.items()],
        "mean": {name: statistics.fmean(values) for name, values in columns.items()},
        "deviation": {name: statistics.stdev(values) for name, values in columns.items()},
    }
