import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.compare import (
    CompareConfig,
    choose,
    compare,
    summary,
)
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.evaluator import Evaluator
from enas_tf.search.statistics import difference_in_words, ranks_in_words
from enas_tf.training.run_folder import Run
from tests import tiny

CONFIG = CompareConfig(num_samples=6, num_trained=4, epochs=2)


def test_chooses_half_from_each_set_evenly_over_its_rewards():
    controller = {"a": 0.5, "b": 0.58, "c": 0.69, "d": 0.7, "e": 0.9}
    uniform = {"a": 0.5, "v": 0.1, "w": 0.11, "x": 0.3}
    # Of the controller's the nearest to 0.5, 0.7 and 0.9; a is then taken.
    wanted = {"a": "controller", "d": "controller", "e": "controller"}
    wanted |= {"v": "uniform", "w": "uniform", "x": "uniform"}
    assert choose(controller, uniform, 6) == wanted
    assert list(choose({"a": 0.5}, uniform, 4)) == ["a", "v", "w", "x"]
    # A space so small that the controller has drawn all of it.
    few = {"a": 0.5, "b": 0.6}
    assert choose(few, few, 4) == dict.fromkeys(few, "controller")


def test_a_summary_counts_draws():
    drawn, rewards = ["0 3", "0 0", "0 3", "0 3"], {"0 0": 0.2, "0 3": 0.6, "0 1": 0.9}
    found = summary(RnnSpace(1), drawn, rewards)
    assert found.pop("rewards") == [
        {"arc": "0 3", "reward": 0.6, "draws": 3},
        {"arc": "0 0", "reward": 0.2, "draws": 1},
    ]
    assert found.pop("ops") == {"tanh": 1, "relu": 0, "sigmoid": 0, "identity": 3}
    wanted = {"count": 4, "distinct": 2, "mean": 0.5, "deviation": math.sqrt(0.03), "best": 0.6}
    assert found == pytest.approx(wanted)


@pytest.fixture(scope="module")
def search():
    return tiny.search()


class Trainings:
    """Stands in for trainings; ends at given ones as if killed, or with a loss that is infinite."""

    def __init__(self, killed_at=None, infinite_at=()):
        self.arcs, self.killed_at, self.infinite_at = [], killed_at, infinite_at

    def __call__(self, runs, epochs, label):
        assert (epochs, label) in ((2, "compare"), (3, "compare"))
        errors = {}
        for text, run in runs.items():
            if run.is_done("train", arc=text):
                continue
            if len(self.arcs) == self.killed_at:
                raise tiny.Killed
            self.arcs.append(text)
            if len(self.arcs) in self.infinite_at:
                errors[text] = "the train loss is not finite at step 3"
                continue
            best = {"epoch": 1, "loss": 1.0, "accuracy": sum(map(int, text.split())) / 100}
            run.write_json("train/result.json", {"best_valid": best, "params": 7, "seconds": 60.0})
            run.mark_done("train", outputs=["train/result.json"], arc=text)
        return errors


def compared(search, run, trainings, config=CONFIG):
    return compare(search.searched(), config, DeriveConfig(), run, trainings)


@pytest.fixture
def rewarded(monkeypatch):
    """The architectures whose rewards are computed."""
    reward, texts = Evaluator.reward_on_split, []

    def watching(self, tokens, num_batches):
        texts.append(" ".join(map(str, tokens.numpy())))
        return reward(self, tokens, num_batches)

    monkeypatch.setattr(Evaluator, "reward_on_split", watching)
    return texts


def test_compares_both_sets_on_the_same_validation_data(search, tmp_path, capsys):
    result = compared(search, Run(tmp_path), trainings := Trainings())
    assert json.loads((tmp_path / "compare.json").read_text()) == result
    [(images, labels)] = search.weights.task.eval_batches("valid", 24, (0, 1))
    for name in ("controller", "uniform"):
        records = result[name]["rewards"]
        assert len({one["arc"] for one in records}) == len(records) == result[name]["distinct"]
        assert sum(one["draws"] for one in records) == result[name]["count"] == 6
        for one in records:
            logits, _ = search.weights.trainer.child(images, np.array(one["arc"].split(), np.int32))
            accuracy = np.mean(np.argmax(logits, axis=-1) == labels)
            assert one["reward"] == pytest.approx(accuracy)
    means = [result[name]["mean"] for name in ("controller", "uniform")]
    assert result["difference"]["mean"] == pytest.approx(means[0] - means[1])
    assert [one["arc"] for one in result["trained"]] == trainings.arcs
    assert [one["from"] for one in result["trained"]] == ["controller"] * 2 + ["uniform"] * 2
    for one in result["trained"]:
        assert one["stand_alone_reward"] == sum(map(int, one["arc"].split())) / 100
    shown = capsys.readouterr().out
    assert result["verdict"] == difference_in_words(result) + " " + ranks_in_words(result)
    assert f"compare: {difference_in_words(result)}\n" in shown


def test_goes_on_after_what_a_killed_call_has_done(search, tmp_path, rewarded):
    wanted = compared(search, Run(tmp_path / "whole"), Trainings())
    run = Run(tmp_path / "killed")
    with pytest.raises(tiny.Killed):
        compared(search, run, Trainings(killed_at=1))
    path = run.path("compare/rewards.jsonl")
    # Ten whole lines and the half of another one.
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:11])[:-9])
    rewarded.clear()
    assert compared(search, run, trainings := Trainings()) == wanted
    assert len(rewarded) == 2
    assert trainings.arcs == [one["arc"] for one in wanted["trained"][1:]]
    compared(search, run, trainings := Trainings())
    assert len(rewarded) == 2 and not trainings.arcs


def test_goes_on_where_a_loss_is_not_finite(search, tmp_path):
    result = compared(search, Run(tmp_path), trainings := Trainings(infinite_at=[2]))
    assert [one["arc"] for one in result["failed"]] == trainings.arcs[1:2]
    assert result["failed"][0]["error"] == "the train loss is not finite at step 3"
    assert [one["arc"] for one in result["trained"]] == trainings.arcs[:1] + trainings.arcs[2:]
    assert "Of 3 architectures trained from scratch" in result["verdict"]
    # They are tried again, and are then all that is left to do.
    result = compared(search, Run(tmp_path), trainings := Trainings(infinite_at=[1]))
    assert len(trainings.arcs) == 1 and len(result["failed"]) == 1


def test_other_epochs_are_trained_anew(search, tmp_path, capsys):
    run, longer = Run(tmp_path), CompareConfig(num_samples=6, num_trained=4, epochs=3)
    compared(search, run, Trainings())
    compared(search, run, trainings := Trainings(), longer)
    assert len(trainings.arcs) == 4
    assert "another choice of architectures or epochs than before" in capsys.readouterr().out


def test_a_random_controller_draws_as_uniformly_as_can_be(tmp_path):
    result = compared(tiny.search(kind="random"), Run(tmp_path), Trainings())
    assert result["entropy"]["controller"] == pytest.approx(math.log(10_000), rel=1e-5)
    assert result["entropy"]["uniform"] == math.log(tiny.SPACE.count()) == math.log(10_000)
    assert "The controller is random" in result["verdict"]


def test_what_a_settled_controller_repeats_is_rewarded_once_and_counts_each_time(
    search, monkeypatch, tmp_path, rewarded
):
    tokens = search.searched().draw(3, 0).numpy()[[0, 1, 0, 0, 0, 0]]
    assert not np.array_equal(tokens[0], tokens[1])
    again = tf.constant(tokens)
    settled = replace(search.searched(), draw=lambda n, block: again)
    monkeypatch.setattr(search, "searched", lambda: settled)
    result = compared(search, Run(tmp_path), Trainings())
    found = result["controller"]
    assert (found["count"], found["distinct"]) == (6, 2)
    of = {one["arc"]: one["reward"] for one in found["rewards"]}
    often, once = (of[" ".join(map(str, one))] for one in tokens[:2])
    assert found["mean"] == pytest.approx((5 * often + once) / 6)
    assert len(rewarded) == len(set(rewarded)) <= 8
    log_prob = search.algorithm.log_prob(again).numpy()
    assert result["entropy"]["controller"] == pytest.approx(-log_prob.mean())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_samples": 1}, "compare.num_samples must be at least 2, got 1"),
        ({"num_trained": 1}, "num_trained must be between 2 and compare.num_samples, 100, got 1"),
        ({"num_samples": 4, "num_trained": 5}, "num_samples, 4, got 5"),
        ({"epochs": 0}, "compare.epochs must be at least 1, got 0"),
    ],
)
def test_wrong_numbers(numbers, message):
    with pytest.raises(UserError, match=message):
        CompareConfig(**numbers)
