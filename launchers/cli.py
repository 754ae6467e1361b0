"""What the launchers share: flags, verbs, and how errors and ends are told."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from enas_tf.errors import UserError
from launchers.flags import Flags

if TYPE_CHECKING:
    from enas_tf.experiment import Experiment
    from enas_tf.recipes import Recipe, Settings

VERBS: dict[str, Callable[["Experiment"], object]] = {
    "": lambda experiment: experiment.pipeline(),
    "search": lambda experiment: experiment.search(),
    "derive": lambda experiment: experiment.derive(),
    "train": lambda experiment: experiment.train(),
    "evaluate": lambda experiment: print(json.dumps(experiment.evaluate())),
    "export": lambda experiment: experiment.export(),
    "describe": lambda experiment: print(experiment.describe()),
}

_VERBS_HELP = """
Verbs:
  (none)    search, derive, train and export, in turn; skips what is done
  search    trains shared weights and controller in turns
  derive    draws architectures from the controller and ranks them with the shared weights
  train     trains one architecture from scratch: --arc, else the derived one
  evaluate  prints the trained network's metrics on --split
  export    writes the trained network as a SavedModel
  describe  explains --arc, else the derived one, in words; draws it with --output

The same command in the same --workdir goes on where the last checkpoint stands.
"""


def main(recipe: "Recipe", usage: str, argv: Sequence[str] | None = None) -> int:
    """Runs a launcher's command line.

    Args:
        recipe: the launcher's.
        usage: what it is for; `--help` starts with it.
        argv: the program's name and its arguments; None takes `sys.argv`.

    Returns:
        The exit status: 0, or 2 after a user's mistake.
    """
    flags = Flags(usage.strip() + "\n" + _VERBS_HELP)
    parts = _parts(recipe)
    for prefix, presets in parts.items():
        flags.add("" if prefix == "common" else prefix, presets)
    verbs = flags.parse(sys.argv if argv is None else argv)
    try:
        verb = _verb(verbs)
        settings = _settings(flags, recipe, parts)
        return _run(recipe, settings, verb)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _run(recipe: "Recipe", settings: "Settings", verb: str) -> int:
    from enas_tf.experiment import Experiment

    VERBS[verb](Experiment(recipe, settings))
    return 0


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's start-up messages off the screen; to be called before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _parts(recipe: "Recipe") -> dict[str, dict]:
    """Each of the settings' parts, by the preset's name."""
    names = [field.name for field in fields(next(iter(recipe.presets.values())))]
    return {
        name: {preset: getattr(settings, name) for preset, settings in recipe.presets.items()}
        for name in names
    }


def _verb(words: Sequence[str]) -> str:
    if len(words) > 1 or (words and words[0] not in VERBS):
        known = ", ".join(verb for verb in VERBS if verb)
        raise UserError(f"give one verb of {known}, or none; got {' '.join(words)!r}")
    return words[0] if words else ""


def _settings(flags: Flags, recipe: "Recipe", parts: dict[str, dict]) -> "Settings":
    """The preset's settings with the flags that were given."""
    preset = flags.config("").preset
    configs = {
        name: flags.config("" if name == "common" else name, preset) for name in parts
    }
    return type(recipe.presets[preset])(**configs)
