"""A run's folder: its configuration, its files, and the numbers that it writes as it works.

TensorFlow is imported where it is used: `--help` should not wait for it.
"""

import json
import math
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from enas_tf import __version__
from enas_tf.errors import UserError, write_errors_told

_CONFIG = "config.json"

# What the verbs leave in a run's folder beside config.json.
_CONTENTS = ("search", "train", "export", "labels.txt", "arcs.json", "arc.txt")
_CONTENTS += ("compare", "compare.json", "report.html")

# The parts of config.json that may change when a run goes on.
_ENVIRONMENT = ("versions", "devices")


class Run:
    """The folder of one run, and the files in it. `Run.open` makes or reopens one."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, workdir: Path | str, config: dict[str, Any], overwrite: bool = False) -> "Run":
        """Makes the folder of a new run, or goes on with the run that it holds.

        `config.json` holds `config`, its `seed`, the `versions` of Python, TensorFlow, Keras and
        enas_tf, the physical `devices`, and under `earlier` those that a change replaced.

        Args:
            workdir: the folder; made with its parents where it is missing.
            config: nested dicts of plain values: all that a run must keep when it goes on.
            overwrite: whether to remove the run that the folder holds. Only what a run writes is
                removed, and only where a run's config.json shows that there was one.

        Raises:
            UserError: the folder holds a run with another `config`, or a config.json that is not
                a run's, or it cannot be written.
        """
        run = cls(workdir)
        config = _plain(config)
        stored = run._stored_record()
        if stored and overwrite:
            run._remove_contents()
            stored = None
        if stored:
            run._refuse_another(config, stored["config"])
        record = {"config": config, "seed": config.get("seed"), **_environment()}
        record["earlier"] = _earlier_environments(record, stored) if stored else []
        # A run that stays the same can so be read from a folder that cannot be written.
        if record != stored:
            run.write_json(_CONFIG, record)
        return run

    def path(self, *parts: str) -> Path:
        """The path of a file or folder of this run; nothing is made there."""
        return self.folder.joinpath(*parts)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all: a killed process leaves the earlier file, if any.

        Args:
            name: path below the run's folder; missing folders are made.
            text: written as UTF-8.

        Raises:
            UserError: it cannot be written, or the disk is full.
        """
        path = self.path(name)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with write_errors_told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def append_line(self, name: str, line: str) -> None:
        """Adds a line to a text file, which is made where it is missing.

        A killed process may leave half of it.

        Raises:
            UserError: it cannot be written, or the disk is full.
        """
        path = self.path(name)
        with write_errors_told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def write_json(self, name: str, obj: Any) -> None:
        """Writes a JSON file as `write_text` does; numbers that are not finite become null."""
        self.write_text(name, json.dumps(_plain(obj), indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """What a JSON file of this run holds.

        Raises:
            UserError: it is missing, cannot be read, or is not JSON.
        """
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"cannot read {path}: it is not JSON ({error})") from error

    def _stored_record(self) -> dict[str, Any] | None:
        if not os.path.isfile(self.path(_CONFIG)):
            return None
        stored = self.read_json(_CONFIG)
        if (
            not isinstance(stored, dict)
            or not {"config", "earlier", *_ENVIRONMENT} <= stored.keys()
        ):
            raise UserError(f"{self.path(_CONFIG)} is not a run's; use another --workdir")
        return stored

    def _refuse_another(self, config: dict[str, Any], stored: dict[str, Any]) -> None:
        new, old = _dotted(config), _dotted(stored)
        changes = [
            f"{name} was {old.get(name, 'absent')} and is now {new.get(name, 'absent')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if changes:
            raise UserError(
                f"{self.folder} holds a run with another configuration: {'; '.join(changes)}; "
                "give the flags that it began with, another --workdir, or --overwrite to remove it"
            )

    def _remove_contents(self) -> None:
        with write_errors_told(self.folder):
            for name in _CONTENTS:
                path = self.path(name)
                # A link's target is not the run's to remove.
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            # Last, so that a removal that is cut short can be taken up again.
            self.path(_CONFIG).unlink()


class Metrics:
    """The numbers of one phase folder: `metrics.jsonl`, and TensorBoard scalars beside it.

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
        import tensorflow as tf

        self._path = Path(folder) / "metrics.jsonl"
        with write_errors_told(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._summary = tf.summary
        self._events = tf.summary.create_file_writer(str(folder))
        # tf.summary.scalar is TensorBoard's own, which TensorFlow 2.21 no longer installs.
        self._scalar = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
        self._scalar.plugin_data.plugin_name = "scalars"
        self.rewind(self._path.stat().st_size)

    def write(self, phase: str, *, step: int, epoch: int, **numbers: Any) -> None:
        """Adds a record to `metrics.jsonl`, and a scalar `phase/name` for each number.

        A record holds `phase`, `step`, `epoch`, `seconds` and the numbers. `seconds` counts the
        work in this folder; after a rewind it goes on from the last record kept.

        Args:
            phase: `child`, `controller`, `valid`, `test` or `train`.
            step: the phase's global step.
            epoch: the epoch that the step belongs to.
            **numbers: whatever `float` takes; what is not finite is written as null.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        seconds = self._seconds_before + time.monotonic() - self._start
        values = {name: float(value) for name, value in numbers.items()}
        record = {"phase": phase, "step": int(step), "epoch": int(epoch)}
        record["seconds"] = round(seconds, 3)
        record |= {name: v if math.isfinite(v) else None for name, v in values.items()}
        with write_errors_told(self._path):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
            with self._events.as_default(int(step)):
                for name, value in values.items():
                    self._summary.write(f"{phase}/{name}", value, metadata=self._scalar)

    def position(self) -> int:
        """The length of `metrics.jsonl` in bytes, flushed, for `rewind`."""
        self.flush()
        return self._path.stat().st_size

    def rewind(self, position: int) -> None:
        """Drops the records behind `position`, a value of `position()`.

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
        with write_errors_told(self._path):
            os.fsync(self._file.fileno())
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files; nothing can be written afterwards."""
        self.flush()
        with write_errors_told(self._path):
            self._file.close()
            self._events.close()


def _plain(obj: Any) -> Any:
    """The object as JSON gives it back: lists for tuples, null for what is not finite."""
    text = json.dumps(obj, default=lambda number: number.item())
    return json.loads(text, parse_constant=lambda name: None)


def _dotted(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested dicts as one, with dotted names, and values as text."""
    fields: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            fields |= _dotted(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = json.dumps(value)
    return fields


def _environment() -> dict[str, Any]:
    import keras
    import tensorflow as tf

    # Physical ones: asking for logical ones would fix their number too early.
    devices = tf.config.list_physical_devices()
    return {
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "enas_tf": __version__,
        },
        "devices": [device.name.removeprefix("/physical_device:") for device in devices],
    }


def _earlier_environments(record: dict[str, Any], stored: dict[str, Any]) -> list[dict[str, Any]]:
    old = {name: stored[name] for name in _ENVIRONMENT}
    changed = any(record[name] != old[name] for name in _ENVIRONMENT)
    return [*stored["earlier"], old] if changed else stored["earlier"]
