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
        values = {id(link.variable): np.array(link.variable) for link in self.links}
        for link in self.links:
            part = values[id(link.variable)][link.ours]
            values[id(link.variable)][link.ours] = arrays[link.name][link.theirs].reshape(part.shape)
        for variable in self.variables(self.shapes):
            variable.assign(values[id(variable)])

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


class Comparison:
    """Compares with the original, and remembers the largest error of each quantity."""

    def __init__(self) -> None:
        self.errors: dict[str, float] = {}

    def close(self, quantity: str, ours, theirs, tolerance: float) -> None:
        """Asserts that the error is within the tolerance, as a part of the largest value.

        Args:
            quantity: what is compared; errors of equal quantities are taken together.
            ours: an array.
            theirs: an array of the same shape.
            tolerance: `VALUES`, `GRADIENTS` or `RATES`.
        """
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape, quantity
        # All zeros are to be met exactly.
        largest = np.max(np.abs(theirs)) or 1e-12
        self._keep(quantity, np.max(np.abs(ours - theirs)) / largest, tolerance)

    def each_close(self, quantity: str, ours: Mapping, theirs: Mapping, tolerance: float) -> None:
        """The same for each of the named arrays."""
        assert set(ours) == set(theirs)
        for name in theirs:
            self.close(quantity, ours[name], theirs[name], tolerance)

    def _keep(self, quantity: str, error: float, tolerance: float) -> None:
        self.errors[quantity] = max(self.errors.get(quantity, 0.0), float(error))
        assert error <= tolerance, f"{quantity}: relative error {error:.2e} over {tolerance:.0e}"


def norms(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The norm of each array."""
    return {name: np.linalg.norm(np.ravel(values)) for name, values in arrays.items()}
