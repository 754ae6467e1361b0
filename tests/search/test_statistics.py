import math

import numpy as np
import pytest

from enas_tf.search.statistics import (
    difference,
    difference_in_words,
    rank_correlation,
    ranks_in_words,
)


def test_the_interval_is_that_of_a_difference_of_means():
    generator = np.random.default_rng(1)
    a, b = generator.normal(0.5, 0.1, 100), generator.normal(0.3, 0.2, 100)
    found = difference(a, b, seed=0)
    assert found["mean"] == pytest.approx(a.mean() - b.mean())
    half = 1.96 * math.sqrt(a.var() / 100 + b.var() / 100)
    assert found["low"] == pytest.approx(found["mean"] - half, abs=0.1 * half)
    assert found["high"] == pytest.approx(found["mean"] + half, abs=0.1 * half)
    assert found == difference(a, b, seed=0)


def test_a_controller_that_has_settled_on_one_has_no_deviation():
    # The mean of two draws of 0.1 and 0.3 is one of 0.1, 0.2 and 0.3.
    found = difference([0.5, 0.5], [0.1, 0.3], seed=0)
    assert found == pytest.approx({"mean": 0.3, "low": 0.2, "high": 0.4})


@pytest.mark.parametrize(
    ("alone", "tau", "p_value"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.0, 2 / 24),
        # One of six pairs is the other way round; four of 24 orders have at most one such pair.
        ([1.0, 2.0, 4.0, 3.0], 4 / 6, 2 * 4 / 24),
        ([4.0, 3.0, 2.0, 1.0], -1.0, 2 / 24),
        ([1.0, 1.0, 1.0, 1.0], math.nan, math.nan),
        ([1.0], math.nan, math.nan),
    ],
)
def test_rank_correlation(alone, tau, p_value):
    pairs = zip([0.1, 0.2, 0.3, 0.4], alone, strict=False)
    trained = [{"reward": shared, "stand_alone_reward": own} for shared, own in pairs]
    found = rank_correlation(trained)
    assert found == pytest.approx({"tau": tau, "p_value": p_value}, nan_ok=True)


@pytest.mark.parametrize(
    ("low", "high", "kind", "wanted"),
    [
        (0.005, 0.072, "lstm", "better, +0.0380 (95 % interval +0.0050 to +0.0720)."),
        (-0.09, -0.01, "lstm", "worse, +0.0380 (95 % interval -0.0900 to -0.0100)."),
        (-0.01, 0.08, "lstm", "no difference that this many draws could show."),
        (-0.01, 0.08, "random", "random and has learnt nothing, so that none is expected."),
    ],
)
def test_the_verdict_in_words(low, high, kind, wanted):
    result = {
        "kind": kind,
        "controller": {"mean": 0.538},
        "uniform": {"mean": 0.5},
        "difference": {"mean": 0.038, "low": low, "high": high},
    }
    text = difference_in_words(result)
    assert text.startswith("The controller's architectures reach a reward of 0.5380 on average, ")
    assert "uniform draws 0.5000: " in text
    assert text.endswith(wanted)


@pytest.mark.parametrize(
    ("tau", "p_value", "wanted"),
    [
        (0.857, 0.002, "tau 0.86 (p = 0.002), which chance alone would hardly give."),
        (0.33, 0.4, "tau 0.33 (p = 0.400), which chance alone could give too."),
        (math.nan, math.nan, "the rewards of one kind are all equal, so that ranks say nothing."),
    ],
)
def test_the_ranks_in_words(tau, p_value, wanted):
    result = {
        "rank_correlation": {"tau": tau, "p_value": p_value},
        "config": {"epochs": 2},
        "trained": [{}] * 4,
    }
    text = ranks_in_words(result)
    assert ranks_in_words(result | {"trained": [{}]}).startswith("Too few trainings")
    assert text.startswith("Of 4 architectures trained from scratch (epochs: 2), the r")
    assert text.endswith(wanted)
