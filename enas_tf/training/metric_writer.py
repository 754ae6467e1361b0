"""The metrics that a phase writes as it works: to read by programs, and for TensorBoard."""

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
"""Histograms by name: how often each thing came, by its own name, in the order of their numbers."""


class Metrics:
    """The metrics of one phase folder: `metrics.jsonl`, and TensorBoard events beside it.

    To resume exactly, save `position()` with each checkpoint and `rewind` to it when the
    checkpoint is restored (to 0 where there is none). TensorBoard's event files are not rewound:
    it may show the steps between the checkpoint and the kill twice.

    Args:
        folder: the phase's folder; made where it is missing. What it already holds is kept, but
            for the half line that a killed process may have left.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str) -> None:
        self._path = Path(folder) / "metrics.jsonl"
        with raise_write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._events = tf.summary.create_file_writer(str(folder))
        self.rewind(self._path.stat().st_size)

    def write(
        self, phase: str, *, step: int, epoch: int, counts: Counts | None = None, **metrics: Any
    ) -> None:
        """Adds a record to `metrics.jsonl`, and all that it holds to TensorBoard as `phase/name`.

        A record holds `phase`, `step`, `epoch`, `seconds`, the metrics and the counts.

        Args:
            phase: `child`, `controller`, `valid`, `test` or `train`.
            step: the phase's global step.
            epoch: the epoch that the step belongs to.
            counts: histograms; TensorBoard shows the things by their numbers.
            **metrics: whatever `float` takes; what is not finite is written as null.

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
        """The work in this folder so far; after a rewind it goes on from the last record kept."""
        return self._seconds_before + time.monotonic() - self._start

    def draw(self, name: str, picture: "Figure", step: int) -> None:
        """Adds a picture to TensorBoard's images.

        Args:
            name: `phase/name`.
            picture: of any size.
            step: the phase's global step.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        file = io.BytesIO()
        picture.savefig(file, format="png", dpi=100)
        image = tf.io.decode_png(file.getvalue(), channels=3)
        with raise_write_errors(self._path), self._events.as_default(step):
            tf.summary.image(name, image[tf.newaxis])

    def position(self) -> int:
        """The length of `metrics.jsonl` in bytes, flushed, for `rewind`."""
        self.flush()
        return self._path.stat().st_size

    def rewind(self, position: int) -> None:
        """Drops the records after `position`, a value of `position()`.

        So a resumed run's file has each record once. A file that is shorter by now is kept.
        """
        kept = self._path.read_bytes()[:position]
        kept = kept[: kept.rfind(b"\n") + 1]
        self._file.truncate(len(kept))
        records = kept.splitlines()
        self._seconds_before = json.loads(records[-1])["seconds"] if records else 0.0
        self._start = time.monotonic()

    def flush(self) -> None:
        """Waits until all that was written is on the disk.

        Raises:
            UserError: the disk is full, or the files cannot be written.
        """
        with raise_write_errors(self._path):
            os.fsync(self._file.fileno())
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files; nothing can be written afterwards."""
        self.flush()
        with raise_write_errors(self._path):
            self._file.close()
            self._events.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """A phase's records, without the half line that a killed process may have left."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
