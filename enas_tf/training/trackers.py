"""What follows a run beside its own files, such as programs elsewhere that collect its metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

MetricsFormat = Literal["text", "katib"]
TrackerName = Literal["none", "mlflow"]


class Tracker:
    """Follows a run. This one does nothing; others override the methods that they need.

    Once it has begun, a tracker must not end a run, whatever fails elsewhere.
    """

    def begin(self, run: Any) -> None:
        """Begins to follow a run, or goes on with it; called before every write, so often.

        Args:
            run: the `Run`, whose folder holds its `config.json`.

        Raises:
            UserError: the tracker cannot start.
        """

    def record(self, phase: str, metrics: Mapping[str, float], note: Callable[[str], None]) -> None:
        """Gets the metrics of a record as soon as they are there.

        Args:
            phase: name of the phase in `metrics.jsonl`.
            metrics: the metrics by name.
            note: shows a line on standard output.
        """

    def saved(self, folder: Path) -> None:
        """Called when a resume will keep all that a phase has recorded so far.

        Args:
            folder: folder of the phase, with its `metrics.jsonl`.
        """

    def marked(self) -> None:
        """Called when a phase is marked as done."""

    def of_part(self) -> Tracker:
        """Returns what follows a run in a folder of this one, such as a finalist's training."""
        return Tracker()

    def architecture(self, arc: str) -> None:
        """Gets the run's architecture, as text."""

    def result(self, result: Mapping[str, Any]) -> None:
        """Gets the content of `train/result.json`."""

    def exported(self, version: Path) -> None:
        """Gets the folder of an exported version."""

    def end(self, error: BaseException | None) -> None:
        """Called when a command on the run has ended, with the error that ended it, if any."""


class Trackers(Tracker):
    """Several trackers as one: each method calls theirs in turn."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def begin(self, run: Any) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.begin(run)

    def record(self, phase: str, metrics: Mapping[str, float], note: Callable[[str], None]) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.record(phase, metrics, note)

    def saved(self, folder: Path) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.saved(folder)

    def marked(self) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.marked()

    def of_part(self) -> Tracker:
        """As of `Tracker`."""
        return Trackers(*(tracker.of_part() for tracker in self._trackers))

    def architecture(self, arc: str) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.architecture(arc)

    def result(self, result: Mapping[str, Any]) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.result(result)

    def exported(self, version: Path) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.exported(version)

    def end(self, error: BaseException | None) -> None:
        """As of `Tracker`."""
        for tracker in self._trackers:
            tracker.end(error)


class KatibLines(Tracker):
    """Prints metrics as Katib's StdOut collector reads them without a filter of its own.

    A line holds the time (RFC 3339) and `phase-name=value`, such as `valid-accuracy=0.9123`. Katib
    allows letters, digits, `_`, `-` and `|` in a name, and no values that are not finite, which are
    left out.
    """

    def record(self, phase: str, metrics: Mapping[str, float], note: Callable[[str], None]) -> None:
        """As of `Tracker`."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for name, value in metrics.items():
            if math.isfinite(value):
                note(f"{now} {phase}-{name}={float(value)!r}")
