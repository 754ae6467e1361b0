import json

import pytest

from benchmarks import budget
from enas_tf.core.errors import UserError


@pytest.fixture
def folders(tmp_path):
    """Two searches, of two seeds and of one, whose first architecture is the derived one."""
    params = {"free": [(900, 500), (700, 300)], "soft": [(400, 300)]}
    for name, seeds in params.items():
        for seed, drawn in enumerate(seeds):
            folder = tmp_path / name / f"seed_{seed}"
            (folder / "train").mkdir(parents=True)
            arcs = [{"params": one, "reward": one / 1000} for one in drawn]
            (folder / "arcs.json").write_text(json.dumps(arcs))
            result = {"params": drawn[0], "test": {"accuracy": 0.9 + 0.02 * seed}}
            (folder / "train/result.json").write_text(json.dumps(result))
    return [str(tmp_path / name) for name in params]


def test_the_table(folders):
    assert budget.table(budget.find_runs(folders)).splitlines()[2:] == [
        "| free | 600 | 900, 700 | 91.0 %, deviation 1.4 |",
        "| soft | 350 | 400 | 90.0 % |",
    ]


def test_the_picture_shows_all_draws_and_the_target(folders):
    free, soft = budget.picture(budget.find_runs(folders), 350).axes
    assert (free.get_title(), soft.get_title()) == ("free", "soft")
    drawn, derived = free.collections[0], free.collections[1]
    assert drawn.get_offsets().tolist() == [[900, 0.9], [500, 0.5]]
    assert derived.get_offsets().tolist() == [[900, 0.9]]
    assert list(soft.lines[0].get_xdata()) == [350, 350]


def test_a_folder_without_runs_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no seed_0"):
        budget.find_runs([str(tmp_path / "empty")])
