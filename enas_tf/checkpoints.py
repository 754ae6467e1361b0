"""Checkpoints that a killed process cannot leave half written."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from enas_tf.errors import UserError, one_line

_KEPT = 2

# What reading a damaged checkpoint raises; an IndexError where TensorFlow's file is cut short.
_DAMAGE = (OSError, ValueError, IndexError, AssertionError, tf.errors.OpError)


class Checkpoints:
    """The checkpoints of a phase: all variables and a few plain numbers, by step.

    Each is a folder of its own, written aside and renamed. The newest two are kept.

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
        self.write(f"step_{step:09d}", state)
        for path in self._paths()[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)

    def write(self, name: str, state: Mapping[str, object]) -> None:
        """Writes a checkpoint under a name of its own, in place of an earlier one."""
        path, aside = self.folder / name, self.folder / f".{name}.tmp"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            self._checkpoint.write(str(aside / "variables"))
            (aside / "state.json").write_text(json.dumps(state))
            if path.exists():
                path.rename(self.folder / f".{name}.old")
            aside.rename(path)
            shutil.rmtree(self.folder / f".{name}.old", ignore_errors=True)
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
        paths = self._paths()
        for path in reversed(paths):
            try:
                return self.read(path.name)
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

    def read(self, name: str) -> dict:
        """Restores a checkpoint by name; returns its state.

        Raises:
            UserError: it is missing, damaged, or holds other variables.
        """
        path = self.folder / name
        try:
            state = json.loads((path / "state.json").read_text())
            self._checkpoint.read(str(path / "variables")).assert_consumed()
        except _DAMAGE as error:
            raise UserError(f"the checkpoint {path} cannot be read ({one_line(error)})") from error
        return state

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"))
