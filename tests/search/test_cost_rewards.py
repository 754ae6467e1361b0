from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.search.cost_rewards import CostEvaluator, CostReward, front
from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.search import SearchConfig
from enas_tf.training.run_folder import Run
from tests import tiny

TOKENS = [[0, 0, 1, 0, 0, 0, 1, 0], [1, 2, 0, 3, 1, 4, 0, 2]]


def test_the_soft_form_lowers_rewards_above_the_target_only():
    soft = CostReward("params", 100.0, -0.5, "soft")
    assert [soft(0.8, cost) for cost in (10, 100, 400)] == pytest.approx([0.8, 0.8, 0.4])


def test_the_absolute_form_draws_costs_to_the_target():
    absolute = CostReward("madds", 100.0, -0.2, "absolute")
    assert [absolute(0.8, cost) for cost in (50, 100, 250)] == pytest.approx([0.7, 0.8, 0.5])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cost": "params"}, "search.cost=params needs search.cost_target, over 0, got 0"),
        ({"cost": "madds", "cost_target": -5.0}, "over 0, got -5"),
        ({"cost": "latency"}, "search.cost=latency needs search.cost_target, over 0, got 0"),
        ({"latency_batch": 0}, "search.latency_batch must be at least 1, got 0"),
        ({"cost_weight": 0.5}, "search.cost_weight must be below 0, got 0.5"),
    ],
)
def test_wrong_numbers(wrong, told):
    with pytest.raises(UserError, match=told):
        SearchConfig(**wrong)


def costs(tokens):
    return {"params": 100 * (1 + tokens[1]), "madds": 1, "latency_ms": 0.5 * (1 + tokens[1])}


def test_rewards_are_those_of_the_shared_weights_less_costs(tmp_path):
    search = tiny.search()
    plain, priced = search.evaluator, CostReward("params", 100.0, -1.0, "soft")
    evaluator = CostEvaluator(plain, priced, costs)
    tokens = tf.constant(TOKENS)
    before = plain.rewards(tokens, plain.shuffled_batches(3, 0, 2))
    after = evaluator.rewards(tokens, evaluator.shuffled_batches(3, 0, 2))
    # The second architecture costs three times the target.
    assert after == pytest.approx([before[0], before[1] / 3]) and before[1] > 0
    arcs = {" ".join(map(str, one)): tf.constant(one) for one in TOKENS}
    kept = KeptRewards(Run(tmp_path), "rewards.jsonl", 0, 0)
    found = evaluator.rewards_on_split(arcs, 2, kept, "derive")
    first, second = kept.rewards.values()
    assert [*found.values()] == pytest.approx([first, second / 3])
    assert "more than 100 parameters" in evaluator.note and evaluator.task is plain.task
    evaluator = CostEvaluator(plain, CostReward("latency", 0.5, -1.0, "soft"), costs)
    assert evaluator.rewards(tokens, evaluator.shuffled_batches(3, 0, 2)) == pytest.approx(after)
    assert "more than 0.50 ms of latency (--search.cost)" in evaluator.note
    evaluator = CostEvaluator(plain, CostReward("params", 9.0, -1.0, "absolute"), costs)
    assert evaluator.note.endswith("further an architecture is from 9 parameters (--search.cost).")


def test_a_search_with_a_cost_rewards_what_costs_less(tmp_path):
    config = replace(tiny.SEARCH, num_epochs=1, cost="params", cost_target=1.0, cost_weight=-3.0)
    keep = tiny.search(config=replace(tiny.SEARCH, num_epochs=1))
    search = tiny.search(config=config, cost_of=costs)
    runs = Run(tmp_path / "plain"), Run(tmp_path / "priced")
    for one, run in zip((keep, search), runs, strict=True):
        one.run(run)
    plain, priced = (
        [r["reward"] for r in tiny.records(run, "search") if r["phase"] == "controller"]
        for run in runs
    )
    # At least a hundredth of its cost's third power less.
    assert max(priced) < 1e-5 < max(plain)
    assert np.isfinite(priced).all()


def test_the_front_is_what_no_other_one_beats():
    rewards = {"a": 0.5, "b": 0.6, "c": 0.6, "d": 0.7, "e": 0.4}
    prices = {"a": 1, "b": 2, "c": 3, "d": 3, "e": 2}
    assert front(rewards, prices) == {"a", "b", "d"}
