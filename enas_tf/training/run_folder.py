"""The folder of a run: its configuration and its files."""

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from enas_tf import __version__
from enas_tf.core.errors import UserError
from enas_tf.training.trackers import Tracker

_CONFIG = "config.json"
_FLAGS = "flags.txt"
_DONE = "done.json"
MLFLOW = "mlflow.json"
"""The file of `MlflowTracker` in a run's folder."""

Phase = Literal["search", "derive", "train", "export"]
"""The phases of a run, in order; a phase that is done is skipped."""

# What a run writes to its folder besides config.json.
_CONTENTS = (_FLAGS, _DONE, "search", "train", "export", "labels.txt", "arcs.json", "arc.txt")
_CONTENTS += ("truth.json", "derive", "compare", "compare.json", "report.html", "events.*")
_CONTENTS += ("latency.json", "sweep", "sweep.json", MLFLOW)

# The parts of config.json that may change when a run is resumed.
_ENVIRONMENT = ("versions", "devices")


@contextmanager
def raise_write_errors(path: Path) -> Iterator[None]:
    """Turns write errors of the operating system into a UserError with one clear line.

    Args:
        path: the file or folder that is written in the context.

    Raises:
        UserError: the disk is full, or the path cannot be written.
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if not isinstance(error, OSError) or error.errno in full:
            raise UserError(
                f"the disk is full: cannot write {path}; free some space and give the same "
                "command again: it goes on from the last checkpoint"
            ) from error
        raise UserError(
            f"cannot write {path} ({error.strerror}: {error.filename or path}); "
            "use a --workdir that can be written"
        ) from error


class Run:
    """The folder of a run and the files in it; `Run.open` creates or reopens one.

    Attributes:
        folder: path of the folder.
        tracker: what follows the run elsewhere; nothing until it is set.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.tracker = Tracker()

    @classmethod
    def open(
        cls,
        workdir: Path | str,
        config: dict[str, Any],
        flags: Sequence[str] = (),
        overwrite: bool = False,
        free: Sequence[str] = (),
        defaults: dict[str, Any] | None = None,
    ) -> "Run":
        """Creates the folder of a new run, or resumes the run that it holds.

        `config.json` holds `config`, its `seed`, the `versions` of Python, TensorFlow, Keras and
        enas_tf, the physical `devices`, and under `earlier` the versions and devices that a change
        has replaced. TensorBoard shows `config` as hyper-parameters. `flags.txt` holds the flags
        that a new run began with, one per line, for `--flagfile`.

        Args:
            workdir: the folder; created with its parents if it is missing.
            config: nested dicts of plain values.
            flags: the flags that make this run; without any, `flags.txt` is not written.
            overwrite: whether to remove the run that the folder holds. Only what a run writes is
                removed, and only if a run's config.json shows that there was one.
            free: top-level names in `config` whose values may differ when a run is resumed; the
                run keeps the values that it began with.
            defaults: nested values for what the stored config lacks, since a version of enas_tf
                wrote it that did not have these settings; they are then added to it.

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
            kept = _filled(stored["config"], _plain(defaults or {}))
            run._refuse_another(config, kept, free)
            config = kept
        record = {"config": config, "seed": config.get("seed"), **_environment()}
        record["earlier"] = _earlier_environments(record, stored) if stored else []
        # Before config.json, which makes the folder a run's, so that no run is without its flags.
        if not stored and flags:
            run.write_text(_FLAGS, "".join(f"{flag}\n" for flag in flags))
        # Only where it changes, so that a run can be read from a folder that cannot be written.
        if record != stored:
            run.write_json(_CONFIG, record)
        if not stored:
            _write_hparams(run.folder, config)
        return run

    def path(self, *parts: str) -> Path:
        """Returns the path of a file or folder of this run; creates nothing."""
        return self.folder.joinpath(*parts)

    def part(self, name: str) -> "Run":
        """Returns a folder of this run that is a run itself."""
        part = Run(self.path(name))
        part.tracker = self.tracker.of_part()
        return part

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all: a killed process leaves the earlier file, if any.

        Args:
            name: path below the run's folder; missing folders are created.
            text: the content, written as UTF-8.

        Raises:
            UserError: the file cannot be written, or the disk is full.
        """
        path = self.path(name)
        # Written under another name and renamed, which replaces the earlier file in one step. The
        # process' number keeps processes that write the same file apart.
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with raise_write_errors(path):
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
        """Adds a line to a text file, which is created if it is missing.

        A killed process may leave an incomplete line.

        Raises:
            UserError: the file cannot be written, or the disk is full.
        """
        path = self.path(name)
        with raise_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def write_json(self, name: str, obj: Any) -> None:
        """Writes a JSON file, as `write_text` does; numbers that are not finite become null."""
        self.write_text(name, json.dumps(_plain(obj), indent=2) + "\n")

    def read_text(self, name: str) -> str:
        """Reads a text file of this run.

        Raises:
            UserError: the file is missing or cannot be read.
        """
        path = self.path(name)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"cannot read {path}: it is not text in UTF-8") from error

    def read_json(self, name: str) -> Any:
        """Reads a JSON file of this run.

        Raises:
            UserError: the file is missing, cannot be read, or is not JSON.
        """
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"cannot read {path}: it is not JSON ({error})") from error

    def mark_done(self, phase: Phase, outputs: Sequence[str], **facts: Any) -> None:
        """Records in `done.json` that a phase is done.

        Call this when the phase's outputs are complete. A process that is killed just before this
        record does the phase again, which must do no harm.

        Args:
            phase: name of the phase.
            outputs: paths, below the run's folder, of the outputs that later phases need.
            **facts: what the phase was done for, such as an architecture; plain values.

        Raises:
            UserError: the file cannot be written, or the disk is full.
        """
        marks = self._marks() | {phase: {"outputs": [*outputs], "facts": facts}}
        self.write_json(_DONE, marks)
        self.tracker.marked()

    def is_done(self, phase: Phase, **facts: Any) -> bool:
        """Returns whether a phase is done and its outputs still exist.

        Args:
            phase: name of the phase.
            **facts: what the phase must have been done for; any other facts are ignored.
        """
        mark = self._marks().get(phase)
        return (
            mark is not None
            and all(self.path(name).exists() for name in mark["outputs"])
            and facts.items() <= mark["facts"].items()
        )

    def done_facts(self, phase: Phase) -> dict[str, Any] | None:
        """Returns what a phase was done for, or None if it is not done."""
        return self._marks()[phase]["facts"] if self.is_done(phase) else None

    def _marks(self) -> dict[str, dict[str, Any]]:
        return self.read_json(_DONE) if self.path(_DONE).exists() else {}

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

    def _refuse_another(
        self, config: dict[str, Any], stored: dict[str, Any], free: Sequence[str]
    ) -> None:
        new, old = (
            {name: value for name, value in one.items() if name not in free}
            for one in (config, stored)
        )
        if changes := differences(old, new):
            kept = f" (--flagfile={self.path(_FLAGS)})" if self.path(_FLAGS).exists() else ""
            raise UserError(
                f"{self.folder} holds a run with another configuration: {changes}; "
                f"give the flags that it began with{kept}, another --workdir, or --overwrite to "
                "remove it"
            )

    def _remove_contents(self) -> None:
        with raise_write_errors(self.folder):
            for path in (path for name in _CONTENTS for path in self.folder.glob(name)):
                # Of a link only the link is removed: its target may not belong to the run.
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            # Last, so that an interrupted removal can be repeated.
            self.path(_CONFIG).unlink()


def json_line(obj: Any) -> str:
    """Returns an object as one line of JSON; numbers that are not finite become null."""
    return json.dumps(_plain(obj))


def _write_hparams(folder: Path, config: dict[str, Any]) -> None:
    """Writes the configuration for TensorBoard, which uses it to compare runs.

    TensorBoard assigns the metrics of the phases to it, since their folders are in `folder`.
    """
    values = {name: json.loads(text) for name, text in dotted(config).items()}
    # TensorBoard supports neither null nor lists.
    shown = {n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}
    with raise_write_errors(folder), tf.summary.create_file_writer(str(folder)).as_default():
        # The folder tells runs with the same configuration apart.
        hparams.hparams(shown, trial_id=str(folder))


def _plain(obj: Any) -> Any:
    """Returns an object as JSON would return it: lists for tuples, None for what is not finite."""
    text = json.dumps(obj, default=lambda number: number.item())
    return json.loads(text, parse_constant=lambda name: None)


def _filled(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns nested dicts with what they lack of others."""
    filled = dict(config)
    for name, value in defaults.items():
        if isinstance(value, dict):
            filled[name] = _filled(filled.get(name, {}), value)
        else:
            filled.setdefault(name, value)
    return filled


def dotted(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flattens nested dicts into one, with dotted names and with values as JSON text."""
    fields: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            fields |= dotted(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = json.dumps(value)
    return fields


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Returns in words which settings differ; nothing if none does."""
    old, new = dotted(old), dotted(new)
    return "; ".join(
        f"{name} was {old.get(name, 'absent')} and is now {new.get(name, 'absent')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _environment() -> dict[str, Any]:
    # Physical devices: listing logical ones would fix their number too early.
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
