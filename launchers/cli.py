"""The parts that launchers share: verbs, and how errors and ends are reported."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from operator import methodcaller
from typing import TYPE_CHECKING, NamedTuple

import enas_tf
from enas_tf.core.errors import Preempted, UserError
from launchers.flags import Flags
from launchers.start_up import import_tensorflow_quietly

if TYPE_CHECKING:
    from enas_tf.experiment.experiment import Experiment
    from enas_tf.experiment.recipe import Recipe
    from enas_tf.experiment.settings import Settings
    from enas_tf.experiment.sweep import Combination
    from enas_tf.training.run_folder import Phase

VERBS: dict[str, Callable[["Experiment"], object]] = {
    "": lambda experiment: experiment.pipeline(),
    "search": lambda experiment: experiment.search(),
    "derive": lambda experiment: experiment.derive(),
    "train": lambda experiment: experiment.train(),
    "evaluate": lambda experiment: _print_json(experiment.evaluate()),
    "export": lambda experiment: experiment.export(),
    "describe": lambda experiment: print(experiment.describe()),
    "compare": lambda experiment: experiment.compare(),
}
"""The action of each verb; "" stands for no verb."""

# The verbs that --seeds repeats, each with its last phase. `search` derives as well, since a search
# alone gives no architectures to compare.
_REPEATED: dict[str, tuple[Callable[["Experiment"], object], "Phase"]] = {
    "": (methodcaller("pipeline"), "export"),
    "search": (methodcaller("search_and_derive"), "derive"),
}

_VERBS_HELP = """
Verbs:
  (none)    search, derive, train and export, in turn; skips what is done
  search    trains shared weights and controller in turns
  derive    draws architectures from the controller and ranks them with the shared weights
  train     trains one architecture: --arc, else the derived one; from scratch, or by --train.init
            from the search's weights or another run's; with --sweep, once with each combination of
            several settings, and ranks them
  evaluate  prints the trained network's metrics on --split
  export    writes the trained network as a SavedModel
  describe  explains --arc, else the derived one, in words; draws it with --output
  compare   asks whether the search is better than chance: the controller's architectures against
            uniform draws, some of both trained from scratch; writes compare.json and report.html

All verbs share the flags below. The same command in the same --workdir resumes from the last
checkpoint. Other verbs need the same flags too; the run keeps them in its folder, except --arc,
--seeds, --sweep, --parallel and what is of one command only:

  evaluate --flagfile=runs/mine/flags.txt --split=valid
"""


class Command(NamedTuple):
    """What a command line asks for.

    Attributes:
        settings: the settings.
        verb: the verb, or "" for none.
        sweep: the combinations of `--sweep`; none without it.
    """

    settings: "Settings"
    verb: str
    sweep: Sequence["Combination"] = ()


def launch(recipe_name: str, usage: str, argv: Sequence[str] | None = None) -> int:
    """Runs a launcher's command line.

    Args:
        recipe_name: the name of the recipe in `enas_tf`.
        usage: a description of the launcher, which begins the help text.
        argv: the program's name and its arguments; None takes `sys.argv`.

    Returns:
        The exit status: 0, or one of `run_command`'s.
    """

    def command(argv: Sequence[str]) -> int:
        import_tensorflow_quietly()
        recipe = getattr(enas_tf, recipe_name)
        return _run(recipe, read_command(recipe, usage, argv))

    interrupted = "interrupted; the same command goes on from the last checkpoint"
    return run_command(command, argv, interrupted)


def run_command(
    command: Callable[[Sequence[str]], int], argv: Sequence[str] | None, interrupted: str = ""
) -> int:
    """Runs a launcher's command; reports an early end in one line on standard error.

    Args:
        command: a callable that takes the program's name and its arguments, and returns the exit
            status.
        argv: the program's name and its arguments; None takes `sys.argv`.
        interrupted: the line to print after Ctrl-C; "" prints none.

    Returns:
        The exit status: the command's own, 2 after a user's mistake, 130 after Ctrl-C, 143 after
        SIGTERM, 129 where the terminal has gone, or 141 where the reader of a pipe has.
    """
    if sys.stdout is None:
        # The shell has closed it, as by >&-.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        status = command(sys.argv if argv is None else argv)
        # What waits to be written may meet a closed pipe too, and later Python would report it.
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Python would report it once more when it flushes standard output at exit, so that goes
        # nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        line, status = "", 128 + signal.SIGPIPE
    except UserError as error:
        line, status = f"error: {error}", 2
    except KeyboardInterrupt:
        line, status = interrupted, 130
    except Preempted as stop:
        line, status = f"{stop}; the same command goes on from there", 128 + stop.signal
    if line:
        # Where the terminal has gone there is nobody to tell.
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)
    return status


def read_command(recipe: "Recipe", usage: str, argv: Sequence[str]) -> Command:
    """Returns what a command line asks for; runs nothing.

    Args:
        recipe: the recipe, whose presets the flags change.
        usage: a description of the launcher, as for `launch`.
        argv: the program's name and its arguments.

    Raises:
        SystemExit: if the command line asks for help, as in `Flags.parse`.
        UserError: if a flag is invalid, the verb unknown, or the settings do not fit together.
    """
    flags = Flags(usage.strip() + "\n" + _VERBS_HELP)
    presets = recipe.presets
    parts = [field.name for field in fields(next(iter(presets.values())))]
    prefixes = {part: "" if part == "common" else part for part in parts}
    for part, prefix in prefixes.items():
        flags.add(prefix, {name: getattr(settings, part) for name, settings in presets.items()})

    def read_settings(folder: str | None = None) -> "Settings":
        preset = flags.config("").preset
        given = {part: flags.config(prefix, preset) for part, prefix in prefixes.items()}
        settings = replace(presets[preset], **given)
        return _with_inherited_sizes(settings, flags, folder or settings.workdir(recipe.name))

    verb = _verb(flags.parse(argv))
    settings = read_settings()
    _refuse_overwrite(settings, verb)
    _refuse_seeds(settings, verb)
    _refuse_sweep(settings, verb)
    _refuse_parallel(settings, verb)
    if settings.common.sweep is None:
        return Command(settings, verb)
    grid, workdir = settings.common.sweep, settings.workdir(recipe.name)
    return Command(settings, verb, _read_sweep(grid, workdir, flags, read_settings))


def _read_sweep(
    grid: str, workdir: str, flags: Flags, read_settings: Callable[..., "Settings"]
) -> list["Combination"]:
    """Returns the combinations of `--sweep`, whose values are read as their own flags are."""
    from enas_tf.experiment.sweep import Combination, read_grid  # imports TensorFlow

    found = []
    for values in read_grid(grid):
        flags.parse(["", *(f"--{name}={text}" for name, text in values.items())])
        folder = Combination.of(values, read_settings()).folder(workdir)
        found.append(Combination.of(values, read_settings(folder)))
    return found


def _with_inherited_sizes(settings: "Settings", flags: Flags, folder: str) -> "Settings":
    """Gives the final network the sizes of the one that it starts from, unless flags set them."""
    from enas_tf.experiment.initial_weights import inherited_sizes  # imports TensorFlow

    sizes = inherited_sizes(settings, folder)
    return settings.changed({n: size for n, size in sizes.items() if not flags.is_given(n)})


def _print_json(result: dict) -> None:
    from enas_tf.training.run_folder import json_line  # imports TensorFlow

    print(json_line(result))


def _run(recipe: "Recipe", command: Command) -> int:
    from enas_tf.experiment.experiment import Experiment
    from enas_tf.experiment.seeds import Seeds
    from enas_tf.experiment.sweep import Sweep
    from enas_tf.training.workers import WORKER_LOST

    settings, verb, sweep = command
    try:
        if settings.common.seeds > 1:
            Seeds(recipe, settings, *_REPEATED[verb]).run()
        elif sweep:
            Sweep(recipe, settings, sweep).run()
        else:
            VERBS[verb](Experiment(recipe, settings))
    except WORKER_LOST as error:
        if settings.common.strategy != "multiworker":
            raise
        raise UserError(
            "another worker of this job has ended or cannot be reached; start all workers again "
            "with the same command: the run goes on from the last checkpoint"
        ) from error
    return 0


def _verb(words: Sequence[str]) -> str:
    if len(words) > 1 or (words and words[0] not in VERBS):
        known = ", ".join(verb for verb in VERBS if verb)
        raise UserError(f"give one verb of {known}, or none; got {' '.join(words)!r}")
    return words[0] if words else ""


def _refuse_overwrite(settings: "Settings", verb: str) -> None:
    """Raises UserError if `--overwrite` would remove what the verb works on."""
    common, init = settings.common, settings.train.init
    # The trainings of a sweep are in folders of their own.
    has_arc = common.arc or init is not None or common.sweep is not None
    needs_nothing = verb in ("", "search") or (verb == "train" and has_arc and init != "shared")
    if common.overwrite and not needs_nothing:
        raise UserError(
            f"--overwrite would remove what {verb} works on; leave it out, or start afresh with "
            "the verb search, with none, or with train and --arc"
        )


def _refuse_seeds(settings: "Settings", verb: str) -> None:
    if settings.common.seeds > 1 and verb not in _REPEATED:
        raise UserError(
            f"--seeds repeats a search, so it goes with the verb search or with none, not {verb}; "
            "leave it out, and name the folder of one seed by --workdir"
        )


def _refuse_sweep(settings: "Settings", verb: str) -> None:
    common = settings.common
    if common.sweep is not None and verb != "train":
        raise UserError(
            "--sweep trains one architecture several times, so it goes with the verb train, not "
            f"{verb or 'without a verb'}; leave it out"
        )
    if common.sweep is None and common.sweep_index not in ("auto", None):
        raise UserError("--sweep_index chooses one of --sweep's combinations; give --sweep too")


def _refuse_parallel(settings: "Settings", verb: str) -> None:
    common = settings.common
    finalists = settings.derive.finalists > 1 and (
        verb == "derive" or (not verb and not common.arc)
    )
    several = common.seeds > 1 or common.sweep is not None or verb == "compare" or finalists
    if common.parallel > 1 and not several:
        raise UserError(
            f"--parallel={common.parallel} has nothing to run at once here: it goes with --seeds, "
            "with compare, with --sweep, and with a derivation by --derive.finalists"
        )
