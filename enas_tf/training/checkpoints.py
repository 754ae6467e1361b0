"""Checkpoints, which a killed process never leaves half written."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from enas_tf.core.errors import UserError, one_line

FORMAT = 2
"""The format of checkpoints, which `state.json` records.

Format 1, which did not record it, named variables by their places.
"""

_KEPT = 2
_STEP = "step"

# Where TensorFlow keeps the names that variables were written with.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

# The errors that a damaged checkpoint raises; IndexError if TensorFlow's file is cut short.
_DAMAGE = (OSError, ValueError, IndexError, AssertionError, tf.errors.OpError)


class OtherFormat(UserError):
    """Raised for a checkpoint that a version of the project with another format has written."""


def named_weights(group: str, weights: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Returns weights by name: the names of a weight's layers, then its own.

    Keras numbers layers without a name of their own, over all layers that a process creates. To
    make names the same in every process, each kind of layer is numbered anew, from its first one
    among the given weights.

    Args:
        group: prefix of each name, such as `child`.
        weights: the weights of a network or a controller.

    Raises:
        ValueError: two weights would have the same name.
    """
    weights = list(weights)
    firsts: dict[str, int] = {}
    for weight in weights:
        for base, number in map(_split_number, weight.path.split("/")):
            firsts[base] = min(number, firsts.get(base, number))

    def renumbered(part: str) -> str:
        base, number = _split_number(part)
        if not firsts[base]:
            return part
        return f"{base}_{number - firsts[base]}" if number > firsts[base] else base

    named = {}
    for weight in weights:
        path = "/".join(map(renumbered, weight.path.split("/")))
        if path in named:
            raise ValueError(f"two weights are called {weight.path}; give their layers names")
        named[path] = weight
    return {f"{group}/{path}": weight for path, weight in named.items()}


def named_slots(
    group: str, optimizer: keras.optimizers.Optimizer, weights: Mapping[str, keras.Variable]
) -> dict[str, keras.Variable]:
    """Returns an optimizer's variables by name; a slot, such as a momentum, is named by its weight.

    Args:
        group: prefix of each name, such as `optimizer`.
        optimizer: an optimizer that has been built.
        weights: the weights that it trains, by the names that `named_weights` returns.

    Raises:
        ValueError: two variables would have the same name.
    """
    # Keras names a slot by its weight's path, with underscores in place of slashes.
    names = {weight.path.replace("/", "_"): name for name, weight in weights.items()}
    named = {}
    for variable in optimizer.variables:
        path, _, slot = variable.path.rpartition("/")
        owner = max((flat for flat in names if slot.startswith(f"{flat}_")), key=len, default=None)
        if owner:
            name = f"{slot.removeprefix(owner)[1:]}/{names[owner]}"
        else:
            name = f"{_split_number(path)[0]}/{slot}"
        if name in named:
            raise ValueError(f"two variables of an optimizer are called {name}")
        named[name] = variable
    return {f"{group}/{name}": variable for name, variable in named.items()}


def _split_number(name: str) -> tuple[str, int]:
    """Splits a name from the number after it; the number is 0 if there is none."""
    base, number = re.fullmatch(r"(.+?)(?:_(\d+))?", name).groups()
    return base, int(number or 0)


def _arrays(path: str) -> dict[str, np.ndarray]:
    """Reads the values of a checkpoint's variables, by the names that they were written with."""
    reader = tf.train.load_checkpoint(path)
    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    nodes = graph.nodes
    (named,) = (child.node_id for child in nodes[0].children if child.local_name == "variables")
    return {
        child.local_name: reader.get_tensor(nodes[child.node_id].attributes[0].checkpoint_key)
        for child in nodes[named].children
    }


class Checkpoints:
    """The checkpoints of a phase, by kind and step; each holds all variables and a plain state.

    Each is a folder of its own, written under another name and then renamed. Checkpoints of the
    kind that `save` writes and `restore` reads are for resuming; the newest two of them are kept.

    Args:
        folder: the folder that holds them; created if it is missing.
        variables: all variables of a checkpoint, by name. They are named one by one, since
            `tf.train.Checkpoint` overlooks Keras layers in plain lists.
    """

    def __init__(self, folder: Path, variables: Mapping[str, tf.Variable]) -> None:
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(variables=dict(variables))

    def save(self, step: int, state: Mapping[str, object]) -> None:
        """Writes a checkpoint to resume from, and removes all but the newest two.

        Args:
            step: number of steps that have been taken.
            state: further values, which must be representable in JSON.

        Raises:
            UserError: the folder cannot be written, or the disk is full.
        """
        self.write(_STEP, step, state)
        for path in self._paths(_STEP)[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, kind: str, step: int) -> None:
        """Removes all checkpoints of a kind except that of a step."""
        for path in self._paths(kind):
            if path != self._path(kind, step):
                shutil.rmtree(path, ignore_errors=True)

    def write(self, kind: str, step: int, state: Mapping[str, object]) -> None:
        """Writes a checkpoint of any kind; replaces an earlier one of the same step.

        Raises:
            UserError: as for `save`.
        """
        path = self._path(kind, step)
        # Written under a hidden name and renamed when it is whole: a killed process leaves either
        # the whole checkpoint or none of this name.
        aside, old = (path.with_name(f".{path.name}.{end}") for end in ("tmp", "old"))
        # Leftovers of killed processes.
        for left in self.folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self._checkpoint.write(str(aside / "variables"))
            (aside / "state.json").write_text(json.dumps({"format": FORMAT, "state": state}))
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
        """Restores the newest readable checkpoint that `save` has written.

        A checkpoint that cannot be read is renamed, with a warning, and the one before it is tried.

        Returns:
            The state of the checkpoint, or None if there is no checkpoint.

        Raises:
            OtherFormat: the newest readable one has the format of another version.
            UserError: there are checkpoints, but none can be read.
        """
        paths = self._paths(_STEP)
        for path in reversed(paths):
            try:
                return self._read(path)
            except OtherFormat:
                raise
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
        """Restores the newest checkpoint of a kind and returns its state.

        Raises:
            UserError: there is none, or it is damaged, has the format of another version, or
                holds other variables.
        """
        return self._read(self._newest(kind))

    def read_arrays(self, kind: str) -> dict[str, np.ndarray]:
        """Reads the newest checkpoint of a kind as arrays; no variable has to be there for it.

        Returns:
            The values of all its variables, by the names that they were written with.

        Raises:
            UserError: there is none, or it is damaged or has the format of another version.
        """
        arrays: dict[str, np.ndarray] = {}
        self._read(self._newest(kind), lambda path: arrays.update(_arrays(path)))
        return arrays

    def exist(self) -> bool:
        """Returns whether there is a checkpoint to resume from."""
        return bool(self._paths(_STEP))

    def _newest(self, kind: str) -> Path:
        paths = self._paths(kind)
        if not paths:
            raise UserError(
                f"{self.folder} holds no checkpoint of the kind {kind}; --overwrite starts the run "
                "afresh"
            )
        return paths[-1]

    def _read_variables(self, path: str) -> None:
        self._checkpoint.read(path).assert_consumed()

    def _read(self, path: Path, read: Callable[[str], None] | None = None) -> dict:
        read = read or self._read_variables
        try:
            stored = json.loads((path / "state.json").read_text())
            self._refuse_other_format(path, stored.get("format", 1))
            read(str(path / "variables"))
        except OtherFormat:
            raise
        except _DAMAGE as error:
            raise UserError(f"the checkpoint {path} cannot be read ({one_line(error)})") from error
        return stored["state"]

    def _refuse_other_format(self, path: Path, found: object) -> None:
        if found != FORMAT:
            raise OtherFormat(
                f"the checkpoint {path} is of format {found}, and this version of enas_tf reads "
                f"format {FORMAT}: go on with the version that wrote it (config.json names it), or "
                "start afresh: --overwrite with the verb search, with none, or with train and --arc"
            )

    def _path(self, kind: str, step: int) -> Path:
        return self.folder / f"{kind}_{step:09d}"

    def _paths(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}_*"))
