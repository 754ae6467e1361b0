"""The verb compare and the report, on a finished run."""

import json
import re
import shlex
import shutil
from html import unescape

import pytest

from enas_tf.experiment.settings import run_config
from enas_tf.micro.recipe import CIFAR_MICRO
from launchers.cli import read_command
from tests.launching import launch_in_turn

SMALL = ["--compare.num_samples=3", "--compare.num_trained=2", "--compare.epochs=1"]


@pytest.fixture(scope="module")
def compared(finished_run, tmp_path_factory):
    """A copy of the finished run, in which compare was run, and what the commands did."""
    root = tmp_path_factory.mktemp("compare")
    folder = root / "run"
    shutil.copytree(finished_run[0], folder)
    compare = ["compare", f"--workdir={folder}", *SMALL]
    commands = {
        "compare": compare,
        "nothing": ["compare", f"--workdir={root}/none"],
        "overwrite": [*compare, "--overwrite"],
    }
    return folder, launch_in_turn(root, commands)


def test_compares_rewards_and_trainings_from_scratch(compared):
    folder, results = compared
    assert results["compare"].status == 0, results["compare"].stderr
    result = json.loads((folder / "compare.json").read_text())
    assert result["controller"]["count"] == result["uniform"]["count"] == 3
    assert result["config"] == {"num_samples": 3, "num_trained": 2, "epochs": 1}
    for number, one in enumerate(result["trained"]):
        alone = folder / f"compare/arc_{number:02d}/train"
        assert (alone / "arc.txt").read_text().strip() == one["arc"]
        records = map(json.loads, (alone / "metrics.jsonl").read_text().splitlines())
        [accuracy] = [r["accuracy"] for r in records if r["phase"] != "train"]
        assert one["stand_alone_reward"] == pytest.approx(accuracy)
    shown = results["compare"].stdout
    for sentence in re.split(r"(?<=\.) (?=Of )", result["verdict"]):
        assert f"compare: {sentence}" in shown
    assert result["verdict"] in unescape((folder / "report.html").read_text())


def test_the_run_stays_as_it_was(compared, finished_run):
    for name in ("config.json", "arcs.json", "arc.txt", "train/result.json"):
        assert (compared[0] / name).read_bytes() == (finished_run[0] / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "holds no search; run the verb search first"),
        ("overwrite", "--overwrite would remove what compare works on"),
    ],
)
def test_mistakes(compared, name, message):
    result = compared[1][name]
    assert result.status == 2 and message in result.stderr


def test_the_pipeline_leaves_a_report_whose_commands_go_on_with_the_run(finished_run):
    folder, shown = finished_run
    assert f"report: {folder}/report.html" in shown
    text = unescape((folder / "report.html").read_text())
    program, verb, *given = shlex.split(re.search("<pre>python -m (.*)</pre>", text)[1])
    assert (program, verb) == ("launchers.cifar_micro", "train")
    settings = read_command(CIFAR_MICRO, "", [program, verb, *given]).settings
    assert settings.common.workdir == str(folder)
    stored = json.loads((folder / "config.json").read_text())["config"]
    assert json.loads(json.dumps(run_config(settings))) == stored
