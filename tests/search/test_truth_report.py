import itertools
import json

import numpy as np
import pytest

from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.monitor import ControllerMonitor
from enas_tf.search.truth import Truth
from enas_tf.search.truth_report import (
    agreement,
    report_truth,
    standing,
    truth_in_words,
    truth_of_sets,
    truth_of_trained,
)
from enas_tf.training.run_folder import Run
from tests import tiny
from tests.search.test_monitor import reported
from tests.search.test_truth_rewards import TRUTH, search

FOUR = Truth("table, column,", {(0,): 40.0, (1,): 70.0, (2,): 70.0, (3,): 90.0})


def test_a_standing_is_rank_percentile_and_regret():
    assert standing(FOUR, [3]) == {
        "accuracy": 90.0,
        "rank": 1,
        "of": 4,
        "percentile": 100.0,
        "regret": 0.0,
    }
    # Equal accuracies have equal ranks.
    for op in (1, 2):
        assert standing(FOUR, [op]) == {
            "accuracy": 70.0,
            "rank": 2,
            "of": 4,
            "percentile": 75.0,
            "regret": 20.0,
        }
    assert standing(FOUR, [4]) is None


def test_agreement_of_the_same_order_is_whole():
    accuracies = list(np.random.default_rng(0).permutation(100))
    found = agreement([a / 100 for a in accuracies], accuracies, 0)
    assert {name: one["value"] for name, one in found.items()} == {
        "tau": pytest.approx(1),
        "rho": pytest.approx(1),
        "precision": 1,
    }
    turned = agreement([-a for a in accuracies], accuracies, 0)
    assert turned["tau"]["value"] == pytest.approx(-1) and turned["precision"]["value"] == 0
    assert agreement([1.0] * 9, accuracies[:9], 0) is None


def test_intervals_of_noise_hold_chance():
    generator = np.random.default_rng(1)
    found = agreement(list(generator.normal(size=200)), list(generator.normal(size=200)), 0)
    assert found["tau"]["low"] < 0 < found["tau"]["high"]
    assert found["precision"]["low"] <= 0.1 <= found["precision"]["high"]
    assert 0.05 < found["tau"]["high"] - found["tau"]["value"] < 0.15


def test_a_derivation_is_held_against_the_truth(tmp_path, capsys):
    one = search()
    (tmp_path / "search").mkdir()
    result = report_truth(
        one.searched(), (3, 3, 0), DeriveConfig(num_samples=20), run := Run(tmp_path), TRUTH
    )
    assert run.read_json("truth.json") == json.loads(json.dumps(result))
    # One of 125 has three good edges, twelve have two.
    assert result["derived"]["rank"] == 2 and result["derived"]["regret"] == 20
    assert 40 <= result["random_search"]["accuracy"] <= 100
    # Rewards are the truth; but equal ones are in no order.
    assert result["agreement"]["tau"]["value"] == pytest.approx(1)
    assert 80 < result["draws"] <= 125
    shown = capsys.readouterr().out
    assert "truth: the derived architecture truly reaches 80.00: rank 2 of 125" in shown
    assert "Kendall's tau 1.00 (1.00 to 1.00)" in shown


def test_a_table_of_few_architectures_tells_what_it_can(tmp_path, capsys):
    one = search()
    (tmp_path / "search").mkdir()
    few = Truth("few, column,", {(3, 3, 0): 80.0, (1, 1, 1): 10.0})
    # Rewards are of the whole table, the truth is of two.
    result = report_truth(
        one.searched(), (3, 3, 0), DeriveConfig(num_samples=5), Run(tmp_path), few
    )
    assert result["derived"]["rank"] == 1 and result["agreement"] is None
    assert result["random_search"] is None
    assert "few, column, does not have the best by" in capsys.readouterr().out


def test_both_sets_of_a_comparison_are_held_against_it():
    space = Nasbench201Space(3)
    uniform = [str(space.parse(one)) for one in itertools.product((0, 1, 3), repeat=3)]
    sets = {"controller": ["3 3 3", "3 3 0"], "uniform": uniform}
    known = {text: text.count("3") / 3 for texts in sets.values() for text in texts}
    found = truth_of_sets(TRUTH, sets, known, 0)
    assert (found["controller"], found["uniform"]) == pytest.approx((90.0, 60.0))
    assert found["difference"]["mean"] == pytest.approx(30)
    assert found["agreement"]["tau"]["value"] == pytest.approx(1)
    first, second = truth_in_words(found)
    assert first.startswith("Their true accuracies are 90.00 and 60.00 on average: +30.00 points")
    assert second.startswith("Over 27 uniform draws, rewards rank as the truth does")
    assert truth_of_sets(FOUR, sets, known, 0) is None and truth_in_words(None) == []


def test_short_trainings_are_held_against_it_beside_shared_weights():
    space = Nasbench201Space(3)
    arcs = [str(space.parse(one)) for one in itertools.product((0, 1, 3), repeat=3)]
    accuracies = {arc: TRUTH.accuracy(arc.split()) for arc in arcs}
    trained = [
        {"arc": arc, "reward": -accuracies[arc], "stand_alone_reward": accuracies[arc] / 100}
        for arc in arcs
    ]
    found = truth_of_trained(TRUTH, trained, 0)
    assert found["count"] == 27
    assert found["alone"]["tau"]["value"] == pytest.approx(1)
    assert found["shared"]["tau"]["value"] == pytest.approx(-1)
    sets = {"controller": arcs[:2], "uniform": arcs}
    known = {arc: accuracies[arc] for arc in arcs}
    *_, words = truth_in_words(truth_of_sets(TRUTH, sets, known, 0) | {"trained": found})
    assert words == (
        "Of the 27 that were trained alone, the short trainings rank as the truth does to "
        "Kendall's tau 1.00 (1.00 to 1.00), and shared weights to -1.00 (-1.00 to -1.00)."
    )
    # Too few for a tau with an interval.
    assert truth_of_trained(TRUTH, trained[:9], 0) is None


def test_each_epoch_records_the_true_mean_of_what_is_drawn(tmp_path):
    algorithm = tiny.search().algorithm
    arcs = [tiny.SPACE.parse([0, op, 0, 0, 0, 0, 0, 0]) for op in (0, 1, 4)]
    truth = Truth("t", {arcs[0].tokens: 60.0, arcs[1].tokens: 70.0, (1,) * 8: 20.0})
    monitor = ControllerMonitor(algorithm, algorithm.propose(100, (0, 0)), range(5), truth)
    [(_, _, record)], *_ = reported(monitor, arcs=arcs)
    # Of three draws the table has two.
    assert (record["truth"], record["uniform_truth"]) == (65.0, 50.0)
