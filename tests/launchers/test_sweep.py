"""--sweep, in turn: a training, then the same with another one, and the export of the first."""

import json
import shlex

import pytest

from tests.launching import launch_in_turn

FIRST, SECOND = "learning_rate=20.0,grad_clip=0.25", "learning_rate=5.0,grad_clip=0.25"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a run that has derived an architecture, and what commands in it did."""
    root = tmp_path_factory.mktemp("sweep")
    folder = root / "run"
    folder.mkdir()
    (folder / "arc.txt").write_text("0 0 0 1\n")
    train = ["train", f"--workdir={folder}"]
    commands = {
        "one": [*train, "--sweep=train.learning_rate=20 train.grad_clip=0.25"],
        "two": [*train, "--sweep=train.learning_rate=20,5 train.grad_clip=0.25"],
        "export": ["export", f"--flagfile={folder}/sweep/{FIRST}/flags.txt"],
    }
    return folder, launch_in_turn(root, commands, "ptb_rnn")


def test_what_is_done_is_not_trained_again_and_all_are_ranked(swept):
    folder, results = swept
    assert [results[name].status for name in ("one", "two")] == [0, 0], results["two"].stderr
    first, _, second = results["two"].stdout.partition(f"sweep: 2 of 2, {SECOND}\n")
    assert first == f"sweep: 1 of 2, {FIRST}\n" and "epoch 1 valid: " in second
    found = json.loads((folder / "sweep.json").read_text())["trained"]
    assert {one["folder"] for one in found} == {f"sweep/{FIRST}", f"sweep/{SECOND}"}
    for one in found:
        result = json.loads((folder / one["folder"] / "train/result.json").read_text())
        assert (one["best_valid"], one["test"]) == (result["best_valid"], result["test"])
        config = json.loads((folder / one["folder"] / "config.json").read_text())["config"]
        assert config["train"]["learning_rate"] == one["settings"]["train.learning_rate"]
    best, worst = (one["best_valid"]["perplexity"] for one in found)
    assert best < worst
    assert f"\n{found[0]['folder'].removeprefix('sweep/')} " in second
    assert not (folder / "config.json").exists()


def test_the_last_line_is_a_command_that_exports_the_best(swept):
    folder, results = swept
    told, _, command = results["one"].stdout.splitlines()[-1].partition("; export it by: ")
    assert told == f"sweep: {FIRST} is the best, in {folder}/sweep/{FIRST}"
    flags = [f"--flagfile={folder}/sweep/{FIRST}/flags.txt"]
    assert shlex.split(command) == ["python", "-m", "launchers.ptb_rnn", "export", *flags]
    assert results["export"].status == 0, results["export"].stderr
    assert (folder / "sweep" / FIRST / "export/ptb_rnn/1/saved_model.pb").exists()
