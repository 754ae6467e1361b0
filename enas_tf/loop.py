"""What every long phase does beside its work: checkpoints, metrics, progress, resuming."""

import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from enas_tf.checkpoints import Checkpoints
from enas_tf.errors import UserError
from enas_tf.progress import Progress
from enas_tf.runs import Metrics

LOG_EVERY = 50
"""Steps between two records of metrics."""

_CHECKPOINT_SECONDS = 600


class Loop:
    """Counts a phase's steps, and keeps what they report.

    Checkpoints are written at records only, so that no half of a record's mean is lost.

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
        self.checkpoints = Checkpoints(folder / "checkpoints", variables)
        self.metrics = Metrics(folder)
        self.progress = Progress(total_steps, unit, label)
        self._unit = unit
        self._pending: list[dict[str, tf.Tensor]] = []
        self._pending_amount = 0
        self._last_record = self._last_checkpoint = time.monotonic()

    def resume(self) -> None:
        """Goes back to the newest checkpoint, or to the start where there is none."""
        stored = self.checkpoints.restore()
        self.metrics.rewind(stored["metrics"] if stored else 0)
        if stored:
            self.step, self.state = stored["step"], stored["state"]
            if self.step < self.total_steps:
                self.progress.note(f"resuming at step {self.step:,} of {self.total_steps:,}")

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
            UserError: the loss is not finite.
        """
        self.step += 1
        self._pending.append(numbers)
        self._pending_amount += amount
        self.progress.update(self.step, epoch=epoch, amount=amount, **_shown(numbers))
        if last or len(self._pending) == LOG_EVERY:
            self._record(phase, epoch, now)
            if time.monotonic() - self._last_checkpoint > _CHECKPOINT_SECONDS and not last:
                self.save()

    def record(self, phase: str, epoch: int, **numbers: float) -> None:
        """Records numbers of no step's own, such as an epoch's validation accuracy."""
        self.metrics.write(phase, step=self.step, epoch=epoch, **numbers)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self.progress.note(f"epoch {epoch} {phase}: {shown}")

    def save(self) -> None:
        """Writes a checkpoint."""
        state = {"step": self.step, "metrics": self.metrics.position(), "state": self.state}
        self.checkpoints.save(self.step, state)
        self._last_checkpoint = time.monotonic()

    def close(self) -> None:
        """Ends the progress line and closes the files."""
        self.progress.close()
        self.metrics.close()

    def _record(self, phase: str, epoch: int, now: dict[str, float]) -> None:
        means = {
            name: float(tf.add_n([numbers[name] for numbers in self._pending])) / len(self._pending)
            for name in self._pending[0]
        }
        seconds, self._last_record = time.monotonic() - self._last_record, time.monotonic()
        now[f"{self._unit}_per_second"] = self._pending_amount / seconds
        self._pending, self._pending_amount = [], 0
        self.metrics.write(phase, step=self.step, epoch=epoch, **means, **now)
        if not tf.math.is_finite(means["loss"]):
            raise UserError(
                f"the {phase} loss is not finite at step {self.step} (epoch {epoch}); the last "
                "checkpoint is kept: try a lower learning rate or --child.grad_clip=5 in another "
                "--workdir"
            )


def _shown(numbers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What the progress line has room for; a controller's loss means nothing to the eye."""
    names = ("reward", "baseline") if "reward" in numbers else ("loss", "accuracy", "perplexity")
    return {name: numbers[name] for name in names if name in numbers}
