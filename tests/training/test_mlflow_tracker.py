import json
import math
import time

import pytest

from enas_tf.core.errors import Preempted, UserError
from enas_tf.training import mlflow_tracker
from enas_tf.training.metric_writer import Metrics
from enas_tf.training.mlflow_tracker import MlflowTracker
from enas_tf.training.run_folder import Run
from tests import tiny

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: the extra `test` has it")

ARC = "0 0 1 0 0 0 1 0"
CONFIG = {"preset": "tiny", "data_dir": None, "search": {"cost_weight": 0.5}, "space": {"ops": [1]}}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store of files as MLflow's users name it; afterwards no run is active."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "digits")
    # So that nothing that the tracker sets outlasts the test.
    for name in mlflow_tracker._ENVIRONMENT:
        monkeypatch.setenv(name, "quiet" if name.startswith("GIT") else "0")
    yield
    mlflow.end_run()


def tracked(folder):
    """A run that a new tracker has begun to follow, as a new process does."""
    run = Run(folder)
    if not run.path("config.json").exists():
        run.write_json("config.json", {"config": CONFIG})
    while mlflow.active_run():
        mlflow.end_run("RUNNING")
    run.tracker = MlflowTracker()
    run.tracker.begin(run)
    return run


def kept(run):
    """What MLflow itself tells of a run."""
    return mlflow.MlflowClient().get_run(run.read_json("mlflow.json")["run_id"])


def history(run, name):
    """The steps and values of a metric, in the order in which MLflow keeps them."""
    found = mlflow.MlflowClient().get_metric_history(kept(run).info.run_id, name)
    return [(metric.step, metric.value) for metric in found]


def recorded(run, phase, name):
    return [
        (record["step"], record[name])
        for record in tiny.records(run, "train")
        if record["phase"] == phase
    ]


def check_metrics(run):
    """Checks that MLflow has each record of the training once."""
    for phase, name in (("train", "loss"), ("valid", "accuracy"), ("test", "accuracy")):
        wanted = recorded(run, phase, name)
        assert wanted and history(run, f"{phase}/{name}") == wanted


def artifacts(run, folder=None):
    return {
        file.path for file in mlflow.MlflowClient().list_artifacts(kept(run).info.run_id, folder)
    }


def test_keeps_settings_metrics_result_and_export(tmp_path, capsys):
    before = 1000 * time.time()
    run = tracked(tmp_path / "run")
    shown = f"mlflow: run {kept(run).info.run_id} of experiment {kept(run).info.experiment_id}\n"
    assert capsys.readouterr().out == shown
    assert kept(run).info.status == "RUNNING"
    result = tiny.training(tiny.TRAIN).run(run, ARC, params=77)
    version = run.path("export/tiny/1")
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    run.tracker.exported(version)
    run.tracker.end(None)
    data = kept(run).data
    assert data.params == {
        "preset": "tiny",
        "data_dir": "None",
        "search.cost_weight": "0.5",
        "space.ops": "[1]",
    }
    assert data.tags["architecture"] == ARC
    assert data.tags["folder"] == str(run.folder.resolve())
    assert kept(run).info.run_name == str(run.folder)
    assert kept(run).info.status == "FINISHED"
    assert mlflow.get_experiment(kept(run).info.experiment_id).name == "digits"
    check_metrics(run)
    assert data.metrics["result/params"] == 77
    assert data.metrics["result/best_valid/accuracy"] == result["best_valid"]["accuracy"]
    first = mlflow.MlflowClient().get_metric_history(kept(run).info.run_id, "train/loss")[0]
    assert before - 1000 < first.timestamp < 1000 * time.time()
    assert artifacts(run) == {"config.json", "export", "train"}
    assert artifacts(run, "train") == {"train/result.json"}
    assert artifacts(run, "export/tiny/1") == {"export/tiny/1/saved_model.pb"}


def test_a_resumed_run_goes_on_and_has_each_record_once(tmp_path):
    """Killed after steps that had been recorded, but that no checkpoint had saved."""
    with tiny.many_checkpoints():
        run = tracked(tmp_path)
        with pytest.MonkeyPatch.context() as patch, tiny.killed_at(9):
            patch.setattr("enas_tf.training.session._CHECKPOINT_SECONDS", math.inf)
            tiny.training(tiny.TRAIN).run(run, ARC, params=77)
        known = kept(run).info.run_id
        # More has been recorded than MLflow has got.
        assert len(history(run, "train/loss")) < len(recorded(run, "train", "loss"))
        again = tracked(tmp_path)
        tiny.training(tiny.TRAIN).run(again, ARC, params=77)
        again.tracker.end(None)
    assert kept(again).info.run_id == known
    check_metrics(again)


def test_a_run_that_began_without_is_sent_from_its_start(tmp_path):
    metrics = Metrics(tmp_path / "train")
    for phase in ("train", "valid", "test"):
        metrics.write(phase, step=3, epoch=0, loss=0.5, accuracy=0.25, aux_loss=math.nan)
    metrics.close()
    Run(tmp_path).mark_done("train", outputs=[])
    run = tracked(tmp_path)
    check_metrics(run)
    assert run.read_json("mlflow.json")["sent"] == {"train": 3}
    assert "train/aux_loss" not in kept(run).data.metrics


def test_a_server_that_fails_is_warned_of_once_and_gets_all_later(tmp_path, monkeypatch, capsys):
    run = tracked(tmp_path)
    works = mlflow.MlflowClient.log_batch
    asked = []

    def fails(*args, **kwargs):
        asked.append(args)
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", fails)
    tiny.training(tiny.TRAIN).run(run, ARC, params=77)
    stderr = capsys.readouterr().err
    assert stderr.startswith("warning: MLflow does not take what this run sends: no route; the run")
    # It is asked once, and then left alone for minutes.
    assert stderr.count("\n") == len(asked) == 1
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", works)
    run.tracker.end(None)
    check_metrics(run)
    assert kept(run).data.metrics["result/params"] == 77
    assert kept(run).data.tags["architecture"] == ARC
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError("a fault"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (Preempted("stopped", 15), "KILLED"),
    ],
)
def test_how_a_command_ended_is_the_runs_status(tmp_path, error, status):
    run = tracked(tmp_path)
    run.tracker.end(error)
    assert kept(run).info.status == status
    assert mlflow.active_run() is None
    # A later command goes on.
    assert kept(tracked(tmp_path)).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "MLflow cannot be reached: "),
        ("sqlite:///{root}/mlflow.db", "mlflow-skinny cannot write a database: pip install "),
        ("{root}/other", "plain files only where MLFLOW_ALLOW_FILE_STORE=true is set"),
    ],
)
def test_what_cannot_be_reached_is_told_at_the_start(tmp_path, monkeypatch, uri, message):
    if "sqlite" in uri and mlflow_tracker.importlib.util.find_spec("sqlalchemy"):
        pytest.skip("SQLAlchemy is installed, so that MLflow can write a database")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(root=tmp_path))
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    with pytest.raises(UserError, match=message) as raised:
        tracked(tmp_path)
    assert "MLFLOW_TRACKING_URI" in str(raised.value) and "\n" not in str(raised.value)


def test_a_run_that_mlflow_no_longer_knows_is_told(tmp_path):
    Run(tmp_path).write_json("mlflow.json", {"run_id": "0" * 32, "sent": {}})
    with pytest.raises(UserError, match=f"does not know run {'0' * 32}, which mlflow.json names"):
        tracked(tmp_path)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(mlflow_tracker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'enas_tf\[mlflow\]'"):
        MlflowTracker()


def test_what_has_not_begun_is_no_end(tmp_path):
    tracker = MlflowTracker()
    tracker.saved(tmp_path)
    tracker.end(None)
    assert json.dumps([*tmp_path.iterdir()]) == "[]"
