import json

import pytest

from benchmarks.truth_plots import picture
from enas_tf.core.errors import UserError
from enas_tf.search.truth import Truth

TRUTH = Truth("table", {(0, 1): 50.0, (2, 3): 80.0, (4, 4): 70.0})


@pytest.fixture
def run(tmp_path):
    """Two epochs; an architecture of the controller, which was derived, and a uniform draw."""
    (tmp_path / "search").mkdir()
    epochs = [{"epoch": n, "phase": "valid", "truth": 60 + n, "uniform_truth": 55} for n in (0, 1)]
    for name, records in {
        "metrics": [{"epoch": 0, "phase": "child", "loss": 1.0}, *epochs],
        "derived": [{"arc": "2 3", "reward": 0.5}, {"arc": "0 1", "reward": 0.25}],
    }.items():
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        (tmp_path / f"search/{name}.jsonl").write_text(text)
    (tmp_path / "arcs.json").write_text(json.dumps([{"arc": "2 3", "reward": 0.5}]))
    return tmp_path


def test_draws_rewards_against_the_truth_and_what_an_epoch_draws(run):
    ranks, learns = picture(run, TRUTH).axes
    shown = {drawn.get_label(): drawn.get_offsets().tolist() for drawn in ranks.collections}
    assert shown == {
        "uniform draws": [[50, 0.25]],
        "the controller's": [[80, 0.5]],
        "derived": [[80, 0.5]],
    }
    drawn, known, best = learns.lines
    assert drawn.get_xydata().tolist() == [[1, 60], [2, 61]]
    assert list(known.get_ydata()) == [55, 55] and list(best.get_ydata()) == [80, 80]


def test_a_run_without_a_table_is_refused(run):
    (run / "search/derived.jsonl").write_text('{"arc": "2 3", "reward": 0.5}\n')
    with pytest.raises(UserError, match="was not both searched and derived with --truth"):
        picture(run, TRUTH)
    (run / "search/derived.jsonl").unlink()
    with pytest.raises(UserError, match=r"derived\.jsonl is missing; search and derive with"):
        picture(run, TRUTH)
