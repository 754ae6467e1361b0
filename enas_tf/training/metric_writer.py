"""The metrics that a phase writes while it runs, for programs to read and for TensorBoard."""

import io
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from enas_tf.core.space import numbered
from enas_tf.training.run_folder import raise_write_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Counts = Mapping[str, Mapping[str, int]]
"""Histograms by name; each maps things, in the order of their numbers, to how often they occur."""


def metric_text(value: float | None, form: str = ".4f") -> str:
    """Returns a metric's text; None is what files hold of one that is not finite."""
    return "not finite" if value is None else format(value, form)


_EVENTS = "events.out.tfevents.*"


class Metrics:
    """The metrics in the folder of a phase: `metrics.jsonl` and TensorBoard's events.

    To resume exactly, save `position()` with each checkpoint and `rewind` to it when the
    checkpoint is restored, or to an empty one if there is none.

    Args:
        folder: folder of the phase; created if it is missing. What it already holds is kept,
            except for an incomplete line that a killed process may have left.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str) -> None:
        self._path = Path(folder) / "metrics.jsonl"
        with raise_write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._events = tf.summary.create_noop_writer()
        self.rewind(self._sizes())

    def write(
        self, phase: str, *, step: int, epoch: int, counts: Counts | None = None, **metrics: Any
    ) -> None:
        """Adds a record to `metrics.jsonl`, and its values to TensorBoard as `phase/name`.

        A record holds `phase`, `step`, `epoch`, `seconds`, the metrics and the counts.

        Args:
            phase: `child`, `controller`, `valid`, `test` or `train`.
            step: global step of the phase.
            epoch: epoch that the step belongs to.
            counts: histograms; TensorBoard shows things by their numbers.
            **metrics: anything that `float` accepts; values that are not finite become null.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        values = {name: float(value) for name, value in metrics.items()}
        record = {"phase": phase, "step": int(step), "epoch": int(epoch)}
        record["seconds"] = round(self.seconds, 3)
        record |= {name: v if math.isfinite(v) else None for name, v in values.items()}
        record |= counts or {}
        with raise_write_errors(self._path):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
            with self._events.as_default(int(step)):
                for name, value in values.items():
                    tf.summary.scalar(f"{phase}/{name}", value)
                for name, bins in (counts or {}).items():
                    things = np.repeat(np.arange(len(bins)), [*bins.values()])
                    legend = numbered([*bins])
                    tf.summary.histogram(
                        f"{phase}/{name}", things, buckets=len(bins), description=legend
                    )

    @property
    def seconds(self) -> float:
        """The seconds of work in this folder so far; a rewind resets it to the last kept record."""
        return self._seconds_before + time.monotonic() - self._start

    def draw(self, name: str, picture: "Figure", step: int) -> None:
        """Adds a picture to TensorBoard's images.

        Args:
            name: name of the picture, `phase/name`.
            picture: a figure of any size.
            step: global step of the phase.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        file = io.BytesIO()
        picture.savefig(file, format="png", dpi=100)
        image = tf.io.decode_png(file.getvalue(), channels=3)
        with raise_write_errors(self._path), self._events.as_default(step):
            tf.summary.image(name, image[tf.newaxis])

    def position(self) -> dict[str, int]:
        """Flushes all files and returns their lengths in bytes by their names, for `rewind`."""
        self.flush()
        return self._sizes()

    def rewind(self, position: Mapping[str, int]) -> None:
        """Removes what was written after `position`, a value that `position()` has returned.

        This way a resumed run has each record once, and TensorBoard shows it once. A shorter file
        is kept.
        """
        self._events.close()
        with raise_write_errors(self._path):
            for path in self._path.parent.glob(_EVENTS):
                size = position.get(path.name, 0)
                if not size:
                    path.unlink()
                elif size < path.stat().st_size:
                    os.truncate(path, size)
        self._events = tf.summary.create_file_writer(str(self._path.parent))
        kept = self._path.read_bytes()[: position.get(self._path.name, 0)]
        kept = kept[: kept.rfind(b"\n") + 1]
        self._file.truncate(len(kept))
        records = kept.splitlines()
        self._seconds_before = json.loads(records[-1])["seconds"] if records else 0.0
        self._start = time.monotonic()

    def _sizes(self) -> dict[str, int]:
        paths = [self._path, *self._path.parent.glob(_EVENTS)]
        return {path.name: path.stat().st_size for path in paths}

    def flush(self) -> None:
        """Waits until everything that was written is on the disk.

        Raises:
            UserError: the disk is full, or the files cannot be written.
        """
        with raise_write_errors(self._path):
            os.fsync(self._file.fileno())
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files; afterwards nothing can be written."""
        self.flush()
        with raise_write_errors(self._path):
            self._file.close()
            self._events.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Reads the records of a phase, without a line that a killed process left incomplete."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
