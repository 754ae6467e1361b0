"""Settings by the names of their flags."""

import shlex
from pathlib import Path

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.settings import default_config, flags_of, free_settings, run_config
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.training.run_folder import dotted
from launchers.cli import read_command

TINY = CIFAR_MACRO.presets["tiny"]
VALUES = {
    "workdir": "runs/mine",
    "deterministic": True,
    "space.ops": 7,
    "space.num_layers": 4,
    "search.num_epochs": 3,
    "data.flip": None,
}


def test_values_are_changed_by_the_names_of_flags():
    changed = TINY.changed(VALUES)
    assert changed.common.workdir == "runs/mine" and changed.common.deterministic
    assert (changed.space.op_set, changed.space.num_layers) == ("7", 4)
    assert changed.search.num_epochs == 3
    assert (changed.train, changed.common.dataset) == (TINY.train, "digits")
    assert TINY.search.num_epochs == 30
    assert TINY.changed({}) == TINY


def test_the_largest_seed_is_taken():
    last = 2**32 - 1
    assert TINY.changed({"seed": last}).common.seed == last
    assert TINY.changed({"seed": last - 2, "seeds": 3}).common.seeds == 3


@pytest.mark.parametrize("recipe", [CIFAR_MACRO, PTB_RNN], ids=lambda recipe: recipe.name)
def test_defaults_have_the_names_that_a_run_keeps_settings_by(recipe):
    settings = recipe.presets["paper"]
    kept, defaults = dotted(run_config(settings)), dotted(default_config(settings))
    assert defaults.keys() <= kept.keys()
    assert defaults["train.num_epochs"] == str(type(settings.train)().num_epochs)
    assert (defaults["space.ops"], defaults["search.snapshots"]) == (kept["space.ops"], "1")
    assert "workdir" not in defaults and "seeds" not in defaults


def test_flags_say_what_was_changed():
    flags = flags_of(TINY.changed(VALUES), CIFAR_MACRO.presets, Path("runs/mine"))
    assert "--space.ops=7" in flags and "--search.batch_size" not in shlex.join(flags)
    command = read_command(CIFAR_MACRO, "", ["cifar_macro", *flags])
    assert (command.settings, command.verb) == (TINY.changed(VALUES), "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search.epochs": 3}, r"no setting is called 'search.epochs' \(did you mean search.num_"),
        ({"space.op_set": 7}, r"'space.op_set' \(did you mean space.ops\?\); a launcher's"),
        ({"x": 7}, "no setting is called 'x'; a launcher's --help lists all"),
        ({"search.num_epochs": "3"}, "search.num_epochs must be of int, got '3'"),
        ({"search.num_epochs": True}, "search.num_epochs must be of int, got True"),
        ({"deterministic": 1}, "deterministic must be of bool, got 1"),
        ({"workdir": Path("runs")}, r"workdir must be of str \| None, got "),
        (
            {"controller.kind": "dqn"},
            r"controller.kind must be of Literal\['lstm', 'ppo', 'random'\], got 'dqn'",
        ),
        ({"preset": "paper"}, "chosen among the recipe's presets"),
        ({"search.num_epochs": 0}, "search.num_epochs must be at least 1, got 0"),
        ({"child.out_filters": 5}, "^child.out_filters must be even"),
        ({"train.out_filters": 5}, "^train.out_filters must be even"),
        ({"train.num_layers": 2}, "^train.num_layers must be at least 3"),
        ({"child.momentum": 1.0}, "child.momentum must be at least 0 and below 1, got 1.0"),
        ({"controller.beta_1": 1.0}, "controller.beta_1 must be at least 0 and below 1, got 1.0"),
        ({"search.reward": "truth"}, "search.reward=truth needs a table .* its file by --truth"),
        (
            {"strategy": "multiworker", "derive.max_latency_ms": 2.0},
            "latencies are measured by a single process, and --strategy=multiworker has several",
        ),
        ({"search.cutout": -5}, "search.cutout must not be negative, got -5"),
        ({"logical_devices": -2}, "logical_devices must not be negative, got -2"),
        ({"seed": -1}, "seed must be between 0 and 4294967295, got -1"),
        ({"seed": 2**32}, "seed must be between 0 and 4294967295, got 4294967296"),
        ({"seed": 2**32 - 2, "seeds": 3}, "seed must be between 0 and 4294967293, got"),
        ({"seed_index": "first"}, "seed_index must be auto, none or a whole number, got 'first'"),
        ({"seed_index": 3, "seeds": 3}, "seed_index must be below seeds, 3, got 3"),
        ({"sweep_index": "-1"}, "sweep_index must be auto, none or a whole number, got '-1'"),
        ({"parallel": 0}, "parallel must be at least 1, got 0"),
        (
            {"parallel": 2, "strategy": "multiworker"},
            "parallel splits one machine, and strategy=mu",
        ),
        ({"parallel": 2, "logical_devices": 2}, "parallel and logical_devices both split"),
    ],
)
def test_wrong_names_and_values_are_told(values, message):
    with pytest.raises(UserError, match=message):
        CIFAR_MICRO.presets["tiny"].changed(values)


def test_only_a_search_that_a_table_rewards_keeps_the_table():
    judged = TINY.changed({"truth": "a.csv"})
    assert {"truth", "truth_column", "data_dir"} <= set(free_settings(judged))
    rewarded = judged.changed({"search.reward": "truth"})
    assert set(free_settings(judged)) - set(free_settings(rewarded)) == {"truth", "truth_column"}


@pytest.mark.parametrize(
    ("recipe", "values", "message"),
    [
        (
            CIFAR_MICRO,
            {"train.init": "shared"},
            "train.out_filters is 36 and child.out_filters is 20; set both alike",
        ),
        (
            PTB_RNN,
            {"train.init": "shared"},
            "train.hidden_size is 800 and child.hidden_size is 200; set both alike",
        ),
        (
            CIFAR_MICRO,
            {"train.init": "shared", "search.reward": "truth", "truth": "table.csv"},
            "search.reward=truth does not train",
        ),
        (CIFAR_MICRO, {"train.init": ""}, "must be none, shared, or a run's folder, got nothing"),
    ],
)
def test_shared_weights_that_cannot_fit_are_told_before_the_search(recipe, values, message):
    with pytest.raises(UserError, match=message):
        recipe.presets["paper"].changed(values)
