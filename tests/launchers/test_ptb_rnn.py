"""The launcher as a user calls it, in processes of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from enas_tf.data.corpora import load_text
from tests.launching import ROOT, command, environment, launch

WORDS = ["a", "few", "words", "that", "say", "nothing", "at", "all"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The flag for a small text."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    for split, lines in (("train", 200), ("valid", 60), ("test", 12)):
        text = [" ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(lines)]
        (folder / f"{split}.txt").write_text("\n".join(text) + "\n")
    return f"--dataset=text:{folder}"


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """The folder of a finished run, and what the launcher printed."""
    folder = tmp_path_factory.mktemp("rnn")
    done = launch(corpus, f"--workdir={folder}", launcher="ptb_rnn")
    assert done.status == 0, done.stderr
    return folder, done.stdout


def records(folder, phase):
    """Metrics without what depends on the machine's speed."""
    lines = (folder / phase / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if "second" not in name}
        for line in lines
    ]


def test_the_pipeline_leaves_a_cell_its_figures_and_an_export(finished, corpus):
    folder, shown = finished
    arc = (folder / "arc.txt").read_text().strip()
    result = json.loads((folder / "train/result.json").read_text())
    assert result["arc"] == arc and len(arc.split()) == 4
    assert result["tokens_seen"] > 0 and result["test"]["perplexity"] > 1
    assert result["best_valid"]["perplexity"] == pytest.approx(np.exp(result["best_valid"]["loss"]))
    vocabulary = load_text(corpus.removeprefix("--dataset="), None).vocabulary
    version = folder / "export/ptb_rnn/1"
    for path in (folder / "labels.txt", version / "assets.extra/labels.txt"):
        assert path.read_text().splitlines() == [*vocabulary]
    assert (version / "saved_model.pb").exists()
    assert shown.count("prediction: after ") == 3
    child = [r for r in records(folder, "search") if r["phase"] == "child"]
    assert all(r["perplexity"] > 1 and r["learning_rate"] == 20 for r in child)


def test_evaluate_repeats_the_test(finished, corpus):
    folder, _ = finished
    done = launch("evaluate", corpus, f"--workdir={folder}", launcher="ptb_rnn")
    result = json.loads((folder / "train/result.json").read_text())
    assert done.status == 0
    assert json.loads(done.stdout) == {"split": "test", **result["test"]}


def test_a_run_whose_reader_has_gone_stops_and_goes_on_to_the_same_end(finished, corpus, tmp_path):
    folder, _ = finished
    process = subprocess.Popen(
        command(corpus, f"--workdir={tmp_path}", launcher="ptb_rnn"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # As `head -1` does.
    assert process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 141)
    assert list(tmp_path.glob("*/checkpoints/step_*"))
    done = launch(corpus, f"--workdir={tmp_path}", launcher="ptb_rnn")
    assert done.status == 0, done.stderr
    assert "resuming at step" in done.stdout
    for name in ("search", "train"):
        assert records(tmp_path, name) == records(folder, name)
    for name in ("arcs.json", "search/arcs.jsonl"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()


def test_other_words_than_the_run_began_with_are_refused(finished, corpus):
    folder, _ = finished
    text = Path(corpus.removeprefix("--dataset=text:")) / "train.txt"
    kept = text.read_text()
    text.write_text(kept + "one more\n")
    done = launch("train", corpus, f"--workdir={folder}", launcher="ptb_rnn")
    text.write_text(kept)
    assert done.status == 2 and "Traceback" not in done.stderr
    assert "has other classes or words than when the run" in done.stderr
