"""Checkpoints that a killed process cannot leave half written."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from enas_tf.errors import UserError, one_line

_KEPT = 2
_STEP = "step"

# What reading a damaged checkpoint raises; an IndexError where TensorFlow's file is cut short.
_DAMAGE = (OSError, ValueError, IndexError, AssertionError, tf.errors.OpError)


class Checkpoints:
    """The checkpoints of a phase: all variables and a few plain numbers, by kind and step.

    Each is a folder of its own, written aside and renamed. Those of the kind that `save` writes
    and `restore` reads are for going on; the newest two of them are kept.

    Args:
        folder: where they lie; made where it is missing.
        variables: all that a checkpoint holds, by name. Every one is named, since
            `tf.train.Checkpoint` overlooks Keras layers that lie in plain lists.
    """

    def __init__(self, folder: Path, variables: Mapping[str, tf.Variable]) -> None:
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(variables=dict(variables))

    def save(self, step: int, state: Mapping[str, object]) -> None:
        """Writes the variables and `state`, which JSON must be able to hold.

        Raises:
            UserError: the folder cannot be written, or the disk is full.
        """
        self.write(_STEP, step, state)
        for path in self._paths(_STEP)[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, kind: str, step: int) -> None:
        """Removes all checkpoints of a kind but the one of a step."""
        for path in self._paths(kind):
            if path != self._path(kind, step):
                shutil.rmtree(path, ignore_errors=True)

    def write(self, kind: str, step: int, state: Mapping[str, object]) -> None:
        """Writes a checkpoint of any kind, in place of an earlier one of the same step.

        Raises:
            UserError: as `save`.
        """
        path = self._path(kind, step)
        aside, old = (path.with_name(f".{path.name}.{end}") for end in ("tmp", "old"))
        # What killed processes have left.
        for left in self.folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self._checkpoint.write(str(aside / "variables"))
            (aside / "state.json").write_text(json.dumps(state))
            if path.exists():
                path.rename(old)
            aside.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise UserError(
                f"cannot write the checkpoint {path} ({one_line(error)}); earlier ones are kept: "
                "make room or give the folder back its rights, then give the same command again"
            ) from error

    def restore(self) -> dict | None:
        """Restores the newest checkpoint that can be read.

        One that cannot is renamed out of the way with a warning, and the one before is taken.

        Returns:
            Its state, or None if there is no checkpoint.

        Raises:
            UserError: there are checkpoints, but none can be read.
        """
        paths = self._paths(_STEP)
        for path in reversed(paths):
            try:
                return self._read(path)
            except UserError as error:
                damaged = path.with_name(f"damaged_{path.name}")
                shutil.rmtree(damaged, ignore_errors=True)
                path.rename(damaged)
                print(f"warning: {error}; moved to {damaged}", file=sys.stderr)
        if paths:
            raise UserError(
                f"no checkpoint in {self.folder} can be read; --overwrite starts the run afresh"
            )
        return None

    def read_newest(self, kind: str) -> dict:
        """Restores the newest checkpoint of a kind; returns its state.

        Raises:
            UserError: there is none, or it is damaged or holds other variables.
        """
        paths = self._paths(kind)
        if not paths:
            raise UserError(
                f"{self.folder} holds no checkpoint of the kind {kind}; --overwrite starts the run "
                "afresh"
            )
        return self._read(paths[-1])

    def _read(self, path: Path) -> dict:
        try:
            state = json.loads((path / "state.json").read_text())
            self._checkpoint.read(str(path / "variables")).assert_consumed()
        except _DAMAGE as error:
            raise UserError(f"the checkpoint {path} cannot be read ({one_line(error)})") from error
        return state

    def _path(self, kind: str, step: int) -> Path:
        return self.folder / f"{kind}_{step:09d}"

    def _paths(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}_*"))
