import itertools

import numpy as np

from benchmarks.rank_correlation import measure, read, row
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.search.truth import Truth


def test_a_line_is_of_the_last_rewards_and_of_their_mean():
    true = np.array([1.0, 2.0, 3.0, 4.0])
    better = true > 2
    # The last ranks upside down; the mean ranks rightly, but for the better half.
    rewards = np.array([[0.1, 0.3, 0.9, 0.8], [0.4, 0.3, 0.2, 0.1]])
    assert row(4, 500, true, better, rewards) == "| 4 | 2,500 | -1.00 | -1.00 | 0.67 | -1.00 |"


def test_flags_are_those_of_a_search():
    flags = [
        "--truth=table.csv",
        "--preset=robust",
        "--search.max_steps=7",
        "--child.decay_idle=true",
    ]
    given, settings = read(["NASBENCH201", "--draws=50", *flags])
    assert (given.draws, given.batches, settings.search.max_steps) == (50, 8, 7)
    assert settings.search.sampling == "fair" and settings.child.decay_idle
    # The preset has ten.
    assert settings.search.snapshots == 1


def test_every_epoch_after_the_warm_up_has_a_line(capsys):
    settings = NASBENCH201.presets["tiny"].changed(
        {
            "space.num_nodes": 2,
            "child.out_filters": 2,
            "search.num_epochs": 3,
            "search.warmup_epochs": 1,
            "search.max_steps": 2,
            "search.batch_size": 8,
        }
    )
    cells = itertools.product(range(5), repeat=1)
    truth = Truth("table", {cell: 10.0 * cell[0] for cell in cells})
    measure(NASBENCH201, settings, truth, num_draws=5, num_batches=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| 1", "4"], ["| 2", "6"]]
