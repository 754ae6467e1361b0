"""What every long phase does beside its work: checkpoints, metrics, progress, resuming."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from enas_tf.core.errors import Preempted, UserError
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.metric_writer import Counts, Metrics
from enas_tf.training.progress import Progress

LOG_EVERY = 50
"""Steps between two records of metrics."""

_CHECKPOINT_SECONDS = 600

_TRY = (
    "; the last checkpoint is kept: try a lower learning rate or --child.grad_clip=5 in another "
    "--workdir"
)


class NotFinite(UserError):
    """A loss or a weight that is infinite or not a number."""


class Loop:
    """Counts a phase's steps, and keeps what they report.

    Args:
        folder: the phase's; gets `metrics.jsonl`, TensorBoard events and `checkpoints/`.
        variables: all that a resume needs, by name.
        total_steps: of the whole phase.
        unit: what is counted a second.
        label: the phase's name on the screen.
    """

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, tf.Variable],
        total_steps: int,
        unit: str,
        label: str,
    ) -> None:
        self.step = 0
        self.total_steps = total_steps
        self.state: dict = {}
        self._variables = variables
        self.checkpoints = Checkpoints(folder / "checkpoints", variables)
        self.metrics = Metrics(folder)
        self.progress = Progress(total_steps, unit, label)
        self._unit = unit
        self._pending: list[dict[str, tf.Tensor]] = []
        self._pending_amount = 0
        self._is_asked_to_stop = False
        self._last_record = self._last_checkpoint = time.monotonic()

    def run(self, work: Callable[[], None], max_rollbacks: int) -> None:
        """Does the work from the newest checkpoint on.

        A loss or weight that is not finite is answered by going back to the last checkpoint, for
        another attempt with other random numbers.

        Args:
            work: takes all steps that are left, and saves at least every epoch.
            max_rollbacks: how often in a row, with no checkpoint between, to go back.

        Raises:
            NotFinite: the last of these attempts ended so, too.
            Preempted: the process got a SIGTERM.
        """
        self.resume()
        if max_rollbacks and not self.step:
            self.save()
        before = signal.signal(signal.SIGTERM, self._ask_to_stop)
        try:
            while True:
                try:
                    return work()
                except NotFinite as error:
                    self._roll_back(error, max_rollbacks)
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask_to_stop(self, *_: object) -> None:
        self._is_asked_to_stop = True

    def resume(self) -> None:
        """Goes back to the newest checkpoint, or to the start where there is none."""
        if self._restore() and not self.done:
            self.progress.note(f"resuming at step {self.step:,} of {self.total_steps:,}")

    @property
    def attempt(self) -> int:
        """How often a loss that was not finite has been answered by going back."""
        return self.state.get("rollbacks", 0)

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_steps

    def advance(
        self, phase: str, epoch: int, amount: int, numbers: dict[str, tf.Tensor], last: bool, **now
    ) -> None:
        """Counts a step; every now and then, records the mean since the last record.

        Args:
            phase: as in `metrics.jsonl`.
            epoch: that the step belongs to.
            amount: units that it worked on.
            numbers: what it reports; averaged over the steps of a record.
            last: whether the phase's part of this epoch ends with this step.
            **now: numbers to record as they are, such as the learning rate.

        Raises:
            NotFinite: the loss of a step since the last record is not finite.
            Preempted: the process got a SIGTERM; the step has been done and is in a checkpoint.
        """
        self.step += 1
        self._pending.append(numbers)
        self._pending_amount += amount
        self.progress.update(self.step, epoch=epoch, amount=amount, **_shown(numbers))
        if last or len(self._pending) == LOG_EVERY:
            self._record(phase, epoch, now)
            if time.monotonic() - self._last_checkpoint > _CHECKPOINT_SECONDS and not last:
                self.save()
        # An epoch's last step is followed by work that a checkpoint here would leave out.
        if self._is_asked_to_stop and not last:
            self.save()

    def record(
        self, phase: str, epoch: int, counts: Counts | None = None, **numbers: float
    ) -> None:
        """Records numbers of no step's own, such as an epoch's validation accuracy.

        Args:
            phase: as in `metrics.jsonl`.
            epoch: that they belong to.
            counts: as `Metrics.write` takes them.
            **numbers: by name; also shown.
        """
        self.metrics.write(phase, step=self.step, epoch=epoch, counts=counts, **numbers)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self.progress.note(f"epoch {epoch} {phase}: {shown}")
        self._last_record = time.monotonic()

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            NotFinite: a weight is not finite, as behind a last step whose loss still was.
            Preempted: the process got a SIGTERM; the checkpoint is written.
        """
        self._refuse_infinite_weights()
        self.state.pop("in_a_row", None)
        self._save()
        if self._is_asked_to_stop:
            raise Preempted(f"stopped at step {self.step:,} of {self.total_steps:,}")

    def _restore(self) -> bool:
        """Whether there was a checkpoint to go back to."""
        stored = self.checkpoints.restore()
        self.metrics.rewind(stored["metrics"] if stored else 0)
        if stored:
            self.step, self.state = stored["step"], stored["state"]
            self._pending = [{n: tf.constant(v) for n, v in s.items()} for s in stored["pending"]]
        self._pending_amount, self._last_record = 0, time.monotonic()
        return stored is not None

    def _roll_back(self, error: NotFinite, at_most: int) -> None:
        in_a_row = self.state.get("in_a_row", 0)
        if in_a_row == at_most:
            tried = f"{error}; went back {at_most} times" if at_most else error
            raise NotFinite(str(tried)) from error
        counts = {"rollbacks": self.attempt + 1, "in_a_row": in_a_row + 1}
        self._restore()
        self.state |= counts
        self._save()
        self.progress.note(
            f"{error}; back to step {self.step:,}, attempt {in_a_row + 1} of {at_most}"
        )

    def _save(self) -> None:
        state = {
            "step": self.step,
            "metrics": self.metrics.position(),
            "state": self.state,
            # Of the record that the next steps will complete.
            "pending": [{n: float(v) for n, v in step.items()} for step in self._pending],
        }
        self.checkpoints.save(self.step, state)
        self._last_checkpoint = self._last_record = time.monotonic()

    def close(self) -> None:
        """Ends the progress line and closes the files."""
        self.progress.close()
        self.metrics.close()

    def _record(self, phase: str, epoch: int, now: dict[str, float]) -> None:
        steps = {
            name: tf.stack([numbers[name] for numbers in self._pending])
            for name in self._pending[0]
        }
        means = {name: float(tf.reduce_mean(values)) for name, values in steps.items()}
        seconds, self._last_record = time.monotonic() - self._last_record, time.monotonic()
        now[f"{self._unit}_per_second"] = self._pending_amount / seconds
        self._pending, self._pending_amount = [], 0
        self.metrics.write(phase, step=self.step, epoch=epoch, **means, **now)
        infinite = tf.where(~tf.math.is_finite(steps["loss"]))
        if len(infinite):
            step = self.step - len(steps["loss"]) + 1 + int(infinite[0, 0])
            raise NotFinite(f"the {phase} loss is not finite at step {step} (epoch {epoch}){_TRY}")

    def _refuse_infinite_weights(self) -> None:
        for variable in self._variables.values():
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                raise NotFinite(f"weights are not finite behind step {self.step}{_TRY}")


def _shown(numbers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What the progress line has room for; a controller's loss means nothing to the eye."""
    names = ("reward", "baseline") if "reward" in numbers else ("loss", "accuracy", "perplexity")
    return {name: numbers[name] for name in names if name in numbers}
