import itertools
from dataclasses import replace

import pytest

from benchmarks.controller_alone import Searches, interval, picture, row, variants
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.truth import Truth

CELLS = list(itertools.product(range(5), repeat=3))
# One of 125 is best.
TRUTH = Truth("table", {cell: 50.0 + 10 * cell.count(3) for cell in CELLS})


def searches(name):
    settings = dict(variants(NASBENCH201))[name]
    return Searches(NASBENCH201, replace(settings, space=Nasbench201Space(3)), TRUTH)


def test_uniform_draws_take_as_many_as_chance_says():
    uniform = searches("uniform draws")
    draws = [uniform.draws_until(80.0, seed, 5000) for seed in range(40)]
    # A geometric distribution of mean 125; of 40 of them the mean deviates by 20.
    assert sum(draws) / 40 == pytest.approx(125, abs=60)
    assert all(uniform.draws_until(50.0, seed, 5000) == 1 for seed in range(3))


def test_a_seed_gives_the_same_again_whatever_came_before():
    tiny = searches("tiny")
    first = [tiny.draws_until(80.0, seed, 300) for seed in (1, 2, 1)]
    assert first[0] == first[2] and first[1] == searches("tiny").draws_until(80.0, 2, 300)
    assert tiny.draws_until(81.0, 0, 35) == 35


def test_the_table():
    assert row("x", [10, 20, 30, 30], 30, 1.4).startswith("| x | 25 | 22 | ")
    assert row("x", [10, 20, 30, 30], 30, 1.4).endswith(" | 2 of 4 | 1 |")
    low, high = interval([10] * 50 + [20] * 50)
    assert (low, high) == pytest.approx((14, 16), abs=0.2)
    assert list(dict(variants(NASBENCH201))) == [*NASBENCH201.presets, "uniform draws"]


def test_the_picture_counts_the_seeds_that_have_found_one():
    [axes] = picture({"x": [20, 10, 30, 30], "y": [30] * 4}, 30).axes
    x, y = axes.lines
    assert (x.get_label(), y.get_label()) == ("x", "y")
    assert x.get_xydata().tolist() == [[0, 0], [10, 25], [20, 50]]
    assert y.get_xydata().tolist() == [[0, 0]]
