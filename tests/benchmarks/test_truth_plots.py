import json

import pytest

from benchmarks.truth_plots import picture
from enas_tf.core.errors import UserError
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.truth import Truth
from enas_tf.search.truth_report import uniform_draws

DERIVED = "0 0 0 0 0 1"


@pytest.fixture(scope="module")
def uniform():
    """The first uniform draw of the run."""
    return next(iter(uniform_draws(Nasbench201Space(4), seed=3)))


@pytest.fixture(scope="module")
def truth(uniform):
    known = {uniform: 50.0, DERIVED: 70.0, "4 4 4 4 4 4": 80.0}
    return Truth("table", {tuple(map(int, arc.split())): a for arc, a in known.items()})


@pytest.fixture
def run(tmp_path, uniform):
    """Two epochs; the derived architecture and a uniform draw, both rewarded twice."""
    (tmp_path / "search").mkdir()
    epochs = [{"epoch": n, "phase": "valid", "truth": 60 + n, "uniform_truth": 55} for n in (0, 1)]
    for name, records in {
        "metrics": [{"epoch": 0, "phase": "child", "loss": 1.0}, *epochs],
        "derived": [
            {"arc": arc, "reward": reward + later}
            for later in (0, 0.125)
            for arc, reward in ((DERIVED, 0.5), (uniform, 0.25))
        ],
    }.items():
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        (tmp_path / f"search/{name}.jsonl").write_text(text)
    (tmp_path / "arcs.json").write_text(json.dumps([{"arc": DERIVED, "reward": 0.625}]))
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    return tmp_path


def test_draws_rewards_against_the_truth_and_what_an_epoch_draws(run, truth):
    ranks, learns = picture(run, truth).axes
    shown = {drawn.get_label(): drawn.get_offsets().tolist() for drawn in ranks.collections}
    assert shown == {
        "uniform draws": [[50, 0.375]],
        "the controller's": [[70, 0.625]],
        "derived": [[70, 0.625]],
    }
    drawn, known, best = learns.lines
    assert drawn.get_xydata().tolist() == [[1, 60], [2, 61]]
    assert list(known.get_ydata()) == [55, 55] and list(best.get_ydata()) == [80, 80]


def test_a_run_without_a_table_is_refused(run, truth):
    (run / "search/derived.jsonl").write_text(f'{{"arc": "{DERIVED}", "reward": 0.5}}\n')
    with pytest.raises(UserError, match="was not both searched and derived with --truth"):
        picture(run, truth)
    (run / "search/derived.jsonl").unlink()
    with pytest.raises(UserError, match=r"derived\.jsonl is missing; search and derive with"):
        picture(run, truth)
