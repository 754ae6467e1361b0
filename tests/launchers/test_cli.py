"""How a command starts, and how its end is told."""

import json

import pytest

import enas_tf
from enas_tf.core.errors import Preempted, UserError
from enas_tf.experiment.settings import run_config
from launchers import cli


def ends_with(error):
    """A command that ends by an error."""

    def command(argv):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "interrupted", "status", "told"),
    [
        (UserError("no such file"), "", 2, "error: no such file\n"),
        (KeyboardInterrupt(), "interrupted", 130, "interrupted\n"),
        (KeyboardInterrupt(), "", 130, ""),
        (Preempted("stopped at 3", 15), "", 143, "stopped at 3; the same command goes on "),
        (Preempted("stopped at 3", 1), "", 129, "stopped at 3; the same command goes on "),
    ],
)
def test_an_early_end_is_told_in_one_line(capsys, error, interrupted, status, told):
    assert cli.run_command(ends_with(error), ["prog"], interrupted) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(told) and printed.err.count("\n") == bool(told)


def test_a_command_gets_the_arguments_and_gives_the_status(monkeypatch):
    given = []

    def command(argv):
        given.append(argv)
        return 7

    monkeypatch.setattr("sys.argv", ["prog", "--seed=1"])
    assert [cli.run_command(command, argv) for argv in (["prog", "search"], None)] == [7, 7]
    assert given == [["prog", "search"], ["prog", "--seed=1"]]


def test_an_error_of_the_code_passes_through():
    with pytest.raises(ZeroDivisionError):
        cli.run_command(ends_with(ZeroDivisionError()), ["prog"])


def test_ctrl_c_while_tensorflow_is_imported(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_tensorflow_quietly", interrupt)
    assert cli.launch("CIFAR_MICRO", "", ["cifar_micro", "search"]) == 130
    line = "interrupted; the same command goes on from the last checkpoint\n"
    assert capsys.readouterr() == ("", line)


def test_a_wrong_flag_is_status_2(capsys):
    assert cli.launch("CIFAR_MICRO", "", ["cifar_micro", "--serch.num_epochs=3"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: Unknown command line flag 'serch.num_epochs'")
    assert printed.err.count("\n") == 1


def test_sizes_are_those_of_the_run_to_start_from_unless_a_flag_has_others(tmp_path):
    config = {"train": {"out_filters": 8, "num_layers": 4, "l2": 0.5}}
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    argv = ["cifar_micro", "train", f"--train.init={tmp_path}", "--train.num_layers=7"]
    settings = cli.read_command(enas_tf.CIFAR_MICRO, "", argv).settings
    assert (settings.train.out_filters, settings.train.num_layers) == (8, 7)
    assert settings.train.l2 == 2e-4


@pytest.mark.parametrize(("init", "allowed"), [("runs/other", True), ("shared", False)])
def test_a_run_may_be_removed_that_a_training_does_not_start_from(init, allowed):
    argv = ["cifar_micro", "train", f"--train.init={init}", "--preset=tiny", "--overwrite"]
    if allowed:
        assert cli.read_command(enas_tf.CIFAR_MICRO, "", argv).verb == "train"
    else:
        with pytest.raises(UserError, match="--overwrite would remove what train works on"):
            cli.read_command(enas_tf.CIFAR_MICRO, "", argv)


def test_a_training_of_a_sweep_that_has_begun_keeps_its_own_sizes(tmp_path):
    recipe, gone = enas_tf.CIFAR_MICRO, tmp_path / "gone"
    config = json.loads(json.dumps(run_config(recipe.presets["tiny"])))
    config["train"] |= {"out_filters": 6, "init": str(gone)}
    own = tmp_path / "sweep/l2=0.0"
    own.mkdir(parents=True)
    (own / "config.json").write_text(json.dumps({"config": config}))
    flags = ["--preset=tiny", f"--train.init={gone}", f"--workdir={tmp_path}"]
    _, _, sweep = cli.read_command(recipe, "", ["x", "train", "--sweep=train.l2=0,1", *flags])
    preset = recipe.presets["tiny"].train.out_filters
    assert [one.settings.train.out_filters for one in sweep] == [6, preset] != [preset] * 2
    # Overwritten, it begins anew; what is beside the sweep stays.
    flags += ["--sweep=train.l2=0,1", "--overwrite"]
    _, _, sweep = cli.read_command(recipe, "", ["x", "train", *flags])
    assert [one.settings.train.out_filters for one in sweep] == [preset] * 2
