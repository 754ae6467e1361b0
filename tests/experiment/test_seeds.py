import json

import pytest

from enas_tf.experiment.seeds import metrics_of, summary
from enas_tf.training.run_folder import Run


def test_the_metrics_of_a_whole_run(tmp_path):
    run = Run(tmp_path)
    run.write_json("arcs.json", [{"reward": 0.75}, {"reward": 0.25}])
    records = [{"phase": "child", "loss": 1.0}]
    records += [{"phase": "valid", "gap": gap} for gap in (9.0, 8.0, 7.0, 0.25, 0.75)]
    lines = [json.dumps(record) for record in records]
    # A killed process may leave half a line.
    run.write_text("search/metrics.jsonl", "\n".join([*lines, '{"phase"']))
    run.write_json("train/result.json", {"test": {"loss": 2.0, "perplexity": 55.0}})
    assert metrics_of(run) == {
        "best_reward": 0.75,
        "mean_reward": 0.5,
        "gap": 0.5,
        "test_loss": 2.0,
        "test_perplexity": 55.0,
    }


def test_what_a_table_says_of_a_run(tmp_path):
    run, rival = Run(tmp_path), {"accuracy": 84.25, "rank": 9}
    truth = {"derived": {"accuracy": 86.5, "rank": 2}, "random_search": rival}
    run.write_json("truth.json", truth | {"agreement": {"tau": {"value": 0.5, "low": 0.4}}})
    of_derived = {"true_accuracy": 86.5, "true_rank": 2}
    assert metrics_of(run) == {"tau": 0.5, **of_derived, "true_gain": 2.25}
    # The table lacks these.
    run.write_json("truth.json", truth | {"random_search": None, "agreement": None})
    assert metrics_of(run) == of_derived
    run.write_json("truth.json", {"derived": None, "random_search": rival, "agreement": None})
    assert metrics_of(run) == {}


def test_what_is_not_finite_is_no_metric(tmp_path):
    run = Run(tmp_path)
    run.write_json("train/result.json", {"test": {"loss": float("nan"), "accuracy": 0.5}})
    assert metrics_of(run) == {"test_accuracy": 0.5}


def test_a_run_that_holds_nothing_has_no_metrics(tmp_path):
    assert metrics_of(Run(tmp_path)) == {}


def test_the_summary_is_of_what_all_seeds_have():
    found = {3: {"gap": 0.1, "test_loss": 1.0}, 4: {"gap": 0.3}, 5: {"gap": 0.2}}
    assert summary(found) == {
        "seeds": [
            {"seed": 3, "gap": 0.1, "test_loss": 1.0},
            {"seed": 4, "gap": 0.3},
            {"seed": 5, "gap": 0.2},
        ],
        "mean": {"gap": pytest.approx(0.2)},
        "deviation": {"gap": pytest.approx(0.1)},
    }
