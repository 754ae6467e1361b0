"""--seeds, on a finished run and another seed."""

import json
import shutil

import pytest

from tests.launching import launch_in_turn


@pytest.fixture(scope="module")
def repeated(finished_run, tmp_path_factory):
    """A folder in which the first of two seeds was done already, and what the commands did."""
    root = tmp_path_factory.mktemp("seeds")
    folder = root / "runs"
    for name in ("runs", "at once"):
        shutil.copytree(finished_run[0], root / name / "seed_0")
    commands = {
        "search": ["search", f"--workdir={folder}", "--seeds=2"],
        "at once": ["search", f"--workdir={root}/at once", "--seeds=2", "--parallel=2"],
        "derive": ["derive", f"--workdir={folder}", "--seeds=2"],
        "none": ["search", f"--workdir={folder}", "--seeds=0"],
        "alone": ["train", f"--workdir={folder}", "--parallel=2"],
        "nothing": ["derive", f"--workdir={root}/none", "--parallel=2", "--derive.finalists=2"],
    }
    return folder, launch_in_turn(root, commands)


def test_searches_and_derives_with_every_seed(repeated, finished_run):
    folder, results = repeated
    assert results["search"].status == 0, results["search"].stderr
    found = json.loads((folder / "seeds.json").read_text())
    assert [one["seed"] for one in found["seeds"]] == [0, 1]
    for one in found["seeds"]:
        run = folder / f"seed_{one['seed']}"
        assert json.loads((run / "config.json").read_text())["seed"] == one["seed"]
        rewards = [arc["reward"] for arc in json.loads((run / "arcs.json").read_text())]
        assert one["best_reward"] == rewards[0]
        assert one["mean_reward"] == pytest.approx(sum(rewards) / 4)
    # The one that was trained before is the only one with an accuracy.
    assert "test_accuracy" in found["seeds"][0] and "test_accuracy" not in found["mean"]
    gaps = [one["gap"] for one in found["seeds"]]
    assert found["mean"]["gap"] == pytest.approx(sum(gaps) / 2)
    assert found["deviation"]["gap"] == pytest.approx(abs(gaps[0] - gaps[1]) / 2**0.5)
    shown = results["search"].stdout
    assert f"seeds: gap {found['mean']['gap']:.4f}, deviation " in shown
    assert not (folder / "config.json").exists()


def test_another_seed_is_another_search_and_what_is_done_stays(repeated, finished_run):
    folder, _ = repeated
    texts = [(folder / f"seed_{n}/search/arcs.jsonl").read_text() for n in (0, 1)]
    assert texts[0] == (finished_run[0] / "search/arcs.jsonl").read_text() != texts[1]


def test_at_once_gives_the_same_results_bit_for_bit(repeated):
    folder, results = repeated
    assert results["at once"].status == 0, results["at once"].stderr
    assert "seeds: 2 to do, 2 at a time" in results["at once"].stdout
    for name in ("seeds.json", "seed_1/arcs.json", "seed_1/search/arcs.jsonl"):
        assert (folder.parent / "at once" / name).read_bytes() == (folder / name).read_bytes()
    assert "epoch 1 valid: " in (folder.parent / "at once/seed_1/log.txt").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("derive", "--seeds repeats a search, so it goes with the verb search or with none, not d"),
        ("none", "seeds must be at least 1, got 0"),
        ("alone", "--parallel=2 has nothing to run at once here: it goes with --seeds, with co"),
        ("nothing", "holds no search; run the verb search first"),
    ],
)
def test_mistakes(repeated, name, message):
    result = repeated[1][name]
    assert result.status == 2 and message in result.stderr
