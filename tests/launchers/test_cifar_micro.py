"""The launcher as a user calls it, in processes of its own."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.data.base import DataConfig
from enas_tf.data.images import load_images
from enas_tf.export.images import predict
from tests.launching import ROOT, command, environment, launch, launch_in_turn, write_images

ARC = "0 0 1 1 0 2 1 4"


@pytest.fixture(scope="session")
def folder(finished_run):
    return finished_run[0]


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_pipeline_leaves_all_that_it_should(folder):
    left = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    version = "export/cifar_micro/1"
    # Which of two epochs of three steps was better is a matter of rounding.
    result = json.loads((folder / "train/result.json").read_text())
    best_step = 3 * (result["best_valid"]["epoch"] + 1)
    assert left >= {
        "config.json",
        "flags.txt",
        "search/metrics.jsonl",
        "search/arcs.jsonl",
        "search/checkpoints/step_000000010",
        "arcs.json",
        "arc.txt",
        "train/metrics.jsonl",
        "train/result.json",
        f"train/checkpoints/best_{best_step:09}",
        "train/checkpoints/step_000000006",
        "export/cifar_micro/model.keras",
        f"{version}/saved_model.pb",
        f"{version}/assets.extra/labels.txt",
        f"{version}/assets.extra/arc.txt",
        f"{version}/assets.extra/model.json",
    }
    for phase in ("search", "train"):
        assert list(folder.glob(f"{phase}/events.out.tfevents.*"))
    assert not [name for name in left if ".tmp" in name or ".aside" in name or "damaged" in name]


def test_what_it_leaves_fits_together(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["child"]["out_filters"] == 4 and config["seed"] == 0
    assert set(config["versions"]) == {"python", "tensorflow", "keras", "enas_tf"}
    ranked = json.loads((folder / "arcs.json").read_text())
    assert len(ranked) == 4
    arc = (folder / "arc.txt").read_text().strip()
    result = json.loads((folder / "train/result.json").read_text())
    assert ranked[0]["arc"] == arc == result["arc"]
    # The formula that counts for the ranking, and the network that was built.
    assert ranked[0]["params"] == result["params"]
    assert result["epochs"] == 2 and result["images_seen"] == 2 * 3 * 16
    assert [r["phase"] for r in read_lines(folder / "search/metrics.jsonl")] == [
        *2 * ["child", "controller", "valid"]
    ]


def test_its_flags_can_be_given_again_by_the_file_that_keeps_them(folder):
    flags = f"--flagfile={folder / 'flags.txt'}"
    done = subprocess.run(
        [sys.executable, "-m", "launchers.cifar_micro", "evaluate", flags, "--split=valid"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "train/result.json").read_text())
    accuracy = json.loads(done.stdout.splitlines()[-1])["accuracy"]
    assert accuracy == pytest.approx(result["best_valid"]["accuracy"], abs=1e-6)


def test_it_tells_what_it_does(finished_run):
    _, shown = finished_run
    assert "search: epoch 0, step 1/10, loss " in shown
    assert "mean reward" in shown and "not the accuracy" in shown
    assert "export: " in shown and shown.count("prediction: test image") == 3


def test_the_export_does_as_well_as_the_trained_network(folder):
    data = load_images("digits", None, DataConfig())
    test = data.splits["test"]
    labels = [label for label, _ in predict(folder / "export/cifar_micro/1", test.images)]
    wanted = [data.class_names[label] for label in test.labels]
    result = json.loads((folder / "train/result.json").read_text())
    accuracy = np.mean(np.array(labels) == wanted)
    assert accuracy == pytest.approx(result["test"]["accuracy"], abs=1 / len(wanted))


def test_a_killed_search_goes_on_to_the_same_end(folder, tmp_path):
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command("search", f"--workdir={killed}"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    while not (killed / "search/checkpoints/step_000000005").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "search/checkpoints/step_000000010").exists()
    done = launch("search", f"--workdir={killed}")
    assert done.status == 0 and "resuming at step 5 of 10" in done.stdout
    last = "search/checkpoints/step_000000010/variables"
    wanted, actual = (tf.train.load_checkpoint(str(run / last)) for run in (folder, killed))
    names = wanted.get_variable_to_shape_map()
    assert names == actual.get_variable_to_shape_map() and len(names) > 100
    for name in sorted(names.keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}):
        np.testing.assert_array_equal(
            actual.get_tensor(name), wanted.get_tensor(name), err_msg=name
        )
    path = "search/arcs.jsonl"
    assert (killed / path).read_text() == (folder / path).read_text()
    shown = [
        [{n: v for n, v in r.items() if "second" not in n} for r in read_lines(run / path)]
        for run in (folder, killed)
        for path in ("search/metrics.jsonl",)
    ]
    assert shown[0] == shown[1]


def test_help_lists_flags_with_their_meaning():
    done = launch("--help")
    assert done.status == 0 and done.stderr == ""
    assert "--search.num_epochs  a whole number; default 150 (tiny: 30)" in done.stdout
    assert "epochs; in each, shared weights first, then the controller" in done.stdout
    for flag in ("--workdir", "--child.out_filters", "--controller.tanh_constant", "--data.cutout"):
        assert f"  {flag}  " in done.stdout


def test_a_mistake_ends_the_process_with_status_2_and_one_line():
    done = launch("seek")
    assert done.status == 2
    assert done.stderr.startswith("error: give one verb of search, derive")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_ctrl_c_while_tensorflow_loads_ends_in_one_line(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        command(f"--workdir={tmp_path}/run"),
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    line = "interrupted; the same command goes on from the last checkpoint\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", line)


@pytest.fixture(scope="module")
def copied(folder, tmp_path_factory):
    """A folder with a copy of the finished run, to be changed."""
    root = tmp_path_factory.mktemp("copies")
    shutil.copytree(folder, root / "whole")
    return root


GOOD = {
    "again": [],
    "evaluate": ["evaluate"],
    "evaluate valid": ["evaluate", "--split=valid"],
    "describe": ["describe", "--output={root}/cells.svg"],
    "describe published": ["describe", "--arc=micro_enas", "--workdir={root}/none"],
    "derive": ["derive"],
    "train": ["train"],
    "export": ["export"],
}


@pytest.fixture(scope="module")
def good(copied):
    """What commands say of the finished run, in this order."""
    root = copied
    commands = {
        name: [f"--workdir={root / 'whole'}", *(word.format(root=root) for word in words)]
        for name, words in GOOD.items()
    }
    started = time.monotonic()
    results = launch_in_turn(root, commands)
    return results, time.monotonic() - started


@pytest.mark.parametrize("name", GOOD)
def test_every_verb_succeeds_on_a_finished_run(good, name):
    result = good[0][name]
    assert (result.status, result.stderr) == (0, "")


def test_a_finished_run_is_left_alone(good, copied):
    line = f"all phases are done; {copied}/whole holds report.html and export/\n"
    assert good[0]["again"].stdout == line


@pytest.mark.parametrize(("name", "split"), [("evaluate", "test"), ("evaluate valid", "valid")])
def test_evaluate_prints_one_line_of_json(good, folder, name, split):
    shown = good[0][name].stdout
    assert shown.count("\n") == 1
    result = json.loads((folder / "train/result.json").read_text())
    wanted = result["test"] if split == "test" else result["best_valid"]
    names = ("loss", "accuracy", "balanced_accuracy")
    metrics = {n: pytest.approx(wanted[n], rel=1e-6) for n in names}
    found = json.loads(shown)
    confusion, recalls = np.array(found.pop("confusion")), found.pop("class_accuracy")
    assert found == {"split": split, **metrics}
    assert confusion.trace() / confusion.sum() == pytest.approx(wanted["accuracy"])
    assert [*recalls] == [*"0123456789"]
    assert [*recalls.values()] == pytest.approx(confusion.diagonal() / confusion.sum(axis=1))
    if split == "test":
        stored = json.loads((folder / "train/classes.json").read_text())
        assert stored == {"class_accuracy": recalls, "confusion": confusion.tolist()}


def test_describe_explains_and_draws(good, copied, folder):
    shown = good[0]["describe"].stdout
    params = json.loads((folder / "train/result.json").read_text())["params"]
    assert "normal cell" in shown and f"{params:,} parameters" in shown
    # Two cells of one node: two inputs of two, two ops of five, each squared.
    assert "the space holds 10,000 architectures" in shown
    assert (copied / "cells.svg").read_text().lstrip().startswith(("<?xml", "<svg"))
    assert "node 6" in good[0]["describe published"].stdout
    assert not (copied / "none").exists()


def test_deriving_and_training_again_changes_nothing(good, copied, folder):
    for name in ("arcs.json", "arc.txt"):
        assert (copied / "whole" / name).read_text() == (folder / name).read_text()
    results = [
        json.loads((f / "train/result.json").read_text()) for f in (folder, copied / "whole")
    ]
    assert results[0] == results[1]


def test_export_makes_the_next_version(good, copied):
    assert f"export: {copied / 'whole/export/cifar_micro/2'}\n" in good[0]["export"].stdout
    assert (copied / "whole/export/cifar_micro/2/saved_model.pb").exists()


SIZED = {
    (28, 28, 1): ["train", f"--arc={ARC}"],
    (9, 7, 3): ["search"],
}


@pytest.fixture(scope="module")
def of_sizes(tmp_path_factory):
    """A final training and a search, on images of two sizes."""
    root = tmp_path_factory.mktemp("sizes")
    few = ["--search.num_epochs=1", "--search.max_steps=2", "--search.batch_size=4"]
    few += ["--search.updates_per_epoch=1", "--data.pad=4"]
    few += ["--train.num_epochs=1", "--train.max_steps=2", "--train.batch_size=4"]
    few += ["--data.cutout=16"]
    commands = {}
    for shape, words in SIZED.items():
        dataset = write_images(root / f"images {shape}", *shape)
        commands[str(shape)] = [*words, dataset, f"--workdir={root}/run {shape}", *few]
    return launch_in_turn(root, commands), root


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "left"),
    zip(SIZED, ["train/result.json", "search/arcs.jsonl"], strict=True),
    ids=str,
)
def test_images_of_any_size(of_sizes, shape, left):
    results, root = of_sizes
    result = results[str(shape)]
    assert result.status == 0, result.stderr
    assert (root / f"run {shape}" / left).exists()
