import errno
import json
import math
import os
import platform
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import enas_tf
from enas_tf.core.errors import UserError
from enas_tf.training.run_folder import Run

CONFIG = {"seed": 7, "dataset": "digits", "child": {"out_filters": 20, "sizes": (3, 5)}}


def hparams(folder):
    """TensorBoard's hyper-parameters of a run."""
    [events] = folder.glob("events.*")
    for raw in tf.data.TFRecordDataset(str(events)):
        for value in tf.compat.v1.Event.FromString(raw.numpy()).summary.value:
            content = value.metadata.plugin_data.content
            stored = HParamsPluginData.FromString(content).session_start_info.hparams
            return {name: getattr(v, v.WhichOneof("kind")) for name, v in stored.items()}


def test_open_writes_config_versions_seed_and_devices(tmp_path):
    run = Run.open(tmp_path / "deep" / "run", CONFIG)
    assert run.read_json("config.json") == {
        "config": {
            "seed": 7,
            "dataset": "digits",
            "child": {"out_filters": 20, "sizes": [3, 5]},
        },
        "seed": 7,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "enas_tf": enas_tf.__version__,
        },
        "devices": [d.name[len("/physical_device:") :] for d in tf.config.list_physical_devices()],
        "earlier": [],
    }
    assert sorted(os.listdir(run.folder))[0] == "config.json"
    assert hparams(run.folder) == {
        "seed": 7.0,
        "dataset": "digits",
        "child.out_filters": 20.0,
        "child.sizes": "[3, 5]",
    }


def test_open_with_the_same_config_goes_on_and_touches_nothing(tmp_path):
    run = Run.open(tmp_path, CONFIG)
    run.write_text("train/notes.txt", "kept")
    before = run.path("config.json").stat()
    again = Run.open(str(tmp_path), dict(CONFIG))
    assert again.path("train", "notes.txt").read_text() == "kept"
    assert again.path("config.json").stat().st_ino == before.st_ino


def test_open_names_each_field_that_differs(tmp_path):
    Run.open(tmp_path, CONFIG)
    other = {"seed": 7, "dataset": "ptb", "child": {"out_filters": 36, "keep_prob": None}}
    with pytest.raises(UserError) as error:
        Run.open(tmp_path, other)
    assert str(error.value) == (
        f"{tmp_path} holds a run with another configuration: "
        "child.keep_prob was absent and is now null; "
        "child.out_filters was 20 and is now 36; "
        "child.sizes was [3, 5] and is now absent; "
        'dataset was "digits" and is now "ptb"; '
        "give the flags that it began with, another --workdir, or --overwrite to remove it"
    )
    assert Run(tmp_path).read_json("config.json")["config"]["dataset"] == "digits"


def test_free_settings_may_differ_and_stay_as_the_run_began(tmp_path):
    run, config = Run.open(tmp_path, CONFIG), CONFIG | {"dataset": "ptb", "compare": {"epochs": 2}}
    before = run.path("config.json").read_bytes()
    Run.open(tmp_path, config, free=("dataset", "compare"))
    assert run.path("config.json").read_bytes() == before
    with pytest.raises(UserError, match=r": compare\.epochs was absent and is now 2; give"):
        Run.open(tmp_path, config, free=("dataset",))


def test_a_run_of_an_earlier_version_had_the_defaults_of_what_came_later(tmp_path):
    Run.open(tmp_path, CONFIG)
    later = {"child": {"decay": True}, "search": {"snapshots": 1}}
    now = CONFIG | {"child": CONFIG["child"] | later["child"], "search": later["search"]}
    with pytest.raises(UserError, match=r"child\.decay was absent and is now true; search\.snap"):
        Run.open(tmp_path, now)
    other = now | {"search": {"snapshots": 2}}
    with pytest.raises(UserError, match=r"configuration: search\.snapshots was 1 and is now 2;"):
        Run.open(tmp_path, other, defaults=later)
    assert "search" not in Run(tmp_path).read_json("config.json")["config"]
    Run.open(tmp_path, now, defaults=later)
    assert Run(tmp_path).read_json("config.json")["config"]["search"] == {"snapshots": 1}
    Run.open(tmp_path, now)


def test_the_flags_of_a_new_run_are_kept_and_named_to_whoever_gives_others(tmp_path):
    run = Run.open(tmp_path, CONFIG, ["--preset=tiny", "--dataset=folder:my photos"])
    flags = run.path("flags.txt")
    assert flags.read_text() == "--preset=tiny\n--dataset=folder:my photos\n"
    Run.open(tmp_path, CONFIG, ["--preset=tiny", "--strategy=one"])
    assert "my photos" in flags.read_text()
    with pytest.raises(UserError, match=f"that it began with \\(--flagfile={flags}\\), another"):
        Run.open(tmp_path, {"seed": 8}, ["--seed=8"])
    Run.open(tmp_path, {"seed": 8}, ["--seed=8"], overwrite=True)
    assert flags.read_text() == "--seed=8\n"


def test_a_change_of_version_is_recorded_not_refused(tmp_path):
    run = Run.open(tmp_path, CONFIG)
    record = run.read_json("config.json")
    old = {"versions": record["versions"] | {"keras": "3.0.0"}, "devices": ["CPU:0", "GPU:0"]}
    run.write_json("config.json", record | old)
    for _ in range(2):
        Run.open(tmp_path, CONFIG)
        assert run.read_json("config.json") == record | {"earlier": [old]}


def test_overwrite_removes_what_a_run_writes_and_nothing_else(tmp_path):
    run = Run.open(tmp_path / "run", CONFIG)
    written = ["flags.txt", "search/x", "train/x", "export/enas/1/x", "arcs.json", "arc.txt"]
    for name in [
        *written,
        "compare.json",
        "derive/1/x",
        "sweep/l2=0/train/x",
        "sweep.json",
        "report.html",
        "mine.txt",
        "data/x",
        "training/x",
    ]:
        run.write_text(name, "x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    shutil.rmtree(run.path("export"))
    run.path("export").symlink_to(outside)

    Run.open(run.folder, {"seed": 8}, overwrite=True)
    # And TensorBoard's hyper-parameters, of the new run.
    [events, *others] = sorted(os.listdir(run.folder), key=lambda name: name[0] != "e")
    assert sorted(others) == ["config.json", "data", "mine.txt", "training"]
    assert events.startswith("events.") and hparams(run.folder) == {"seed": 8.0}
    assert run.read_json("config.json")["config"] == {"seed": 8}
    assert os.listdir(outside) == ["x"]


def test_overwrite_removes_nothing_from_a_folder_without_a_run(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "photo.png").write_text("mine")
    Run.open(tmp_path, CONFIG, overwrite=True)
    assert (tmp_path / "train" / "photo.png").read_text() == "mine"


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[1]"])
def test_a_config_json_of_something_else_is_left_alone(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is not a run's; use another --workdir"):
        Run.open(tmp_path, CONFIG, overwrite=True)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize(
    ("below", "reason"), [("", "File exists"), ("run", "Not a directory")], ids=["file", "below"]
)
def test_a_file_in_the_way_is_the_users_one_line(tmp_path, below, reason):
    (tmp_path / "file").write_text("mine")
    workdir = tmp_path / "file" / below
    with pytest.raises(UserError) as error:
        Run.open(workdir, CONFIG)
    message = str(error.value)
    assert message.startswith(f"cannot write {workdir / 'config.json'} ({reason}: {tmp_path}/file")
    assert message.endswith("use a --workdir that can be written")
    assert "\n" not in message


def test_a_full_disk_leaves_the_earlier_file_and_no_half_one(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run.write_text("arc.txt", "0 1")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^the disk is full: cannot write .*arc\.txt; free"):
        run.write_text("arc.txt", "1 1 1")
    assert os.listdir(tmp_path) == ["arc.txt"]
    assert run.path("arc.txt").read_text() == "0 1"


def test_lines_are_added_one_by_one_and_a_folder_in_the_way_is_told(tmp_path):
    run = Run(tmp_path)
    for line in ("one", "two"):
        run.append_line("search/lines", line)
    assert run.path("search/lines").read_text() == "one\ntwo\n"
    with pytest.raises(UserError, match=r"^cannot write .*/search \(Is a directory"):
        run.append_line("search", "three")


def test_write_json_has_null_for_what_is_not_finite_and_takes_numpy(tmp_path):
    run = Run(tmp_path)
    run.write_json("train/result.json", {"a": math.nan, "b": [-math.inf, np.float32(0.5)], "c": 1})
    text = run.path("train", "result.json").read_text()
    assert json.loads(text) == {"a": None, "b": [None, 0.5], "c": 1}
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory$"), (b"{", "it is not JSON"), (b"\xff", "it is not JSON")],
)
def test_read_json_says_why_it_cannot(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "arcs.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"^cannot read .*arcs\.json: {reason}"):
        Run(tmp_path).read_json("arcs.json")


def test_a_phase_is_done_for_what_it_was_done_for(tmp_path):
    run = Run(tmp_path)
    assert not run.is_done("derive") and run.done_facts("derive") is None
    run.write_text("arc.txt", "0 1")
    run.mark_done("derive", outputs=["arc.txt"], step=9)
    assert run.is_done("derive") and run.is_done("derive", step=9)
    assert not run.is_done("derive", step=18) and not run.is_done("search")
    assert run.done_facts("derive") == {"step": 9}
    run.mark_done("search", outputs=[], step=18)
    run.mark_done("derive", outputs=["arc.txt"], step=18)
    assert Run(tmp_path).is_done("derive", **run.done_facts("search"))


def test_a_phase_whose_output_is_gone_is_not_done(tmp_path):
    run = Run(tmp_path)
    run.write_text("train/result.json", "{}")
    run.mark_done("train", outputs=["train/result.json"], arc="0 1")
    assert run.is_done("train", arc="0 1")
    run.path("train/result.json").unlink()
    assert not run.is_done("train") and run.done_facts("train") is None


def test_overwrite_forgets_what_was_done(tmp_path):
    Run.open(tmp_path, {"seed": 1}).mark_done("search", outputs=[], step=9)
    assert Run.open(tmp_path, {"seed": 1}).is_done("search")
    assert not Run.open(tmp_path, {"seed": 2}, overwrite=True).is_done("search")
    assert not (tmp_path / "done.json").exists()
