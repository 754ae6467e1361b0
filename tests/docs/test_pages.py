"""Every block of code in the pages is run, or checked, or told not to be run, with the reason."""

import importlib
import json
import re
import shutil
import subprocess
import sys

import pytest

import enas_tf
from benchmarks import (
    budget,
    controller_alone,
    latency_table,
    one_device,
    rank_correlation,
    truth_plots,
)
from enas_tf.benchmark.base import BenchmarkConfig
from enas_tf.core.errors import UserError
from enas_tf.serving.predict import PredictConfig
from enas_tf.serving.server import ServeConfig
from launchers import predict
from launchers.cli import read_command
from launchers.flags import Flags
from tests.docs.blocks import PAGES, ROOT, launcher_of, read_blocks, split_commands
from tests.launching import environment
from tests.stand_in_server import stand_in_server

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
RUN = [block for block in BLOCKS if block.language == "python" or block.mark == "run"]

SHOWN = {
    "text": "files, grammar and other things that are no commands",
    "json": "what a command answers",
    "yaml": "a compose file, for which no engine is at hand",
    "bibtex": "a reference",
    "diff": "applied by a test below",
    "python": "run by a test below",
}

NOT_RUN = {
    "cd": "there is one folder only",
    "curl": "asks a real server",
    "docker": "no container engine is at hand",
    "echo": "feeds another command",
    "export": "sets what other commands read",
    "kubectl": "no cluster is at hand; tests/deploy checks what it is given",
    "git": "changes the checkout",
    "mv": "moves a version out of a model's folder; tests/launchers/test_serve.py asks a server",
    "pip": "downloads",
    "pre-commit": "downloads its hooks",
    "printf": "feeds another command",
    "pytest": "runs these tests",
    "python3.11": "makes the environment that these tests run in",
    "ruff": "CI runs it",
    "sbatch": "no cluster is at hand; tests/deploy runs the script that it is given",
    "tensorboard": "serves until it is stopped",
    "tensorflow_model_server": "no package index has it",
}

SCRIPTS = (budget, controller_alone, latency_table, one_device, rank_correlation, truth_plots)

CONFIGS = {"benchmark": BenchmarkConfig, "predict": PredictConfig, "serve": ServeConfig}


def check_command(words):
    """Fails for a command that is wrong, or of no kind."""
    called = launcher_of(words)
    if called is None:
        program = words[0].removeprefix(".venv/bin/")
        program = words[2] if program == "python" and words[1] == "-m" else program
        for script in SCRIPTS:
            if program == script.__name__:
                script.read(words[3:])
                return
        assert program in NOT_RUN, f"say in NOT_RUN why {program} is not run"
        return
    # A run's flags.txt is there once the run is.
    name, arguments = called[0], [a for a in called[1] if not a.startswith("--flagfile=")]
    usage = importlib.import_module(f"launchers.{name}").__doc__
    if name in CONFIGS:
        flags = Flags(usage)
        flags.add("", {"default": CONFIGS[name]()})
        flags.parse([name, *arguments])
        flags.config("")
    else:
        read_command(getattr(enas_tf, name.upper()), usage, [name, *arguments])


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_of_a_kind_and_its_commands_are_right(block):
    if block.language in SHOWN:
        return
    assert block.language in ("bash", "console")
    for words in block.commands:
        check_command(words)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("python -m launchers.cifar_micro --search.epochs=3", UserError),
        ("enas-cifar-micro --preset=huge", UserError),
        (".venv/bin/python -m launchers.cifar_micro seek", UserError),
        ("python -m launchers.cifar_macro --train.out_filters=5", UserError),
        ("python -m launchers.benchmark --cases=micro_search", UserError),
        ("python -m launchers.nosuch", ModuleNotFoundError),
        ("make all", AssertionError),
    ],
)
def test_a_wrong_command_is_found(command, error, capsys):
    with pytest.raises(error):
        check_command(split_commands(command)[0])


def test_a_shells_text_is_split_into_commands():
    text = "a 'b | c\nd' \\\n --e |\n  f && g [x] [--y=Z,...]  # i | j\nh\n"
    assert split_commands(text) == [["a", "b | c\nd", "--e"], ["f"], ["g"], ["h"]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What came of the pages' blocks, by their places; and the folder of the pages' folders."""
    folder = tmp_path_factory.mktemp("pages")
    pages = dict.fromkeys(block.page for block in RUN)
    subprocess.run(
        [sys.executable, "-m", "tests.docs.run_pages", str(folder), *pages],
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return json.loads((folder / "results.json").read_text()), folder / "docs"


@pytest.mark.parametrize("block", RUN, ids=str)
def test_blocks_run_as_they_are(ran, block):
    status, out, err = ran[0][str(block)]
    if block.language == "console":
        assert out + err == block.output
        assert (status == 0) is not block.output.startswith("error: ")
    else:
        assert status == 0, err


def test_a_notebook_gets_an_architecture_its_accuracy_and_an_export(ran):
    results, folder = ran
    first = next(b for b in RUN if b.page == "docs/python.md")
    last = results[str(first)][1].splitlines()[-1]
    accuracy = re.fullmatch(r"[\d ]+ reaches ([\d.]+)% on test images; exported to (\S+)", last)
    assert float(accuracy[1]) > 50
    assert (folder / "python" / accuracy[2] / "saved_model.pb").exists()


def test_a_space_and_a_data_set_of_ones_own_work(ran):
    folder = ran[1] / "extending/runs/chain"
    result = json.loads((folder / "train/result.json").read_text())
    assert result["test"]["accuracy"] > 0.8
    assert (folder / "report.html").exists() and (folder / "export/chain/1").exists()
    assert (folder / "labels.txt").read_text() == "flat\nsteep\n"
    assert json.loads((folder / "config.json").read_text())["config"]["dataset"] == "stripes"


def test_ones_own_images_are_served(ran, monkeypatch, capsys):
    folder = ran[1] / "your_data"
    monkeypatch.chdir(folder)
    blocks = [b for b in RUN if b.page == "docs/your_data.md" and b.mark]
    (words,) = [w for b in blocks for w in b.commands if launcher_of(w)[0] == "predict"]
    version = folder / "runs/shapes/export/cifar_micro/1"
    with stand_in_server(version, "cifar_micro") as (_, address, _):
        arguments = ["predict", *launcher_of(words)[1], f"--server={address}"]
        assert predict.main(arguments) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[:2]] == ["file", "shapes/cross/0.png"] and len(rows) == 122
    assert {row[1] for row in rows[1:]} <= {"cross", "disc", "square"}


# After the change: what the new op computes with shared weights and in a final network, and that a
# controller can draw it.
_CHECKS = {
    "rnn": """
import tensorflow as tf
from enas_tf.rnn.network import FixedWiring
from enas_tf.rnn.space import RnnSpace
from enas_tf.rnn.supernet import DrawnWiring
space, arc = RnnSpace.of("0 4", op_set=5)
x = tf.constant([-1.0, 0.5])
drawn = DrawnWiring(space.rows, tf.constant(arc.tokens), "all")
for wiring in (FixedWiring(arc, "all"), drawn):
    tf.debugging.assert_near(wiring.activate(1, x), x * tf.sigmoid(x))
print(space.explain(arc))
""",
    "macro": """
from tests.docs import new_ops
new_ops.check_macro("separable conv 7x7")
""",
    "micro": """
from tests.docs import new_ops
new_ops.check_micro("dilated separable conv 3x3")
""",
}
_SHOWN = {
    "rnn": "node 1 = silu on node 0",
    "macro": "layer 2 = separable conv 7x7 of layer 1",
    "micro": "node 2 = dilated separable conv 3x3 of input 0 + identity of input 1",
}


_SPACES = [pytest.param(s, marks=() if s == "rnn" else pytest.mark.long) for s in _CHECKS]


@pytest.mark.parametrize("space", _SPACES)
def test_the_change_that_adds_an_op_does(tmp_path, space):
    for folder in ("enas_tf", "tests/docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (diff,) = [b.text for b in BLOCKS if b.language == "diff" and f"b/enas_tf/{space}/" in b.text]
    # One file is all that an op takes.
    assert diff.count("+++ ") == 1
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    command = [sys.executable, "-c", _CHECKS[space]]
    env = environment() | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert _SHOWN[space] in done.stdout, done.stderr


def anchors(text):
    """What headings can be linked by."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text()
    assert [page for page in PAGES[1:] if f"({page})" not in readme] == []


def test_the_readmes_two_marked_commands_are_there():
    marked = {b.mark: b for b in BLOCKS if b.page == "README.md" and b.mark}
    assert set(marked) == {"try it", "tests"}
    assert all(b.text.startswith("python3.11 -m venv .venv && ") for b in marked.values())
