"""Trains one architecture with several settings of the final training, to find the best of them."""

import hashlib
import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path
from typing import Any
from urllib.parse import quote

from enas_tf.core.errors import UserError
from enas_tf.core.stores import is_remote
from enas_tf.experiment.architectures import derived_arc, given_arc
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.initial_weights import SHARED
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings, flag_text
from enas_tf.experiment.several import SeveralRuns
from enas_tf.training.metric_writer import metric_text
from enas_tf.training.run_folder import Run

_PREFIX, _FOLDER = "train.", "sweep"

# File systems allow 255 bytes; a table with longer names could not be read either.
_LONGEST_NAME = 150


@dataclass(frozen=True)
class Combination:
    """A combination of the values that a sweep varies.

    Attributes:
        values: by the names of their flags.
        settings: those of its training, these values among them.
    """

    values: Mapping[str, Any]
    settings: Settings

    @classmethod
    def of(cls, names: Iterable[str], settings: Settings) -> "Combination":
        """Returns the combination that settings have, given the names that a sweep varies."""
        values = {
            name: getattr(getattr(settings, part), field.name)
            for name, part, field in settings.named_fields()
        }
        return cls({name: values[name] for name in names}, settings)

    def folder(self, workdir: str) -> str:
        """Returns its folder, given that of the sweep."""
        return f"{workdir.rstrip('/')}/{_FOLDER}/{self.name}"

    @property
    def name(self) -> str:
        """The name of its folder, such as `lr_max=0.05,keep_prob=0.8`; cut short if too long."""
        # A value may be the path of a run, whose slashes cannot be in a folder's name.
        texts = {name: quote(flag_text(value), safe="+") for name, value in self.values.items()}
        name = ",".join(f"{name.removeprefix(_PREFIX)}={text}" for name, text in texts.items())
        if len(name) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def read_grid(text: str) -> list[dict[str, str]]:
    """Reads the value of `--sweep`, such as `train.lr_max=0.025,0.05 train.keep_prob=0.8,1.0`.

    Returns:
        All combinations: in each the text of a value of every setting, by the name of its flag.

    Raises:
        UserError: it is not of this form, or names other settings than those of the final training.
    """
    grid: dict[str, list[str]] = {}
    for part in text.split() or [""]:
        name, _, values = part.partition("=")
        if not all(values.split(",")):
            raise UserError(
                "--sweep takes NAME=VALUE,VALUE for each setting, separated by blanks, such as "
                f'--sweep="train.lr_max=0.025,0.05 train.keep_prob=0.8,1.0"; got {part!r}'
            )
        if not name.startswith(_PREFIX):
            raise UserError(f"--sweep varies settings of the final training, train.*; got {name}")
        if name in grid:
            raise UserError(f"--sweep has {name} twice; give all of its values at once")
        grid[name] = values.split(",")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


class Sweep(SeveralRuns):
    """The final training of one architecture with each combination of some settings.

    Each is a run of its own, in a folder below `sweep/`; `sweep.json` beside this ranks them by the
    validation split. The architecture is that of `--arc`, else the one of the run that `train.init`
    names, else the one that the run in the workdir has derived; where these could differ, it must
    be given.

    Args:
        recipe: the recipe to run.
        settings: the settings without those that are varied.
        combinations: what to train with.

    Raises:
        UserError: there is no such architecture, or the combinations cannot be compared.
    """

    label, index_flag = "sweep", "sweep_index"

    def __init__(
        self, recipe: Recipe, settings: Settings, combinations: Sequence[Combination]
    ) -> None:
        _check(combinations, settings.workdir(recipe.name))
        self._combinations = {one.name: one for one in combinations}
        index, count = settings.common.sweep_index, len(self._combinations)
        if index not in ("auto", None) and int(index) >= count:
            raise UserError(f"sweep_index must be below the {count} combinations, got {index}")
        workdir = settings.workdir(recipe.name)
        arc = _architecture(recipe, settings, combinations, Path(workdir))
        runs = {}
        for name, one in self._combinations.items():
            changes = {"sweep": None, "sweep_index": "auto", "arc": arc}
            own = replace(one.settings.common, workdir=one.folder(workdir), **changes)
            runs[name] = replace(one.settings, common=own)
        super().__init__(recipe, settings, runs, methodcaller("train_once"), "train")

    def make_shared(self) -> Experiment:
        """Loads the data, and checks that each of the trainings can run; see `SeveralRuns`."""
        shared = super().make_shared()
        _ = shared.data
        for own in self.runs.values():
            Experiment(self.recipe, own, beside=shared).check_training()
        return shared

    def report(self, done: Mapping[str, Run], folder: Path | None) -> None:
        """Prints a table of the trainings, and writes `sweep.json`; see `SeveralRuns`."""
        if not done:
            return
        domain = self.recipe.domain
        metric = domain.metric(self.settings)
        records = {
            name: {"folder": f"{_FOLDER}/{name}", "settings": dict(one.values)}
            for name, one in self._combinations.items()
        }
        trained = [records.pop(name) | _result(run) for name, run in done.items()]
        ranked = rank(trained, metric, domain.lower_is_better)
        if folder:
            result = {"metric": metric, "trained": ranked, "failed": [*records.values()]}
            Run(folder).write_json("sweep.json", result)
        print(f"sweep: best {metric} on the validation split first; the test split decides nothing")
        print(*table(ranked, metric), sep="\n")
        if ranked[0]["best_valid"][metric] is None:
            return
        best = Path(self.workdir, ranked[0]["folder"])
        flagfile = shlex.quote(f"--flagfile={best / 'flags.txt'}")
        print(
            f"sweep: {best.name} is the best, in {best}; export it by: "
            f"python -m launchers.{self.recipe.name} export {flagfile}"
        )


def rank(trained: Sequence[dict], metric: str, lower_is_better: bool) -> list[dict]:
    """Sorts what came of trainings by their best epoch on the validation split, the best first.

    Args:
        trained: dicts as `sweep.json` holds them.
        metric: the metric of `best_valid` that decides; None, where it was not finite, comes last.
        lower_is_better: whether a lower one is better.
    """

    def place(record: dict) -> float:
        value = record["best_valid"][metric]
        if value is None:
            return math.inf
        return value if lower_is_better else -value

    return sorted(trained, key=place)


def table(ranked: Sequence[dict], metric: str) -> list[str]:
    """Returns lines of a table of trainings.

    Args:
        ranked: dicts as `sweep.json` holds them.
        metric: the metric to show, of the validation and of the test split.
    """
    rows = [["settings", f"valid {metric}", f"test {metric}", "params", "seconds"]]
    for one in ranked:
        values = [metric_text(one[split][metric]) for split in ("best_valid", "test")]
        name = one["folder"].removeprefix(f"{_FOLDER}/")
        rows.append([name, *values, f"{one['params']:,}", f"{one['seconds']:.0f}"])
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]).rstrip() for row in rows
    ]


def _result(run: Run) -> dict[str, Any]:
    """Returns what the ranking and the table take of a training's result."""
    result = run.read_json("train/result.json")
    return {name: result[name] for name in ("best_valid", "test", "params", "seconds")}


def _check(combinations: Sequence[Combination], workdir: str) -> None:
    """Raises UserError for what no sweep can be."""
    if is_remote(workdir):
        raise UserError(
            f"the trainings of a sweep meet in a local folder, not in {workdir}: give a local "
            "--workdir, or start each as a run of its own, in another --workdir"
        )
    trains = [one.settings.train for one in combinations]
    if any(train.use_validation for train in trains):
        raise UserError(
            "a sweep is ranked by the validation split, which train.use_validation=true trains "
            "on: give --train.use_validation=false"
        )
    if any(train.init == SHARED for train in trains):
        raise UserError(
            "train.init=shared starts from a search in the same folder, and a sweep's trainings "
            "have folders of their own: leave it out, or train in --workdir without --sweep"
        )


def _architecture(
    recipe: Recipe, settings: Settings, combinations: Sequence[Combination], workdir: Path
) -> str | None:
    """Returns the architecture to train, as `--arc` takes it; it can be read.

    None if each training finds its own in the run that `train.init` names.
    """
    _, settings = recipe.chosen_by(settings)
    space, given = settings.space, settings.common.arc
    if given is not None:
        given_arc(given, space)
        return given
    path, inits = workdir / "arc.txt", {one.settings.train.init for one in combinations}
    if inits == {None}:
        derived_arc(workdir, space)
        return str(path)
    if path.exists() or len(inits) > 1:
        raise UserError(
            "with train.init more than one architecture could be meant: give the one to train by "
            "--arc"
        )
    return None
