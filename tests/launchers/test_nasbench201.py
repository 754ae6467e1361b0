"""The launcher as a user calls it; what all launchers do is tested with cifar_micro."""

import importlib.util
import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from enas_tf.data.base import DataConfig
from enas_tf.data.images import load_images
from enas_tf.nasbench201.space import Nasbench201Space
from tests.launching import environment, launch_in_turn

BEST = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"

# Reads the export without the project.
_LOAD = """
import sys
import numpy as np, tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print([int(one) for one in signature(tf.constant(np.load(sys.argv[2])))["class_id"]])
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The flag of a table of all cells of three nodes, in the benchmark's form."""
    path, rng = tmp_path_factory.mktemp("truth") / "truth.csv", random.Random(0)
    space = Nasbench201Space(3)
    cells = [space.parse([n // 25, n // 5 % 5, n % 5]).benchmark_text for n in range(125)]
    lines = [f"{cell},{rng.uniform(10, 90):.2f}" for cell in cells]
    path.write_text("\n".join(["arch,test", *lines]) + "\n")
    return f"--truth={path}"


@pytest.fixture(scope="module")
def told(tmp_path_factory, table):
    root = tmp_path_factory.mktemp("commands")
    by_truth = ["--search.reward=truth", "--space.num_nodes=3", f"--workdir={root}/truth"]
    more = ["--derive.num_samples=8", "--search.reward_bn=moving", "--metrics_format=katib"]
    more += ["--train.init=shared"]
    more += ["--track=mlflow"] if importlib.util.find_spec("mlflow") else []
    commands = {
        "pipeline": [f"--workdir={root}/whole", *more],
        "describe": ["describe", f"--arc={BEST}"],
        "search": ["search", table, *by_truth],
        "derive": ["derive", table, *by_truth],
        "no table": ["search", "--search.reward=truth", f"--workdir={root}/none"],
        "not all": ["search", table, "--search.reward=truth", f"--workdir={root}/none"],
        "no column": ["search", table, *by_truth[:2], "--truth_column=x", f"--workdir={root}/none"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_TRACKING_URI", f"{root}/mlruns")
        return launch_in_turn(root, commands, "nasbench201"), root


def test_the_pipeline_from_digits_to_an_export(told):
    results, root = told
    folder = root / "whole"
    assert (results["pipeline"].status, results["pipeline"].stderr) == (0, "")
    result = json.loads((folder / "train/result.json").read_text())
    init = result["init"]
    assert init["from"] == "shared"
    assert init["taken_weights"] == init["weights"] == result["params"]
    assert "train: starts from the shared weights: " in results["pipeline"].stdout
    ranked = json.loads((folder / "arcs.json").read_text())
    assert len(ranked) == 8 and ranked[0]["arc"] == result["arc"]
    # The formula that counts for the ranking, and the network that was built.
    assert ranked[0]["params"] == result["params"]
    test = load_images("digits", None, DataConfig()).splits["test"]
    np.save(root / "images.npy", test.images)
    export = folder / "export/nasbench201/1"
    command = [sys.executable, "-c", _LOAD, str(export), str(root / "images.npy")]
    loaded = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    accuracy = np.mean(np.array(json.loads(loaded.stdout)) == test.labels)
    assert accuracy == pytest.approx(result["test"]["accuracy"], abs=1 / len(test.labels))


def test_katib_can_read_what_the_pipeline_prints(told):
    results, root = told
    found = dict(re.findall(r"^\S+Z ([\w-]+)=(\S+)$", results["pipeline"].stdout, re.MULTILINE))
    result = json.loads((root / "whole/train/result.json").read_text())
    assert float(found["test-accuracy"]) == result["test"]["accuracy"]
    assert float(found["valid-accuracy"]) == result["final"]["valid"]["accuracy"]
    assert {"child-loss", "controller-reward", "valid-gap", "train-loss"} < found.keys()
    # Elsewhere there is none of it.
    assert not re.search(r"^\S+Z ", results["search"].stdout, re.MULTILINE)


def test_mlflow_has_the_pipelines_result_and_export(told, monkeypatch):
    mlflow = pytest.importorskip(
        "mlflow", reason="MLflow is not installed: the extra `test` has it"
    )
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    root = told[1]
    client = mlflow.MlflowClient(f"{root}/mlruns")
    (kept,) = client.search_runs(["0"])
    assert kept.info.run_id == json.loads((root / "whole/mlflow.json").read_text())["run_id"]
    assert kept.info.status == "FINISHED"
    result = json.loads((root / "whole/train/result.json").read_text())
    assert kept.data.tags["architecture"] == result["arc"]
    assert kept.data.metrics["test/accuracy"] == result["test"]["accuracy"]
    assert kept.data.params["derive.num_samples"] == "8" and kept.data.params["seed"] == "0"
    lines = (root / "whole/search/metrics.jsonl").read_text().splitlines()
    wanted = [(r["step"], r["loss"]) for r in map(json.loads, lines) if r["phase"] == "child"]
    sent = client.get_metric_history(kept.info.run_id, "child/loss")
    assert [(metric.step, metric.value) for metric in sent] == wanted
    version = client.list_artifacts(kept.info.run_id, "export/nasbench201/1")
    assert "export/nasbench201/1/saved_model.pb" in [file.path for file in version]
    files = {file.path for file in client.list_artifacts(kept.info.run_id)}
    assert {"report.html", "arcs.json", "arc.txt", "labels.txt", "train"} < files


def test_a_search_by_the_truth_trains_the_controller_alone(told):
    results, root = told
    for verb in ("search", "derive"):
        assert (results[verb].status, results[verb].stderr) == (0, "")
    lines = (root / "truth/search/metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["phase"] for line in lines} == {"controller", "valid"}
    assert "no shared weights were trained" in results["derive"].stdout


def test_describe_takes_the_benchmarks_text_and_prints_it(told):
    shown = told[0]["describe"]
    assert shown.status == 0 and f"in the benchmark's text: {BEST}\n" in shown.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no table", "search.reward=truth needs a table of true accuracies: give its file by"),
        ("not all", "truth.csv, line 2: "),
        ("no column", "truth.csv has no column x; give one of test by --truth_column"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(told, name, message):
    results, root = told
    assert results[name].status == 2 and message in results[name].stderr
    assert results[name].stderr.count("\n") == 1
    assert not (root / "none").exists()
