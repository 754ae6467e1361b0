"""Work in processes of its own: several at a time, each with its share of the machine."""

import os
import pickle
import signal
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enas_tf.core.duration import format_duration
from enas_tf.core.errors import Preempted, UserError
from enas_tf.training.own_process import NOT_FINITE
from enas_tf.training.run_folder import raise_write_errors
from enas_tf.training.shares import Share, split_machine

_POLL_SECONDS = 0.2

# Seconds between two lines that show how far each process is: on a terminal, and in a log.
_LIVE_INTERVAL = 10.0
_PLAIN_INTERVAL = 60.0

_STOPPING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


@dataclass(frozen=True)
class Job:
    """Work for a process of its own.

    Attributes:
        name: as lines call it, such as `seed 3`.
        folder: holds `log.txt`, to which all output is added; made if it is missing.
        make: makes what the work is done on, such as an experiment; can be pickled.
        work: called with what `make` returns; can be pickled.
        module: imported before these two are read, without messages.
        new_log: whether `log.txt` begins anew.
    """

    name: str
    folder: Path
    make: Callable[[], Any]
    work: Callable[[Any], object]
    module: str = "keras"
    new_log: bool = False

    @property
    def log(self) -> Path:
        """The path of the file with all output."""
        return self.folder / "log.txt"


@dataclass(frozen=True)
class Failure:
    """How a job failed.

    Attributes:
        job: the job.
        status: the exit status of its process; if negative, the number of the signal that ended it.
        error: why, in one line.
    """

    job: Job
    status: int
    error: str

    @property
    def not_finite(self) -> bool:
        """Whether a loss or a weight was not finite."""
        return self.status == NOT_FINITE


def run_jobs(jobs: Sequence[Job], at_once: int, label: str) -> list[Failure]:
    """Runs jobs in processes of their own; one that fails does not stop the others.

    Shows how far each is, and an error where one fails. SIGTERM, SIGHUP and Ctrl-C stop all
    processes by SIGTERM, so that each writes its checkpoint; a second Ctrl-C kills them. If this
    process is killed, the others stop as after a SIGTERM.

    Args:
        jobs: the jobs, started in this order.
        at_once: number of processes at a time.
        label: first word of the lines about all of them.

    Returns:
        The failures, in the order in which they occurred.

    Raises:
        Preempted: this process got a SIGTERM or a SIGHUP.
        KeyboardInterrupt: after Ctrl-C.
        UserError: a log cannot be written.
    """
    shares, words = split_machine(min(at_once, len(jobs)))
    each = f", each with {words}" if words else ""
    print(f"{label}: {len(jobs)} to do, {len(shares)} at a time{each}", flush=True)
    pool = _Pool(jobs, shares, label)
    with _caught_signals() as caught:
        try:
            while pool.busy and not caught:
                pool.start()
                time.sleep(_POLL_SECONDS)
                pool.look()
        finally:
            pool.stop()
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
    if caught:
        raise Preempted(f"stopped with {pool.done} of {len(jobs)} done", caught[0])
    return pool.failures


def raise_failures(failures: Sequence[Failure], count: int) -> None:
    """Raises an error if there are failures among `count` jobs.

    Raises:
        UserError: all of them are mistakes of the user.
        RuntimeError: a process has crashed, or was killed.
    """
    if failures:
        names = ", ".join(failure.job.name for failure in failures)
        mistakes = all(failure.status in (2, NOT_FINITE) for failure in failures)
        raise (UserError if mistakes else RuntimeError)(
            f"{len(failures)} of {count} failed ({names}); the same command tries again, and goes "
            "on from the last checkpoints"
        )


class _Process:
    """A job's process."""

    def __init__(self, job: Job, share: Share) -> None:
        self.job, self.share, self.begun = job, share, time.monotonic()
        self.newest = self._shown = ""
        self._begun_line = b""
        work = pickle.dumps((job.make, job.work))
        with raise_write_errors(job.log):
            job.folder.mkdir(parents=True, exist_ok=True)
            log = job.log.open("ab")
            if job.new_log:
                log.truncate(0)
            self._output = job.log.open("rb")
            self._output.seek(0, os.SEEK_END)
        environment = dict(os.environ)
        share.set_in(environment)
        with log:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", _program(), job.name],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        # A process that has ended already is seen by its status. Its input stays open: its end
        # tells the process that this one has ended.
        with suppress(BrokenPipeError):
            pickle.dump((share.cores, job.module, work), self.popen.stdin)
            self.popen.stdin.flush()

    @property
    def seconds(self) -> float:
        """The seconds since its start."""
        return time.monotonic() - self.begun

    def poll(self) -> int | None:
        """Returns the exit status, None while it runs; shows warnings that it has printed."""
        status = self.popen.poll()
        # Read after the status was asked for, so that no last line is missed.
        *lines, self._begun_line = (self._begun_line + self._output.read()).split(b"\n")
        if status is not None:
            lines.append(self._begun_line)
            self.popen.stdin.close()
            self._output.close()
        for line in (line.decode(errors="replace").strip() for line in lines):
            if line.startswith("warning:"):
                print(f"{self.job.name}: {line}", flush=True)
            elif line:
                self.newest = line
        return status

    def show(self) -> None:
        """Shows the newest line, unless it was shown before."""
        if self.newest != self._shown:
            print(f"{self.job.name}: {self.newest}", flush=True)
            self._shown = self.newest


class _Pool:
    """The processes of several jobs."""

    def __init__(self, jobs: Sequence[Job], shares: Sequence[Share], label: str) -> None:
        self.failures: list[Failure] = []
        self._waiting, self._free, self._label = deque(jobs), deque(shares), label
        self._count, self._at_once = len(jobs), len(shares)
        self._running: list[_Process] = []
        self._seconds: list[float] = []
        self._interval = _LIVE_INTERVAL if sys.stdout.isatty() else _PLAIN_INTERVAL
        self._last_shown = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether there is work left."""
        return bool(self._waiting or self._running)

    @property
    def done(self) -> int:
        """The number of jobs that are done."""
        return len(self._seconds)

    def start(self) -> None:
        """Starts as many jobs as there are free shares."""
        while self._waiting and self._free:
            process = _Process(self._waiting.popleft(), self._free.popleft())
            self._running.append(process)
            print(f"{process.job.name}: all output is in {process.job.log}", flush=True)

    def look(self) -> None:
        """Frees the shares of processes that have ended; shows how far the others are."""
        for process in list(self._running):
            status = process.poll()
            if status is not None:
                self._running.remove(process)
                self._free.append(process.share)
                self._tell_end(process, status)
        if time.monotonic() - self._last_shown > self._interval:
            self._last_shown = time.monotonic()
            for process in self._running:
                process.show()

    def stop(self) -> None:
        """Stops the processes that still run, and waits for their checkpoints."""
        if not self._running:
            return
        with suppress(OSError):
            print(f"{self._label}: stopping {len(self._running)} processes", flush=True)
        try:
            for process in self._running:
                process.popen.terminate()
            for process in self._running:
                process.popen.wait()
        finally:
            for process in self._running:
                process.popen.kill()

    def _tell_end(self, process: _Process, status: int) -> None:
        name, took = process.job.name, format_duration(process.seconds)
        if status:
            error = process.newest.removeprefix("error: ")
            if status < 0:
                error = f"ended by {signal.Signals(-status).name}; before: {error}"
            self.failures.append(Failure(process.job, status, error))
            line = f"error: {name} failed after {took}: {error} ({process.job.log})"
            print(line, file=sys.stderr, flush=True)
        else:
            self._seconds.append(process.seconds)
            print(f"{name}: done after {took}", flush=True)
        if self.busy:
            failed = f", {len(self.failures)} failed" if self.failures else ""
            print(f"{self._label}: {self.done} of {self._count} done{failed}{self._left()}")
            sys.stdout.flush()

    def _left(self) -> str:
        """Returns the time left in words, once a job has ended to compute it from."""
        if not self._seconds:
            return ""
        # A job that takes longer than the mean so far says itself how long.
        mean = statistics.fmean(self._seconds)
        worked = sum(min(process.seconds, mean) for process in self._running)
        left = (mean * (len(self._waiting) + len(self._running)) - worked) / self._at_once
        return f", {format_duration(left)} left" if left >= 1 else ""


def _program() -> str:
    """Returns Python code that runs a process, and finds all modules that this one does."""
    return (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from enas_tf.training.own_process import main; sys.exit(main())"
    )


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Collects the signals that ask to stop; a second Ctrl-C raises KeyboardInterrupt."""
    caught: list[int] = []

    def catch(number: int, *_: object) -> None:
        if number == signal.SIGINT and number in caught:
            raise KeyboardInterrupt
        caught.append(number)

    # What nohup has a process ignore stays ignored.
    watched = [n for n in _STOPPING if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, catch) for number in watched}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
