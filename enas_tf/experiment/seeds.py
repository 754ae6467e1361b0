"""Repeats a run with several seeds, to show how much of a result is chance."""

import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from enas_tf.core.errors import UserError
from enas_tf.core.stores import is_remote
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import CommonConfig, Settings
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.processes import Job, raise_failures, run_jobs
from enas_tf.training.run_folder import Phase, Run
from enas_tf.training.workers import is_chief

# What gives a task of a job its number: a Slurm array, an indexed Kubernetes job.
_TASK_NUMBERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")

Work = Callable[[Experiment], object]


def repeat(recipe: Recipe, settings: Settings, work: Work, last: Phase) -> None:
    """Repeats the same work with several seeds, each in its own folder, `seed_0` and so on.

    Writes `seeds.json` beside these folders, with what `summary` returns. If an earlier call was
    killed, its finished work is not repeated. `common.parallel` says how many processes do it; a
    task of a job array does the work of its own seed, and the last one to finish writes
    `seeds.json`.

    Args:
        recipe: the recipe to run.
        settings: the settings; `common.seed` is the first seed, `common.seeds` their number.
        work: the work to do in each folder; it must skip what is done, and it can be pickled.
        last: the last phase of this work.

    Raises:
        UserError: the number of the task is not that of a seed, the work ended in a mistake, or
            several processes would meet in a store.
        RuntimeError: the process of a seed has crashed; the others have done their work.
    """
    index, workdir = task_number(settings.common), settings.workdir(recipe.name)
    if is_remote(workdir) and (index is not None or settings.common.parallel > 1):
        raise UserError(
            f"processes of several seeds meet in a local folder, not in {workdir}: give a local "
            f"--workdir, or start each as a run of its own, by --seed=N --workdir={workdir}/seed_N"
        )
    if index is not None:
        _run_one(recipe, settings, work, last, index)
    elif settings.common.parallel > 1:
        _run_at_once(recipe, settings, work)
    else:
        _run_in_turn(recipe, settings, work)


def task_number(common: CommonConfig) -> int | None:
    """Returns which of the seeds is this process' own, counted from 0; None if all are.

    Raises:
        UserError: the number that the job gives is not below the number of seeds.
    """
    if common.seed_index != "auto":
        return None if common.seed_index is None else int(common.seed_index)
    # The tasks of a job of several workers work on one seed together.
    names = _TASK_NUMBERS if common.strategy != "multiworker" else ()
    for name in (name for name in names if os.environ.get(name)):
        text = os.environ[name]
        if not text.isdecimal() or int(text) >= common.seeds:
            raise UserError(
                f"{name} is {text}, and --seeds={common.seeds} are numbered from 0: number the "
                f"tasks so (--array=0-{common.seeds - 1}), or run all seeds by --seed_index=none"
            )
        return int(text)
    return None


def settings_of_seeds(recipe: Recipe, settings: Settings) -> dict[int, Settings]:
    """Returns the settings of each seed's own run, in its own folder, by the seed."""
    common, found = settings.common, {}
    for seed in range(common.seed, common.seed + common.seeds):
        workdir = f"{settings.workdir(recipe.name).rstrip('/')}/seed_{seed}"
        own = replace(common, seed=seed, seeds=1, seed_index="auto", workdir=workdir)
        found[seed] = replace(settings, common=own)
    return found


def _run_in_turn(recipe: Recipe, settings: Settings, work: Work) -> None:
    # Opens no folder; it only makes the strategy, which all runs of a process must share.
    whole, found = Experiment(recipe, settings), {}
    for seed, own in settings_of_seeds(recipe, settings).items():
        print(f"seeds: seed {seed}, {len(found) + 1} of {settings.common.seeds}")
        experiment = Experiment(recipe, own, strategy=whole.strategy)
        work(experiment)
        found[seed] = metrics_of(experiment.run)
    if is_chief(whole.strategy):
        _report(found, whole.workdir)
        whole.place.publish()
    else:
        _report(found, None)


def _run_at_once(recipe: Recipe, settings: Settings, work: Work) -> None:
    # Makes no experiment, which would start the GPUs.
    jobs = {}
    for seed, own in settings_of_seeds(recipe, settings).items():
        make = partial(Experiment, recipe, own.changed({"parallel": 1}))
        folder = Path(own.workdir(recipe.name))
        jobs[seed] = Job(f"seed {seed}", folder, make, work, new_log=own.common.overwrite)
    failures = run_jobs([*jobs.values()], settings.common.parallel, "seeds")
    failed = [failure.job for failure in failures]
    found = {seed: metrics_of(Run(job.folder)) for seed, job in jobs.items() if job not in failed}
    if len(found) > 1:
        _report(found, Path(settings.workdir(recipe.name)))
    raise_failures(failures, len(jobs))


def _run_one(recipe: Recipe, settings: Settings, work: Work, last: Phase, index: int) -> None:
    common, all_settings = settings.common, settings_of_seeds(recipe, settings)
    if common.parallel > 1 and settings.derive.finalists == 1:
        raise UserError(
            f"--parallel={common.parallel} has nothing to run at once here: this task runs seed "
            f"number {index} only; leave it out, or have it run all by --seed_index=none"
        )
    seed = common.seed + index
    print(
        f"seeds: seed {seed} only, number {index} of 0 to {common.seeds - 1}; --seed_index=none "
        "runs all of them here"
    )
    experiment = Experiment(recipe, all_settings[seed])
    work(experiment)
    if not is_chief(experiment.strategy):
        return
    runs = {seed: Run(own.workdir(recipe.name)) for seed, own in all_settings.items()}
    done = {seed: metrics_of(run) for seed, run in runs.items() if run.is_done(last)}
    if len(done) == common.seeds:
        _report(done, Path(settings.workdir(recipe.name)))
    else:
        print(f"seeds: {len(done)} of {common.seeds} done; the last one shows the means of all")


def _report(found: Mapping[int, Mapping[str, float]], folder: Path | None) -> None:
    """Prints what `summary` returns, and writes it to `seeds.json` in a folder, if there is one."""
    result = summary(found)
    if folder:
        Run(folder).write_json("seeds.json", result)
    for name, mean in result["mean"].items():
        deviation = result["deviation"][name]
        print(f"seeds: {name} {mean:.4f}, deviation {deviation:.4f} ({len(found)} seeds)")


def metrics_of(run: Run) -> dict[str, float]:
    """Collects the main metrics of a run, as far as it has got.

    Returns:
        The `best_reward` and the `mean_reward` of the derived architectures, all rewarded on the
        same data; the `gap` to uniform draws, averaged over the last quarter of the search's
        epochs; and the trained network's metrics on the test split, prefixed with `test_`.
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
