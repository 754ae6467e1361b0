"""What a run does with what it finds in its folder, and what a mistake leaves there.

Its networks are tiny ones, which take the architectures of the micro space.
"""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.data.base import ImageData, Split
from enas_tf.experiment import experiment as experiments
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.images import ImageDomain
from enas_tf.micro.network import count_cost
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.micro.space import MicroSpace
from enas_tf.training.run_folder import Run
from enas_tf.training.trackers import Tracker
from tests import tiny
from tests.stand_in_store import store, texts

__all__ = ["store"]

RECIPE = replace(
    CIFAR_MICRO,
    domain=ImageDomain(tiny.Supernet, tiny.network, count_cost),
    controller=tiny.TinyController,
)
SMALL = {
    "space.num_nodes": 1,
    "child.out_filters": 4,
    "child.num_layers": 3,
    "search.num_epochs": 2,
    "search.max_steps": 2,
    "search.batch_size": 16,
    "search.updates_per_epoch": 1,
    "search.arcs_per_update": 2,
    "derive.num_samples": 3,
    "derive.num_batches": 1,
    "train.num_epochs": 1,
    "train.max_steps": 2,
    "train.batch_size": 16,
    "train.out_filters": 4,
    "strategy": "one",
}
# Settings that have a default which is no preset's own.
LATER = (("child", "decay_idle"), ("search", "snapshots"))
ARC, OTHER = "0 0 1 0 0 1 1 2", "0 4 1 0 0 1 1 2"


@pytest.fixture(scope="module")
def data():
    return experiment("unused").data


def experiment(workdir, data=None, **values):
    settings = RECIPE.presets["tiny"].changed(SMALL | {"workdir": str(workdir)} | values)
    return Experiment(RECIPE, settings, data)


@pytest.fixture
def phases(monkeypatch):
    """The phases after the search that a pipeline comes to; they do next to nothing."""
    asked = []

    def train(self):
        asked.append("train")
        self.run.write_json("train/result.json", {})

    monkeypatch.setattr(Experiment, "train", train)
    for name in ("export", "_report"):
        monkeypatch.setattr(Experiment, name, lambda self, name=name: asked.append(name))
    return asked


def test_a_training_starts_the_same_after_a_search_and_alone(tmp_path, data):
    whole, alone = experiment(tmp_path / "whole", data), experiment(tmp_path / "alone", data)
    searches = [tiny.values(whole._make_search().variables) for _ in range(2)]
    tiny.assert_same(*searches)
    arc = whole.settings.space.parse(ARC)
    starts = [
        tiny.values(one._make_training(arc, one.settings)[0].variables) for one in (whole, alone)
    ]
    tiny.assert_same(*starts)


def test_a_run_of_a_version_without_some_settings_goes_on(tmp_path, data):
    experiment(tmp_path, data).search()
    run = Run(tmp_path)
    record = run.read_json("config.json")
    settings = record["config"]
    removed = {part: settings[part].pop(name) for part, name in LATER}
    run.write_json("config.json", record)
    with pytest.raises(
        UserError, match=r"child\.decay_idle was true and is now false; give the fl"
    ):
        experiment(tmp_path, data, **{"child.decay_idle": False}).derive()
    experiment(tmp_path, data).derive()
    settings = run.read_json("config.json")["config"]
    assert {part: settings[part][name] for part, name in LATER} == removed


def test_experiments_of_one_process_keep_their_precision(tmp_path, data):
    one = experiment(tmp_path, data)
    experiment(tmp_path / "other", data, precision="mixed_bfloat16")._make_search()
    assert one._make_search().weights.trainer.child.dtype_policy.name == "float32"
    half, _ = experiment(tmp_path / "other", data, precision="mixed_bfloat16")._make_training(
        one.settings.space.parse(ARC), one.settings.changed({"precision": "mixed_bfloat16"})
    )
    assert half.trainer.child.dtype_policy.name == "mixed_bfloat16"


def test_a_phase_is_done_only_with_its_marker(tmp_path, data, monkeypatch):
    """Killed between a phase's last file and its marker, a run does the phase again, and alike."""
    mark, stops = Run.mark_done, ["search", "derive", "train", "export"]

    def killing(self, phase, outputs, **facts):
        if stops and phase == stops[0]:
            stops.pop(0)
            raise tiny.Killed
        mark(self, phase, outputs, **facts)

    monkeypatch.setattr(Run, "mark_done", killing)
    for left in (3, 2, 1, 0):
        with pytest.raises(tiny.Killed):
            experiment(tmp_path, data).pipeline()
        assert len(stops) == left
    arcs = (tmp_path / "arcs.json").read_text()
    result = json.loads((tmp_path / "train/result.json").read_text())
    experiment(tmp_path, data).pipeline()
    assert (tmp_path / "arcs.json").read_text() == arcs
    again = json.loads((tmp_path / "train/result.json").read_text())
    assert again | {"seconds": 0} == result | {"seconds": 0}
    # Nobody asked for latencies.
    assert not (tmp_path / "latency.json").exists()
    # One architecture derived once, rewarded once; the version before the marker stays.
    assert len((tmp_path / "search/derived.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "export/cifar_micro/2/saved_model.pb").exists()
    marks = json.loads((tmp_path / "done.json").read_text())
    assert {phase: list(mark["facts"]) for phase, mark in marks.items()} == {
        "search": ["step"],
        "derive": ["step", "config"],
        "train": ["arc"],
        "export": ["result", "formats"],
    }
    # All is done: nothing is made or written any more.
    monkeypatch.setattr(Experiment, "_make_search", None)
    monkeypatch.setattr(Experiment, "_make_training", None)
    before = (tmp_path / "done.json").read_text()
    experiment(tmp_path, data).pipeline()
    assert (tmp_path / "done.json").read_text() == before


def test_a_derivation_is_done_once_it_is_held_against_the_truth(tmp_path, data, monkeypatch):
    table = tmp_path / "truth.csv"
    table.write_text(f'arch,test\n"{ARC}",50.0\n"{OTHER}",60.0\n')
    run = Run(tmp_path / "run")

    def kill(*args):
        raise tiny.Killed

    with monkeypatch.context() as patch, pytest.raises(tiny.Killed):
        patch.setattr(experiments, "report_truth", kill)
        experiment(run.folder, data, truth=str(table)).search_and_derive()
    assert run.path("arc.txt").exists() and not run.is_done("derive")
    experiment(run.folder, data, truth=str(table)).search_and_derive()
    assert run.read_json("truth.json")["source"] == f"{table} (column test)"
    assert run.is_done("derive")


def test_a_training_by_another_derivation_is_not_lost(tmp_path, data):
    experiment(tmp_path, data).search_and_derive()
    derived = (tmp_path / "arc.txt").read_bytes()
    Run(tmp_path).write_text("train/arc.txt", ARC)
    with pytest.raises(UserError, match=r"derive\.num_samples was 3 and is now 2"):
        experiment(tmp_path, data, **{"derive.num_samples": 2}).search_and_derive()
    assert (tmp_path / "arc.txt").read_bytes() == derived


def test_a_run_in_a_store_is_shown_where_it_is(data, store, capsys):
    url, few = "s3://bucket/runs/mine", {"search.num_epochs": 1}
    experiment(url, data, **few).pipeline()
    experiment(url, data, **few).pipeline()
    shown = capsys.readouterr().out
    assert f"report: {url}/report.html\n" in shown
    assert f"export: {url}/export/cifar_micro/1\n" in shown
    assert shown.endswith(f"all phases are done; {url} holds report.html and export/\n")
    left = texts(store, "/bucket/runs/mine/")
    assert {"report.html", "done.json", "export/cifar_micro/1/saved_model.pb"} <= left.keys()


class Recorder(Tracker):
    """A tracker that keeps what it is told of the run."""

    def __init__(self):
        self.told = []

    def begin(self, run):
        self.told.append(("begin", run.folder))

    def end(self, error):
        self.told.append(("end", error))


def test_a_tracker_follows_what_writes_the_run_and_nothing_else(
    tmp_path, data, phases, monkeypatch
):
    recorder = Recorder()
    monkeypatch.setattr(experiments, "make_tracker", lambda metrics_format, track: recorder)
    one = experiment(tmp_path, data, arc=ARC)
    one.pipeline()
    first, *_, last = recorder.told
    assert (first, last) == (("begin", tmp_path), ("end", None))
    assert [name for name, _ in recorder.told].count("end") == 1
    recorder.told.clear()
    # What reads the folder begins nothing.
    _ = one.run
    assert recorder.told == []
    with pytest.raises(UserError) as raised:
        experiment(tmp_path, data).derive()
    assert recorder.told == [("end", raised.value)]


def test_what_was_derived_from_a_part_of_the_search_is_derived_anew(tmp_path, data, phases):
    with tiny.killed_at(4):
        experiment(tmp_path, data).search()
    early = experiment(tmp_path, data).derive()
    experiment(tmp_path, data).search()
    tmp_path.joinpath("arc.txt").write_text(OTHER if str(early) != OTHER else ARC)
    experiment(tmp_path, data).pipeline()
    ranked = json.loads((tmp_path / "arcs.json").read_text())
    assert (tmp_path / "arc.txt").read_text() == ranked[0]["arc"] + "\n"
    steps = [json.loads(line)["step"] for line in (tmp_path / "search/derived.jsonl").open()]
    assert steps == [3] * 3 + [6] * 3
    assert phases == ["train", "_report", "export"]


def test_no_search_follows_the_training_of_a_given_architecture(tmp_path, data, monkeypatch):
    experiment(tmp_path, data, arc=ARC).train()
    monkeypatch.setattr(Experiment, "_make_search", None)
    path = tmp_path / "train/arc.txt"
    with pytest.raises(UserError, match=f"search has derived; go on with it by --arc={path}"):
        experiment(tmp_path, data).pipeline()
    # And goes on with it, up to the export.
    experiment(tmp_path, data, arc=str(path)).pipeline()
    assert (tmp_path / "export/cifar_micro/1/saved_model.pb").exists()
    with pytest.raises(UserError, match="of another architecture"):
        experiment(tmp_path, data, arc=OTHER).pipeline()


def test_overwrite_reads_an_architecture_before_it_removes_its_file(tmp_path, data):
    experiment(tmp_path, data, arc=ARC).train()
    with pytest.raises(UserError, match="no published architecture"):
        experiment(tmp_path, data, arc="micro_enos", overwrite=True).train()
    assert (tmp_path / "train/result.json").exists()
    kept = {"arc": str(tmp_path / "train/arc.txt"), "overwrite": True, "train.num_epochs": 2}
    result = experiment(tmp_path, data, **kept).train()
    assert (result["arc"], result["epochs"]) == (ARC, 2)


@pytest.mark.parametrize(
    ("verb", "values", "message"),
    [
        ("train", {}, "no architecture"),
        ("train", {"arc": "0 0 1"}, "token"),
        ("train", {"arc": ARC, "train.batch_size": 5000}, "batch"),
        ("search", {"search.batch_size": 1000}, "batch"),
        ("pipeline", {"train.batch_size": 5000}, "batch"),
    ],
)
def test_a_mistake_leaves_no_folder(tmp_path, data, verb, values, message):
    with pytest.raises(UserError, match=message):
        getattr(experiment(tmp_path / "run", data, **values), verb)()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("formats", ["tflite", "saved_model,onnx", ""])
def test_unknown_formats_are_told_before_anything_runs(tmp_path, data, formats):
    for verb in ("pipeline", "export"):
        with pytest.raises(UserError, match="must be saved_model, or it and some of tflite, got"):
            getattr(experiment(tmp_path / "run", data, formats=formats), verb)()
    assert not (tmp_path / "run").exists()


def test_what_another_experiment_works_on_is_not_written(tmp_path, data):
    first, second = experiment(tmp_path, data), experiment(tmp_path, data, arc=ARC)
    with first.lock:
        assert first.run.folder == tmp_path
        before = sorted(tmp_path.rglob("*"))
        for write in (second.pipeline, second.search, second.train):
            with pytest.raises(UserError, match=f"{tmp_path} is in use by process "):
                write()
        assert sorted(tmp_path.rglob("*")) == before
        # Reading waits for nobody.
        assert second.run.folder == tmp_path
    with second.lock:
        assert second.run.folder == tmp_path


@pytest.mark.parametrize(
    ("own", "arc", "needed"),
    [
        # A published one, whose numbers are those of all five ops.
        ("max_pool_3x3,identity", "micro_enas", "5"),
        # As others write it, numbers are those of all five ops too.
        ("max_pool_3x3,identity", "[0 0 1 0]\n[0 0 1 1]", "5"),
        # JSON names its ops.
        ("5", ("max pool 3x3", "identity"), "max pool 3x3,identity"),
        ("max_pool_3x3", ("identity",), "identity"),
    ],
)
def test_an_architecture_of_other_ops_is_refused(tmp_path, data, own, arc, needed):
    if isinstance(arc, tuple):
        arc = MicroSpace(1, ",".join(arc)).parse([0] * 8).to_json()
    run = experiment(tmp_path / "run", data, arc=arc, **{"space.ops": own})
    with pytest.raises(UserError, match=f"needs --space.ops={needed}; with --space.ops={own[:3]}"):
        run.describe()


def test_an_architecture_of_more_ops_than_the_run_has_is_refused(tmp_path, data):
    with pytest.raises(UserError, match=r"needs --space.ops=5; with --space.ops=3"):
        experiment(tmp_path / "run", data, arc="micro_enas", **{"space.ops": 3}).describe()


def test_arrays_are_checked_before_anything_runs(tmp_path):
    images = np.zeros((4, 8, 8, 1), np.float32)
    splits = dict.fromkeys(("train", "valid", "test"), Split(images, np.zeros(4, np.int32)))
    with pytest.raises(UserError, match="must be uint8"):
        experiment(tmp_path / "run", ImageData("mine", splits, ("a",), flip=False))
    assert not (tmp_path / "run").exists()


def test_describe_refuses_a_run_with_other_settings(tmp_path, data):
    run = experiment(tmp_path, data).run
    run.write_text("arc.txt", ARC)
    assert "separable conv 3x3" in experiment(tmp_path, data).describe()
    with pytest.raises(UserError, match=r"another configuration: space\.ops was .5. and is now"):
        experiment(tmp_path, data, **{"space.ops": 4}).describe()


def test_a_derived_architecture_of_named_ops_names_them_in_its_file(tmp_path, data):
    ops = {"space.ops": "max_pool_3x3,identity", "search.num_epochs": 1}
    run = experiment(tmp_path, data, **ops)
    run.search()
    arc = run.derive()
    text = (tmp_path / "arc.txt").read_text()
    assert json.loads(text)["ops"] == ["max pool 3x3", "identity"]
    assert experiment(tmp_path, data, **ops)._arc()[1] == arc
    # Elsewhere it is not read as another architecture.
    with pytest.raises(UserError, match=r"needs --space.ops=max pool 3x3,identity"):
        experiment(tmp_path / "other", data, arc=str(tmp_path / "arc.txt")).describe()


class FakeClock:
    """A block takes a microsecond for each channel of its inputs; networks take 1, 2, ... ms."""

    measured: ClassVar[list] = []

    def __init__(self, batch, compiled):
        self.batch, self.compiled = batch, compiled

    def time_blocks(self, blocks):
        self.measured += blocks
        return [sum(shape[-1] for shape in block.shapes) / 1000 for block in blocks]

    def time_networks(self, networks, count):
        return [1 + n for n in range(count)]


def test_a_search_by_latency_measures_once_and_derives_within_limits(
    tmp_path, data, phases, monkeypatch, capsys
):
    monkeypatch.setattr(experiments, "Clock", FakeClock)
    cost = {"search.cost": "latency", "search.cost_target": 0.1, "search.latency_batch": 4}
    cost |= {"search.num_epochs": 1}
    experiment(tmp_path, data, **cost).pipeline()
    table = json.loads((tmp_path / "latency.json").read_text())
    assert table["measured_on"]["batch"] == 4 and not table["measured_on"]["compiled"]
    assert len(table["blocks_ms"]) == len(FakeClock.measured)
    arcs = json.loads((tmp_path / "arcs.json").read_text())
    times = [one["latency_ms"] for one in arcs]
    assert len(arcs) == 3 and all(ms > 0 for ms in times)
    # Other limits derive from the same search, with the same numbers.
    FakeClock.measured.clear()
    capsys.readouterr()
    limit = {"derive.max_latency_ms": max(times), "derive.num_samples": 2}
    experiment(tmp_path, data, **cost, **limit).derive()
    again = json.loads((tmp_path / "arcs.json").read_text())
    known = {one["arc"]: one["latency_ms"] for one in arcs}
    assert all(one["latency_ms"] == known.get(one["arc"], one["latency_ms"]) for one in again)
    assert f"have at most {max(times):.2f} ms of latency" in capsys.readouterr().out
    assert FakeClock.measured == []
    table["measured_on"]["device"] = "An abacus"
    (tmp_path / "latency.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match="was measured with device An abacus, and not "):
        experiment(tmp_path, data, **cost).derive()
