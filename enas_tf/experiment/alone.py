"""Trainings of several architectures, each alone: in turn, or several at a time."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from enas_tf.core.duration import format_duration
from enas_tf.core.errors import NotFinite
from enas_tf.training.processes import Job, raise_failures, run_jobs
from enas_tf.training.run_folder import Run
from enas_tf.training.run_lock import RunLock


class TrainsAlone(Protocol):
    """What trains one architecture, such as an experiment."""

    def train_alone(self, arc: str, epochs: int, run: Run) -> None:
        """Trains the architecture of a text from scratch, into a folder of its own."""


def train_in_turn(
    experiment: TrainsAlone, runs: Mapping[str, Run], epochs: int, label: str
) -> dict[str, str]:
    """Trains the architectures that are not trained yet, one after the other, in this process.

    Args:
        experiment: trains them.
        runs: their folders, by their texts.
        epochs: number of epochs of each training.
        label: first word of the lines about them.

    Returns:
        The errors of those whose loss was not finite, by their texts.
    """
    errors: dict[str, str] = {}
    seconds: list[float] = []
    for number, (text, run) in enumerate(runs.items()):
        if not run.is_done("train", arc=text):
            left = statistics.fmean(seconds) * (len(runs) - len(seconds)) if seconds else None
            shown = "" if left is None else f", {format_duration(left)} left"
            print(f"{label}: training {number + 1} of {len(runs)}{shown}")
            try:
                experiment.train_alone(text, epochs, run)
            except NotFinite as error:
                errors[text] = _goes_on_without(text, str(error), label)
                continue
        seconds.append(run.read_json("train/result.json")["seconds"])
    return errors


def train_at_once(
    make: Callable[[], TrainsAlone],
    runs: Mapping[str, Run],
    epochs: int,
    label: str,
    at_once: int,
) -> dict[str, str]:
    """Trains as `train_in_turn` does, but several at a time, each in a process of its own.

    Args:
        make: makes, in each process, what trains; can be pickled.
        runs: as for `train_in_turn`, and so are `epochs` and `label`.
        epochs: see there.
        label: see there.
        at_once: number of processes at a time.

    Raises:
        UserError, RuntimeError: a training failed for another reason; the others are done.
    """
    # What follows the run elsewhere stays with this process.
    jobs = {
        text: Job(
            f"training {number}",
            run.folder,
            make,
            partial(_train_one, text, epochs, Run(run.folder)),
        )
        for number, (text, run) in enumerate(runs.items(), 1)
        if not run.is_done("train", arc=text)
    }
    failures = run_jobs([*jobs.values()], at_once, label) if jobs else []
    raise_failures([failure for failure in failures if not failure.not_finite], len(jobs))
    reasons = {failure.job.name: failure.error for failure in failures}
    return {
        text: _goes_on_without(text, reasons[job.name], label)
        for text, job in jobs.items()
        if job.name in reasons
    }


def _train_one(text: str, epochs: int, run: Run, experiment: TrainsAlone) -> None:
    """Trains an architecture, unless a process of an earlier call still does."""
    lock = RunLock(run.folder)
    with lock:
        lock.before_a_write()
        experiment.train_alone(text, epochs, run)


def _goes_on_without(text: str, error: str, label: str) -> str:
    print(f"warning: {error}; {label} goes on without this architecture, {text}")
    return error
