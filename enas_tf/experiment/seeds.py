"""The same work with several seeds: how much of a result is chance?"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.run_folder import Run
from enas_tf.training.workers import is_chief


def repeat(recipe: Recipe, settings: Settings, work: Callable[[Experiment], object]) -> None:
    """Does the same with several seeds, each in a folder of its own, `seed_0` and so on.

    Leaves `seeds.json` beside these folders, with what `summary` returns. What an earlier, killed
    call has done is not done again.

    Args:
        recipe: what goes with what.
        settings: `common.seed` is the first seed, `common.seeds` how many there are.
        work: what to do in each folder; must skip what is done.
    """
    # Opens no folder; all runs of a process must share its strategy.
    whole, common, found = Experiment(recipe, settings), settings.common, {}
    for seed in range(common.seed, common.seed + common.seeds):
        print(f"seeds: seed {seed}, {len(found) + 1} of {common.seeds}")
        workdir = str(whole.workdir / f"seed_{seed}")
        own = replace(common, seed=seed, seeds=1, workdir=workdir)
        experiment = Experiment(recipe, replace(settings, common=own), strategy=whole.strategy)
        work(experiment)
        found[seed] = metrics_of(experiment.run)
    result = summary(found)
    if is_chief(whole.strategy):
        Run(whole.workdir).write_json("seeds.json", result)
    for name, mean in result["mean"].items():
        deviation = result["deviation"][name]
        print(f"seeds: {name} {mean:.4f}, deviation {deviation:.4f} ({common.seeds} seeds)")


def metrics_of(run: Run) -> dict[str, float]:
    """Collects what counts of a run, as far as it has got.

    Returns:
        Of the derived architectures, all rewarded on the same data, the `best_reward` and the
        `mean_reward`; the `gap` to uniform draws, as the mean over the last quarter of the
        search's epochs; and the trained network's `test_` metrics.
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
        metrics |= {f"test_{name}": value for name, value in test.items()}
    return metrics


def summary(found: Mapping[int, Mapping[str, float]]) -> dict:
    """Summarises the metrics of several runs, by their seeds.

    Returns:
        `seeds`, a list of all runs' metrics with their `seed`; and the `mean` and the sample's
        `deviation` of each metric that all of them have.
    """
    runs: Sequence[Mapping] = list(found.values())
    common = [name for name in runs[0] if all(name in run for run in runs)]
    columns = {name: [run[name] for run in runs] for name in common}
    return {
        "seeds": [{"seed": seed, **metrics} for seed, metrics in found.items()],
        "mean": {name: statistics.fmean(values) for name, values in columns.items()},
        "deviation": {name: statistics.stdev(values) for name, values in columns.items()},
    }
