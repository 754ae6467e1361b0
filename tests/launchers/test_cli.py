"""How a command starts, and how its end is told."""

import os
import subprocess
import sys

import pytest

from enas_tf.core.errors import Preempted, UserError
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
        (Preempted("stopped at step 3"), "", 143, "stopped at step 3; the same command goes on "),
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


def test_importing_tensorflow_leaves_garbage_collection_on_but_for_what_was_imported():
    code = """
import gc
from launchers.cli import import_tensorflow_quietly
import_tensorflow_quietly()
print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_wrong_flag_is_status_2(capsys):
    assert cli.launch("CIFAR_MICRO", "", ["cifar_micro", "--serch.num_epochs=3"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: Unknown command line flag 'serch.num_epochs'")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("flags", ["", "--tf_xla_auto_jit=2"])
def test_compiled_programs_are_kept_in_the_folder_that_is_named(tmp_path, monkeypatch, flags):
    monkeypatch.setenv("ENAS_TF_XLA_CACHE", str(tmp_path / "new/xla"))
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    cli._keep_compiled_programs()
    wanted = f"{flags} --tf_xla_persistent_cache_directory={tmp_path}/new/xla".strip()
    assert os.environ["TF_XLA_FLAGS"] == wanted
    assert (tmp_path / "new/xla").is_dir()


@pytest.mark.parametrize(
    ("folder", "flags"),
    [("", ""), ("/proc/none/xla", ""), ("/tmp", "--tf_xla_persistent_cache_directory=/mine")],
)
def test_no_folder_for_compiled_programs(monkeypatch, folder, flags):
    monkeypatch.setenv("ENAS_TF_XLA_CACHE", folder)
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    cli._keep_compiled_programs()
    assert os.environ["TF_XLA_FLAGS"] == flags
