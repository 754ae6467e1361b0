"""Reference cases: what the authors' code computed, found on disk, loaded and compared with."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

VALUES = 3e-5
"""Tolerance of logits, losses, states, log-probabilities, entropies and penalties."""

GRADIENTS = 1e-4
"""Tolerance of gradients, norms, and weights after steps."""

RATES = 1e-6
"""Tolerance of learning rates."""


def root() -> Path:
    """The folder of all cases."""
    named = os.environ.get("ENAS_TF_REFERENCE")
    return Path(named) if named else Path(__file__).parents[2] / "../shared/reference"


def cases(kind: str) -> list:
    """All cases of a kind, to parametrise by; skipped with a reason where there are none."""
    folders = sorted(meta.parent for meta in root().glob(f"{kind}*/meta.json"))
    if folders:
        return [pytest.param(folder, id=folder.name) for folder in folders]
    reason = (
        f"NO REFERENCE DATA: {root()} has no folder {kind}*; "
        "set ENAS_TF_REFERENCE to a folder that has"
    )
    return [pytest.param(None, id=kind, marks=pytest.mark.skip(reason=reason))]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        meta: the original's configuration and the order of its variables.
        variables: the original's weights by name.
        inputs: images, labels, architectures.
        outputs: what the original computed from them.
    """

    meta: dict
    variables: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    @classmethod
    def load(cls, folder: Path) -> "Case":
        """Reads a case's folder."""
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        names = "variables", "inputs", "outputs"
        return cls(meta, *(dict(np.load(folder / f"{name}.npz")) for name in names))

    @property
    def config(self) -> dict:
        """The original's configuration."""
        return self.meta["config"]

    def arcs(self) -> list[np.ndarray]:
        """The tokens of `arc0`, `arc1`, ..."""
        return [self.inputs[f"arc{number}"] for number in self._count(self.inputs, "arc{}")]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The outputs whose names start with this, by the rest of their names."""
        found = self.outputs.items()
        return {key.removeprefix(prefix): v for key, v in found if key.startswith(prefix)}

    def num_steps(self, key: str) -> int:
        """How many of `step0`, `step1`, ... have an output of this name."""
        return len(self._count(self.outputs, f"step{{}}/{key}"))

    @staticmethod
    def _count(names: Iterable[str], pattern: str) -> range:
        number = 0
        while pattern.format(number) in names:
            number += 1
        return range(number)


class Link(NamedTuple):
    """A part of one of the original's variables, and the part of one of ours that it is."""

    name: str
    variable: keras.Variable
    ours: tuple = (...,)
    theirs: tuple = (...,)


class NameMap:
    """The original's variables by name, and where they lie in ours.

    Args:
        links: one for each part; together they hold every number of both exactly once.
        arrays: the original's variables, by name.
    """

    def __init__(self, links: Iterable[Link], arrays: Mapping[str, np.ndarray]) -> None:
        self.links = list(links)
        self.shapes = {link.name: arrays[link.name].shape for link in self.links}

    def variables(self, names: Iterable[str]) -> list[keras.Variable]:
        """Our variables that hold these of the original, each once."""
        names = set(names)
        links = [link for link in self.links if link.name in names]
        return list({id(link.variable): link.variable for link in links}.values())

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Gives our variables the original's values."""
        variables = self.variables(self.shapes)
        for variable, value in zip(variables, self.place(variables, arrays), strict=True):
            variable.assign(value)

    def place(self, variables: Sequence[keras.Variable], arrays: Mapping) -> list[np.ndarray]:
        """The converse of `read`: from the original's arrays to one for each variable."""
        placed = {id(variable): np.zeros(variable.shape, np.float32) for variable in variables}
        for link in self.links:
            if id(link.variable) in placed:
                ours = placed[id(link.variable)]
                ours[link.ours] = arrays[link.name][link.theirs].reshape(ours[link.ours].shape)
        return [placed[id(variable)] for variable in variables]

    def read(self, variables: Sequence[keras.Variable], arrays: Sequence) -> dict:
        """Arrays that belong to variables of ours, as the original has them.

        Args:
            variables: ours.
            arrays: for each variable one of its shape: values, gradients or momenta.

        Returns:
            For each of the original's variables an array of its shape.
        """
        by_variable = {id(v): np.asarray(a) for v, a in zip(variables, arrays, strict=True)}
        links = [link for link in self.links if id(link.variable) in by_variable]
        found = {link.name: np.full(self.shapes[link.name], np.nan, np.float32) for link in links}
        for link in links:
            theirs = found[link.name]
            part = by_variable[id(link.variable)][link.ours]
            theirs[link.theirs] = part.reshape(theirs[link.theirs].shape)
        return found

    def check(self, variables: Sequence[keras.Variable], names: Iterable[str]) -> None:
        """Asserts that these variables of ours and of the original are the same numbers."""
        counts = {id(variable): np.zeros(variable.shape, int) for variable in variables}
        for link in self.links:
            if id(link.variable) in counts:
                counts[id(link.variable)][link.ours] += 1
        for variable in variables:
            assert np.all(counts[id(variable)] == 1), variable.path
        found = self.read(variables, [np.array(variable) for variable in variables])
        assert set(found) == set(names)
        assert not [name for name, values in found.items() if np.isnan(values).any()]


def error(ours, theirs, each: bool = False) -> float:
    """The largest error, as a part of the largest value, or with `each` of each value.

    A value under a hundredth of the largest counts as that: the gradient of an offset whose only
    effect a later batch norm takes away is decay and rounding.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    largest = np.max(np.abs(theirs))
    largest = np.maximum(np.abs(theirs), 1e-2 * largest) if each else largest
    # A zero is to be met exactly.
    return float(np.max(np.abs(ours - theirs) / np.where(largest == 0, 1e-30, largest)))


class Comparison:
    """Compares with the original, and remembers the error of each quantity.

    Attributes:
        report: for each quantity, its error in words.
    """

    def __init__(self) -> None:
        self.report: dict[str, str] = {}

    def check(self, key: str, ours, theirs, tolerance: float) -> None:
        """Asserts that the error is within the tolerance.

        Args:
            key: the quantity's name; norms are compared one by one, each to its own value.
            ours: an array.
            theirs: an array of the same shape.
            tolerance: `VALUES`, `GRADIENTS` or `RATES`.
        """
        found = error(ours, theirs, each=key.endswith("norms"))
        self.report[key] = f"{found:.1e}"
        assert found <= tolerance, f"{key}: error {found:.1e} is over {tolerance:.0e}"
