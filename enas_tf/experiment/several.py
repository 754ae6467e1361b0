"""Several runs by one command: in turn, several at a time, or one for each task of a job array."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from enas_tf.core.errors import NotFinite, UserError
from enas_tf.core.stores import is_remote
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.training.own_process import NOT_FINITE
from enas_tf.training.processes import Failure, Job, raise_failures, run_jobs
from enas_tf.training.run_folder import Phase, Run
from enas_tf.training.workers import is_chief

# What gives a task of a job its number: a Slurm array, an indexed Kubernetes job.
_TASK_NUMBERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


class SeveralRuns(ABC):
    """Runs of a recipe on the same data, each in a folder of its own.

    A subclass says what becomes of them all.

    Args:
        recipe: the recipe to run.
        settings: the settings that all have; `common.parallel` says how many run at a time.
        runs: the settings of each run, with its own `workdir`, by its name.
        work: the work to do in each folder; it must skip what is done, and it can be pickled.
        last: the last phase of this work.

    Attributes:
        label: the flag that asks for them, which is also the first word of lines about them.
        index_flag: the flag that chooses one of them.
        uses_processes: whether each of them may itself run processes at a time.
    """

    label: ClassVar[str]
    index_flag: ClassVar[str]
    uses_processes = False

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        runs: Mapping[str, Settings],
        work: Callable[[Experiment], object],
        last: Phase,
    ) -> None:
        self.recipe, self.settings, self.runs = recipe, settings, runs
        self._work, self._last = work, last

    @property
    def workdir(self) -> str:
        """The folder of them all, or its address."""
        return self.settings.workdir(self.recipe.name)

    def run(self) -> None:
        """Does the work of all of them, then reports; finished work is not repeated.

        One whose loss is not finite does not stop the others. A task of a job array does the work
        of its own run, and the last one to finish reports.

        Raises:
            UserError: the number of the task is not that of a run, the work ended in a mistake, or
                several processes would meet in a store.
            RuntimeError: the process of a run has crashed; the others have done their work.
        """
        index, parallel = self.task_number(), self.settings.common.parallel
        if is_remote(self.workdir) and (index is not None or parallel > 1):
            raise UserError(
                f"processes of several runs meet in a local folder, not in {self.workdir}: give a "
                "local --workdir, or start each as a run of its own, in another --workdir"
            )
        if index is not None:
            self._run_one(index)
        elif parallel > 1:
            self._run_at_once()
        else:
            self._run_in_turn()

    def task_number(self) -> int | None:
        """Returns which of the runs is this process' own, counted from 0; None if all are.

        Raises:
            UserError: the number that the job gives is not below the number of runs.
        """
        common, count = self.settings.common, len(self.runs)
        given = getattr(common, self.index_flag)
        if given != "auto":
            return None if given is None else int(given)
        # The tasks of a job of several workers work on one run together.
        names = _TASK_NUMBERS if common.strategy != "multiworker" else ()
        for name in (name for name in names if os.environ.get(name)):
            text = os.environ[name]
            if not text.isdecimal() or int(text) >= count:
                raise UserError(
                    f"{name} is {text}, and the {count} of --{self.label} are numbered from 0: "
                    f"number the tasks so (--array=0-{count - 1}), or run all of them by "
                    f"--{self.index_flag}=none"
                )
            return int(text)
        return None

    def make_shared(self) -> Experiment:
        """Makes the experiment whose strategy, and data if they are loaded, all in turn share.

        It opens no folder. A subclass may check with it what would stop one of them.
        """
        # Nor does it remove one: each of the others does so with its own.
        return Experiment(self.recipe, self.settings.changed({"overwrite": False}))

    @abstractmethod
    def report(self, done: Mapping[str, Run], folder: Path | None) -> None:
        """Prints, and writes, what came of the runs.

        Args:
            done: those that are done, by their names.
            folder: where to write; None on a worker that does not.
        """

    def _run_in_turn(self) -> None:
        shared = self.make_shared()
        done, failures = {}, []
        for number, (name, own) in enumerate(self.runs.items(), 1):
            print(f"{self.label}: {number} of {len(self.runs)}, {name}")
            experiment = Experiment(self.recipe, own, beside=shared)
            try:
                self._work(experiment)
            except NotFinite as error:
                print(f"error: {name} failed: {error}", file=sys.stderr, flush=True)
                failures.append(Failure(self._job(name), NOT_FINITE, str(error)))
                continue
            done[name] = experiment.run
        if is_chief(shared.strategy):
            self.report(done, shared.workdir)
            shared.place.publish()
        else:
            self.report(done, None)
        raise_failures(failures, len(self.runs))

    def _run_at_once(self) -> None:
        # Makes no experiment, which would start the GPUs.
        jobs = [self._job(name) for name in self.runs]
        failures = run_jobs(jobs, self.settings.common.parallel, self.label)
        failed = [failure.job for failure in failures]
        done = {job.name: Run(job.folder) for job in jobs if job not in failed}
        self.report(done, Path(self.workdir))
        raise_failures(failures, len(jobs))

    def _run_one(self, index: int) -> None:
        name, own = list(self.runs.items())[index]
        parallel, count = self.settings.common.parallel, len(self.runs)
        if parallel > 1 and not self.uses_processes:
            raise UserError(
                f"--parallel={parallel} has nothing to run at once here: this task runs {name} "
                f"only; leave it out, or have it run all by --{self.index_flag}=none"
            )
        print(
            f"{self.label}: {name} only, number {index} of 0 to {count - 1}; "
            f"--{self.index_flag}=none runs all of them here"
        )
        experiment = Experiment(self.recipe, own)
        self._work(experiment)
        if not is_chief(experiment.strategy):
            return
        runs = {name: Run(own.workdir(self.recipe.name)) for name, own in self.runs.items()}
        done = {name: run for name, run in runs.items() if run.is_done(self._last)}
        if len(done) == count:
            self.report(done, Path(self.workdir))
        else:
            print(f"{self.label}: {len(done)} of {count} done; the last one reports on all")

    def _job(self, name: str) -> Job:
        """Returns the work of a run, for a process of its own."""
        own = self.runs[name]
        make = partial(Experiment, self.recipe, own.changed({"parallel": 1}))
        folder = Path(own.workdir(self.recipe.name))
        return Job(name, folder, make, self._work, new_log=own.common.overwrite)
