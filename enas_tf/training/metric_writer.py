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


class Metrics:
    """The metrics in the folder of a phase: `metrics.jsonl` and TensorBoard's events.

    To resume exactly, save `position()` with each checkpoint and `rewind` to it when the
    checkpoint is restored (to 0 if there is none). TensorBoard's event files are not rewound, so
    TensorBoard may show the steps between the checkpoint and the kill twice.

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
        self._events = tf.summary.create_file_writer(str(folder))
        self.rewind(self._path.stat().st_size)

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

    def position(self) -> int:
        """Flushes `metrics.jsonl` and returns its length in bytes, for `rewind`."""
        self.flush()
        return self._path.stat().st_size

    def rewind(self, position: int) -> None:
        """Removes the records after `position`, a value that `position()` has returned.

        This way the file of a resumed run has each record once. A shorter file is kept.
        """
        kept = self._path.read_bytes()[:position]
        kept = kept[: kept.rfind(b"\n") + 1]
        self._file.truncate(len(kept))
        records = kept.splitlines()
        self._seconds_before = json.loads(records[-1])["seconds"] if records else 0.0
        self._start = time.monotonic()

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
