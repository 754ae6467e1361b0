"""The weights that a final training starts from, if not from scratch; see `train.init`."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import keras

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.core.stores import Store, is_remote
from enas_tf.experiment.architectures import read_arc
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings, run_config
from enas_tf.layers.final_weights import Named
from enas_tf.training.checkpoints import Checkpoints, named_weights
from enas_tf.training.final_training import BEST
from enas_tf.training.run_folder import Run

SHARED = "shared"
"""The value of `train.init` that stands for the shared weights of the run's own search."""

_SHOWN_LAYERS = 6


class Origin(Protocol):
    """What a final training starts from."""

    @property
    def arc(self) -> tuple[Space, Arc] | None:
        """The architecture that it brings along, with a space that holds it; None: any."""

    def check(self, arc: Arc) -> None:
        """Raises UserError if the training of an architecture cannot start from it."""

    def initialize(self, network: keras.Model, arc: Arc) -> dict:
        """Gives a network, built for an architecture, the weights that fit.

        Returns:
            As of `take`.

        Raises:
            UserError: no weight fits, or a checkpoint cannot be read.
        """


class SearchOrigin:
    """The shared weights of the run's own search; see `Origin`.

    Args:
        settings: the settings of the run.
        workdir: the folder of the run.
        trained_supernet: restores the supernet from the search's newest checkpoint.
    """

    arc = None

    def __init__(
        self, settings: Settings, workdir: Path, trained_supernet: Callable[[], keras.Model]
    ) -> None:
        self._settings = settings
        self._workdir = workdir
        self._trained_supernet = trained_supernet

    def check(self, arc: Arc) -> None:
        """Raises UserError if the search is not finished, or would be removed."""
        common = self._settings.common
        if common.overwrite and common.arc is not None:
            raise UserError(
                "--overwrite would remove the search that train.init=shared starts from; leave it "
                "out, or use another --workdir"
            )
        if not Run(self._workdir).is_done("search"):
            raise UserError(
                f"train.init=shared: {self._workdir} holds no finished search; run the verb search "
                "first"
            )

    def initialize(self, network: keras.Model, arc: Arc) -> dict:
        """Gives a network the shared weights of its architecture."""
        child = self._settings.child
        final = self._settings.train.child(child)
        differing = [
            f"train.{name} is {getattr(final, name)} and child.{name} is {getattr(child, name)}"
            for part, name in _size_fields(self._settings)
            if part == "train" and getattr(final, name) != getattr(child, name)
        ]
        weights = self._trained_supernet().final_weights(arc, final)
        return take(network, weights, SHARED, differing)


class RunOrigin:
    """The trained network of another run, which is read and never written; see `Origin`.

    A training with a checkpoint of its own needs that run no more, and it may then be gone.

    Args:
        settings: the settings of the run whose training starts from it.
        workdir: the folder of that run.
        domain: the domain of its data.
        labels: returns the labels of its data.
    """

    def __init__(
        self, settings: Settings, workdir: Path, domain: Domain, labels: Callable[[], Sequence[str]]
    ) -> None:
        self._settings = settings
        self._workdir = workdir
        self._domain = domain
        self._labels = labels
        self._run = Run(settings.train.init)
        begun = Checkpoints(workdir / "train/checkpoints", {}).exist()
        self._is_needed = settings.common.overwrite or not begun

    @cached_property
    def arc(self) -> tuple[Space, Arc]:
        """The architecture of the trained network."""
        space = self._settings.space
        if not self._is_needed:
            return read_arc(space, Run(self._workdir).path("train/arc.txt").read_text())
        ops = self._config["space"].get("ops")
        return read_arc(space, self._run.read_json("train/result.json")["arc"], ops)

    def check(self, arc: Arc) -> None:
        """Raises UserError if there is no such training, or one of another kind of network."""
        if not self._is_needed:
            return
        _, brought = self.arc
        if brought != arc and self._settings.common.arc is None:
            raise UserError(
                f"the network in {self._run.folder} is not of the architecture that this run has "
                "derived; give the one to train by --arc, or leave out --train.init"
            )

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        """The settings that the run began with."""
        folder, config = self._run.folder, stored_config(self._run.folder)
        if config is None:
            raise UserError(f"train.init must be none, shared, or a run's folder, got {folder}")
        if folder.resolve() == self._workdir.resolve():
            raise UserError(
                f"train.init names the run itself; start from {folder} in another --workdir"
            )
        if _is_of_another_space(config, run_config(self._settings)):
            raise UserError(f"train.init: the run in {folder} is of another search space")
        if not self._run.is_done("train"):
            raise UserError(
                f"train.init: the run in {folder} has no finished training; finish it by the verb "
                "train there, or name another run"
            )
        return config

    def initialize(self, network: keras.Model, arc: Arc) -> dict:
        """Gives a network the best weights of the trained one."""
        own = named_weights("child", network.variables)
        stored = Checkpoints(self._run.path("train/checkpoints"), {}).read_arrays(BEST)
        weights = {own[name].path: array for name, array in stored.items() if name in own}
        notes, labels = self._differing(), list(self._labels())
        if self.arc[1] != arc:
            notes.append("its architecture is another one")
        old = self._run.read_text("labels.txt").removesuffix("\n").split("\n")
        if labels != old:
            weights, note = self._domain.relabel(weights, network, old, labels)
            notes.append(note)
        return take(network, weights, str(self._run.folder), notes)

    def _differing(self) -> list[str]:
        theirs = _sizes(self._config, self._settings)
        ours = _sizes(run_config(self._settings), self._settings)
        return [
            f"{name} is {size} and was {theirs[name]} there"
            for name, size in ours.items()
            if theirs.get(name, size) != size
        ]


def make_origin(
    settings: Settings,
    workdir: Path,
    domain: Domain,
    labels: Callable[[], Sequence[str]],
    trained_supernet: Callable[[], keras.Model],
) -> Origin | None:
    """Returns what `train.init` names, or None for a training from scratch.

    The arguments are those of `SearchOrigin` and `RunOrigin`.
    """
    if settings.train.init is None:
        return None
    if settings.train.init == SHARED:
        return SearchOrigin(settings, workdir, trained_supernet)
    return RunOrigin(settings, workdir, domain, labels)


def take(network: keras.Model, weights: Named, source: str, notes: Sequence[str]) -> dict:
    """Assigns weights to a network, and prints how many it took.

    The weights of a layer are taken together: only if all of them have the shapes of its own.

    Args:
        network: a final network.
        weights: weights by the paths of its variables; others are left out.
        source: where they come from, `shared` or the folder of a run.
        notes: what else to print.

    Returns:
        The source as `from`; the numbers of `variables` and of single `weights` that are trained,
        and how many of both were `taken_variables` and `taken_weights`; and the variables that
        were `drawn` anew. All without the auxiliary head, whose weights are taken but not counted.

    Raises:
        UserError: none fits.
    """
    added = "".join(f"; {note}" for note in notes)
    own = {variable.path: variable for variable in network.variables}
    given = {path: weight for path, weight in weights.items() if path in own}
    unfit = {_layer(p) for p, weight in given.items() if weight.shape != tuple(own[p].shape)}
    fitting = {path: weight for path, weight in given.items() if _layer(path) not in unfit}
    trained = {v.path: math.prod(v.shape) for v in network.trainable_variables}
    # Parameters are counted without the auxiliary head everywhere.
    trained = {path: size for path, size in trained.items() if _layer(path) != "aux_head"}
    taken, drawn = [p for p in trained if p in fitting], [p for p in trained if p not in fitting]
    if not taken:
        raise UserError(
            f"train.init={source}: no weight there fits the network to train, so sizes must be set "
            f"alike{added}"
        )
    for path, weight in fitting.items():
        own[path].assign(weight)
    found = {
        "from": source,
        "taken_variables": len(taken),
        "variables": len(trained),
        "taken_weights": sum(trained[path] for path in taken),
        "weights": sum(trained.values()),
    }
    print(_summary(found, list(dict.fromkeys(map(_layer, drawn)))) + added)
    return found | {"drawn": drawn}


def _layer(path: str) -> str:
    return path.split("/")[0]


def _summary(found: Mapping[str, Any], drawn: Sequence[str]) -> str:
    """Returns what was taken, and the first layers with weights drawn anew, as one line."""
    source = "the shared weights" if found["from"] == SHARED else found["from"]
    line = (
        f"train: starts from {source}: {found['taken_variables']:,} of {found['variables']:,} "
        f"variables, {found['taken_weights']:,} of {found['weights']:,} weights"
    )
    if not drawn:
        return line
    more = len(drawn) - _SHOWN_LAYERS
    rest = f" and {more} more (train/init.json has all)" if more > 0 else ""
    return f"{line}; drawn anew: {', '.join(drawn[:_SHOWN_LAYERS])}{rest}"


def inherited_sizes(settings: Settings, workdir: str) -> dict[str, Any]:
    """Returns the sizes of the network that `train.init` names, by their flags' names.

    A run that has begun keeps its own, also where the run that it started from is gone.

    Args:
        settings: the settings of the run, of which only `train.init` and `overwrite` count.
        workdir: the folder of the run, or its address.
    """
    init = settings.train.init
    if init in (None, SHARED):
        return {}
    own = None if settings.common.overwrite else stored_config(workdir)
    begun = own is not None and own["train"].get("init") == init
    config = own if begun else stored_config(init)
    return _sizes(config, settings) if config else {}


def stored_config(folder: Path | str) -> dict[str, Any] | None:
    """Returns the settings of the run in a folder or a store, or None if there is no run.

    Raises:
        UserError: the store cannot be read.
    """
    name = "config.json"
    try:
        content = Store(folder).read(name) if is_remote(folder) else Path(folder, name).read_bytes()
        return json.loads(content)["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sizes(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Returns those of stored settings that decide the final network, by their flags' names."""
    return {
        f"{part}.{name}": config[part][name]
        for part, name in _size_fields(settings)
        if name in config.get(part, {})
    }


def _size_fields(settings: Settings) -> list[tuple[str, str]]:
    """Returns the parts and names of the settings that decide the final network."""
    return [
        (part, name.rpartition(".")[2])
        for name, part, field in settings.named_fields()
        if field.metadata.get("is_size")
    ]


def _is_of_another_space(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether each has options of its child network that the other lacks.

    Runs of an earlier version may lack options, but have none of their own.
    """
    ours, theirs = (config.get("child", {}).keys() for config in (one, other))
    return bool(ours - theirs and theirs - ours)
