"""The loop of every long phase: epochs, checkpoints, metrics, progress and resuming."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from enas_tf.core.errors import NotFinite, Preempted
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.metric_writer import Counts, Metrics
from enas_tf.training.progress import Progress
from enas_tf.training.trackers import Tracker

LOG_EVERY = 50
"""Steps between two records of metrics."""

_CHECKPOINT_SECONDS = 600

STOPPING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that end a run with a checkpoint: a request, and the end of the terminal."""

_TRY = (
    "; the last checkpoint is kept: try a lower learning rate or --child.grad_clip=5 in another "
    "--workdir"
)


@dataclass(frozen=True)
class Stage:
    """A part of every epoch.

    Attributes:
        steps: number of steps in each epoch.
        run: called with the session, the epoch and the range of the stage's remaining steps in
            this epoch; must call `Session.advance` after each step.
        first_epoch: the epochs before this one, counted from 0, go without the stage.
    """

    steps: int
    run: Callable[["Session", int, range], None]
    first_epoch: int = 0


@dataclass(frozen=True)
class Schedule:
    """The work of a session.

    Attributes:
        num_epochs: number of epochs in the phase.
        stages: the stages of each epoch, in order.
        end_epoch: called with the session and the epoch after the epoch's last step, before the
            checkpoint; after a kill it is done again.
        start: called before the first step, and again after each return to a checkpoint, with the
            number of retries so far. All random numbers from then on must depend on it.
        max_rollbacks: how often in a row, with no checkpoint between, the session returns to the
            last checkpoint because of a loss that is not finite.
    """

    num_epochs: int
    stages: Sequence[Stage]
    end_epoch: Callable[["Session", int], None]
    start: Callable[[int], None]
    max_rollbacks: int = 0

    @property
    def total_steps(self) -> int:
        """The number of steps of all epochs together."""
        return self.steps_before(self.num_epochs)

    def steps_before(self, epoch: int) -> int:
        """Returns the number of steps of all epochs before one, counted from 0."""
        return sum(stage.steps * max(0, epoch - stage.first_epoch) for stage in self.stages)


class Session:
    """Runs the epochs of a phase, starting from the last checkpoint, and records their metrics.

    Args:
        folder: folder of the phase, for `metrics.jsonl`, TensorBoard's events and `checkpoints/`.
        variables: all variables that a resume needs, by name.
        schedule: the work to do.
        examples: what is counted per second, such as `images`.
        label: name of the phase on the screen.
        tracker: what follows the phase elsewhere; None: nothing.
    """

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, tf.Variable],
        schedule: Schedule,
        examples: str,
        label: str,
        tracker: Tracker | None = None,
    ) -> None:
        self.step = 0
        self.total_steps = schedule.total_steps
        self.state: dict = {}
        self._folder = folder
        self._schedule = schedule
        self._variables = variables
        self._tracker = tracker or Tracker()
        self.checkpoints = Checkpoints(folder / "checkpoints", variables)
        self.metrics = Metrics(folder)
        self.progress = Progress(self.total_steps, examples, label)
        self._examples = examples
        self._pending: list[dict[str, tf.Tensor]] = []
        self._pending_examples = 0
        self._stop_signal: int | None = None
        self._cut_off: OSError | None = None
        self._last_record = self._last_checkpoint = time.monotonic()

    def run(self) -> None:
        """Takes all remaining steps and writes a checkpoint at the end of every epoch.

        If a loss or a weight is not finite, returns to the last checkpoint and tries again with
        other random numbers.

        Raises:
            NotFinite: this has happened in a row once more than the schedule allows.
            Preempted: the process got a SIGTERM or a SIGHUP.
            OSError: nobody is left to show the progress to; all work is saved in a checkpoint.
        """
        self.resume()
        # A checkpoint to return to if the first epoch fails.
        if self._schedule.max_rollbacks and not self.step:
            self.save()
        # What nohup has a process ignore stays ignored.
        watched = [n for n in STOPPING if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._ask_to_stop) for number in watched}
        try:
            while True:
                try:
                    return self._run_epochs()
                except NotFinite as error:
                    self._roll_back(error, self._schedule.max_rollbacks)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run_epochs(self) -> None:
        schedule = self._schedule
        schedule.start(self.retries)
        for epoch in range(schedule.num_epochs):
            if self.step >= schedule.steps_before(epoch + 1):
                continue
            done = self.step - schedule.steps_before(epoch)
            for stage in schedule.stages:
                if epoch < stage.first_epoch:
                    continue
                left = range(stage.steps)[done:]
                done = max(0, done - stage.steps)
                if left:
                    stage.run(self, epoch, left)
            schedule.end_epoch(self, epoch)
            self.save()

    def _ask_to_stop(self, number: int, *_: object) -> None:
        self._stop_signal = number

    def resume(self) -> None:
        """Returns to the newest checkpoint, or to the start if there is none."""
        if self._restore() and not self.done:
            self.note(f"resuming at step {self.step:,} of {self.total_steps:,}")

    @property
    def retries(self) -> int:
        """The number of times that a loss that was not finite led back to a checkpoint."""
        return self.state.get("rollbacks", 0)

    @property
    def done(self) -> bool:
        """Returns whether all steps are done."""
        return self.step >= self.total_steps

    def advance(
        self,
        phase: str,
        epoch: int,
        num_examples: float,
        metrics: dict[str, tf.Tensor],
        is_last: bool,
        **now: float,
    ) -> None:
        """Counts a step; every `LOG_EVERY` steps, records the means since the last record.

        Args:
            phase: name of the phase in `metrics.jsonl`.
            epoch: epoch that the step belongs to.
            num_examples: number of examples in the step.
            metrics: metrics of the step, scalars; averaged over the steps of a record.
            is_last: whether this step is the last of the phase in this epoch.
            **now: values to record unaveraged, such as the learning rate.

        Raises:
            NotFinite: the loss of a step since the last record is not finite.
            Preempted, OSError: as of `run`; the step is done and saved in a checkpoint.
        """
        self.step += 1
        self._pending.append(metrics)
        self._pending_examples += num_examples
        with self._until_cut_off():
            self.progress.update(
                self.step, epoch=epoch, num_examples=num_examples, **_shown(metrics)
            )
        if is_last or len(self._pending) == LOG_EVERY:
            self._record(phase, epoch, now)
            if time.monotonic() - self._last_checkpoint > _CHECKPOINT_SECONDS and not is_last:
                self.save()
        # Not after a last step: a resume from there would leave out the work at the epoch's end.
        if (self._cut_off or self._stop_signal) and not is_last:
            self.save()

    def record(
        self, phase: str, epoch: int, counts: Counts | None = None, **metrics: float
    ) -> None:
        """Records and shows metrics that belong to no step, such as a validation accuracy.

        Args:
            phase: name of the phase in `metrics.jsonl`.
            epoch: epoch that the metrics belong to.
            counts: histograms, as for `Metrics.write`.
            **metrics: the metrics by name.
        """
        self.metrics.write(phase, step=self.step, epoch=epoch, counts=counts, **metrics)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.note(f"epoch {epoch} {phase}: {shown}")
        self._tracker.record(phase, metrics, self.note)
        self._last_record = time.monotonic()

    def note(self, text: str) -> None:
        """Shows a line that stays on the screen."""
        with self._until_cut_off():
            self.progress.note(text)

    @contextmanager
    def _until_cut_off(self) -> Iterator[None]:
        """Has the session stop at its next step where nobody is left to show anything to."""
        try:
            yield
        except OSError as error:
            self._cut_off = error

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            NotFinite: a weight is not finite; the loss of the last step may still have been.
            Preempted, OSError: as of `run`; the checkpoint has been written.
        """
        self._refuse_infinite_weights()
        self.state.pop("in_a_row", None)
        self._save()
        if self._stop_signal:
            where = f"step {self.step:,} of {self.total_steps:,}"
            raise Preempted(f"stopped at {where}", self._stop_signal)
        if self._cut_off:
            raise self._cut_off

    def _restore(self) -> bool:
        """Restores the newest checkpoint; returns whether there is one."""
        stored = self.checkpoints.restore()
        self.metrics.rewind(stored["metrics"] if stored else {})
        if stored:
            self.step, self.state = stored["step"], stored["state"]
            self._pending = [{n: tf.constant(v) for n, v in s.items()} for s in stored["pending"]]
        self._pending_examples, self._last_record = 0, time.monotonic()
        return stored is not None

    def _roll_back(self, error: NotFinite, at_most: int) -> None:
        in_a_row = self.state.get("in_a_row", 0)
        if in_a_row == at_most:
            tried = f"{error}; went back {at_most} times" if at_most else error
            raise NotFinite(str(tried)) from error
        counts = {"rollbacks": self.retries + 1, "in_a_row": in_a_row + 1}
        self._restore()
        self.state |= counts
        self._save()
        self.note(f"{error}; back to step {self.step:,}, retry {in_a_row + 1} of {at_most}")

    def _save(self) -> None:
        state = {
            "step": self.step,
            "metrics": self.metrics.position(),
            "state": self.state,
            # The steps of the record that later steps will complete.
            "pending": [{n: float(v) for n, v in step.items()} for step in self._pending],
        }
        self.checkpoints.save(self.step, state)
        self._tracker.saved(self._folder)
        self._last_checkpoint = self._last_record = time.monotonic()

    def close(self) -> None:
        """Ends the progress line and closes the files."""
        self.progress.close()
        self.metrics.close()

    def _record(self, phase: str, epoch: int, now: dict[str, float]) -> None:
        steps = {
            name: tf.stack([metrics[name] for metrics in self._pending])
            for name in self._pending[0]
        }
        means = {name: float(tf.reduce_mean(values)) for name, values in steps.items()}
        seconds, self._last_record = time.monotonic() - self._last_record, time.monotonic()
        now[f"{self._examples}_per_second"] = self._pending_examples / seconds
        self._pending, self._pending_examples = [], 0
        self.metrics.write(phase, step=self.step, epoch=epoch, **means, **now)
        self._tracker.record(phase, {**means, **now}, self.note)
        infinite = tf.where(~tf.math.is_finite(steps["loss"]))
        if len(infinite):
            step = self.step - len(steps["loss"]) + 1 + int(infinite[0, 0])
            raise NotFinite(f"the {phase} loss is not finite at step {step} (epoch {epoch}){_TRY}")

    def _refuse_infinite_weights(self) -> None:
        for variable in self._variables.values():
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                raise NotFinite(f"weights are not finite after step {self.step}{_TRY}")


def _shown(metrics: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the metrics for the progress line; a controller's loss means nothing to a reader."""
    names = ("reward", "baseline") if "reward" in metrics else ("loss", "accuracy", "perplexity")
    return {name: metrics[name] for name in names if name in metrics}
