import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import NotFinite, UserError
from enas_tf.search.derive import OUTPUTS, DeriveConfig, derive
from enas_tf.search.evaluator import Evaluator
from enas_tf.tasks.base import REWARD_NOTE
from enas_tf.training.run_folder import Run
from tests import tiny

CONFIG = DeriveConfig(num_samples=6)


def costs(tokens):
    return {"params": 1000 + sum(tokens), "madds": 10 * tokens[0]}


def latencies(tokens):
    return {"params": 9, "madds": 9, "latency_ms": 0.5 + sum(tokens)}


def refuse_to_train(runs, epochs, label):
    raise AssertionError("trains")


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    search = tiny.search(config=replace(tiny.SEARCH, num_epochs=1))
    search.run(Run(tmp_path_factory.mktemp("search")))
    return search


@pytest.fixture
def run(tmp_path):
    (tmp_path / "search").mkdir()
    return Run(tmp_path)


def derived(search, run, config=CONFIG, train_each=refuse_to_train):
    best = derive(search.searched(), config, run, costs, train_each)
    return best, json.loads(run.path("arcs.json").read_text())


@pytest.fixture
def rewarded(monkeypatch):
    """The architectures whose rewards are computed, by their text."""
    texts, reward = [], Evaluator.reward_on_split

    def watching(self, tokens, num_batches):
        texts.append(" ".join(map(str, tokens.numpy())))
        return reward(self, tokens, num_batches)

    monkeypatch.setattr(Evaluator, "reward_on_split", watching)
    return texts


def test_ranks_distinct_architectures_by_their_accuracy_on_all_validation_data(search, run, capsys):
    best, ranked = derived(search, run)
    assert len({record["arc"] for record in ranked}) == len(ranked) == 6
    valid = search.weights.task.data.splits["valid"]
    [(images, _)] = search.weights.task.eval_batches("valid", 24, (0, 1))
    for record in ranked:
        assert set(record) == {"arc", "reward", "params", "madds", "front"}
        arc = tiny.SPACE.parse(record["arc"])
        logits, _ = search.weights.trainer.child(images, np.array(arc.tokens, np.int32))
        accuracy = np.mean(np.argmax(logits, axis=-1) == valid.labels)
        assert record["reward"] == pytest.approx(accuracy)
        assert record["params"] == 1000 + sum(arc.tokens)
        beaten = [
            other
            for other in ranked
            if other["params"] <= record["params"]
            and other["reward"] >= record["reward"]
            and (other["params"], other["reward"]) != (record["params"], record["reward"])
        ]
        assert record["front"] is not bool(beaten)
    rewards = [record["reward"] for record in ranked]
    assert rewards == sorted(rewards, reverse=True) and rewards[0] > rewards[-1]
    assert run.path("arc.txt").read_text() == ranked[0]["arc"] + "\n"
    assert best == tiny.SPACE.parse(ranked[0]["arc"])
    shown = capsys.readouterr().out
    assert f"mean reward {sum(rewards) / 6:.4f}, best {rewards[0]:.4f}. {REWARD_NOTE}" in shown


def test_all_are_ranked_on_the_same_few_batches(search, run):
    _, ranked = derived(search, run, replace(CONFIG, num_batches=2))
    # Two batches of four.
    assert all((8 * record["reward"]).is_integer() for record in ranked)
    [(images, labels)] = search.weights.task.eval_batches("valid", 8, (0, 1)).take(1)
    for record in ranked:
        tokens = np.array(tiny.SPACE.parse(record["arc"]).tokens, np.int32)
        logits, _ = search.weights.trainer.child(images, tokens)
        assert record["reward"] == np.mean(np.argmax(logits, axis=-1) == labels)


def test_two_devices_derive_like_one(search, run, tmp_path):
    _, wanted = derived(search, run)
    two = tiny.search(tiny.two_devices(), config=replace(tiny.SEARCH, num_epochs=1))
    for name, variable in search.variables.items():
        two.variables[name].assign(variable.numpy())
    (tmp_path / "two/search").mkdir(parents=True)
    _, ranked = derived(two, Run(tmp_path / "two"))
    assert {r["arc"]: r["reward"] for r in ranked} == pytest.approx(
        {r["arc"]: r["reward"] for r in wanted}
    )


def test_what_a_killed_call_has_ranked_is_not_ranked_again(search, run, rewarded):
    _, wanted = derived(search, run)
    path = run.path("search/derived.jsonl")
    # Two whole lines and the half of a third one.
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:3])[:-20])
    rewarded.clear()
    _, ranked = derived(search, run)
    assert len(rewarded) == 4
    assert ranked == wanted
    rewarded.clear()
    derived(search, run)
    assert rewarded == []
    # On other data all are ranked anew.
    derived(search, run, replace(CONFIG, num_batches=1))
    assert len(rewarded) == 6


def test_a_search_that_has_gone_on_is_ranked_anew(tmp_path, rewarded):
    run, config = Run(tmp_path), replace(tiny.SEARCH, num_epochs=2)
    # Killed amid the second epoch's steps of the shared weights, before the controller moves on.
    with tiny.many_checkpoints(), tiny.killed_at(14):
        tiny.search(config=config).run(run)
    half = tiny.search(config=config)
    half.restore(run)
    derived(half, run)
    assert half.searched().step < 18 and len(rewarded) == 6
    whole = tiny.search(config=config)
    whole.run(run)
    derived(whole, run)
    assert whole.searched().step == 18 and len(rewarded) == 12
    again = tiny.search(config=config)
    again.restore(run)
    derived(again, run)
    assert len(rewarded) == 12


@pytest.mark.parametrize("name", ["arcs.json", "arc.txt"])
def test_a_derivation_that_was_killed_amid_its_files_is_none(search, run, monkeypatch, name):
    write = Run.write_text

    def killing(self, written, text):
        if written == name:
            raise tiny.Killed
        write(self, written, text)

    with monkeypatch.context() as patch, pytest.raises(tiny.Killed):
        patch.setattr(Run, "write_text", killing)
        derived(search, run)
    assert not all(run.path(output).exists() for output in OUTPUTS)
    derived(search, run)
    assert all(run.path(output).exists() for output in OUTPUTS)


def test_a_controller_that_has_settled_gives_what_it_has(search, run, monkeypatch, capsys):
    two = search.searched().draw(6, 0)[:2]
    assert not np.array_equal(two[0], two[1])
    tokens = np.repeat(two.numpy(), 3, axis=0)
    settled = replace(search.searched(), draw=lambda n, block: tf.constant(tokens))
    monkeypatch.setattr(search, "searched", lambda: settled)
    _, ranked = derived(search, run)
    assert len(ranked) == 2
    shown = capsys.readouterr().out
    assert "60 draws gave only 2 distinct architectures; the controller has settled" in shown
    monkeypatch.setattr(type(search.algorithm.space), "count", lambda space: 2)
    derived(search, run)
    assert "gave only 2 distinct architectures; the space has no more" in capsys.readouterr().out


def test_only_what_is_within_the_limits_is_ranked(search, run, capsys):
    _, everything = derived(search, run, replace(CONFIG, num_samples=16))
    params = sorted(record["params"] for record in everything)
    capsys.readouterr()
    limited = replace(CONFIG, num_samples=4, max_params=params[5])
    _, ranked = derived(search, run, limited)
    assert len(ranked) == 4 and all(one["params"] <= params[5] for one in ranked)
    shown = capsys.readouterr().out
    assert f"distinct architectures have at most {params[5]:,} parameters\n" in shown
    assert "derive: 4 of " in shown
    told = r"none of \d+ .* has at most 900 parameters and 5 multiply-adds; the smallest have 1,0"
    with pytest.raises(UserError, match=told):
        derived(search, run, replace(CONFIG, max_params=900, max_madds=5))


def test_limits_of_latency_are_told_in_milliseconds(search, run, capsys):
    def derived_by_latency(**values):
        derive(search.searched(), replace(CONFIG, **values), run, latencies, refuse_to_train)
        return json.loads(run.path("arcs.json").read_text())

    everything = derived_by_latency(num_samples=16)
    # What is as good and faster beats an architecture, whatever its parameters.
    fastest = min(everything, key=lambda one: (one["latency_ms"], -one["reward"]))
    assert fastest["front"] and sum(one["front"] for one in everything) < 16
    times = sorted(one["latency_ms"] for one in everything)
    ranked = derived_by_latency(num_samples=4, max_latency_ms=times[5])
    assert len(ranked) == 4 and all(one["latency_ms"] <= times[5] for one in ranked)
    assert f"have at most {times[5]:.2f} ms of latency\n" in capsys.readouterr().out
    told = (
        r"at most 0.40 ms of latency; the smallest have \d+.50 ms of latency: raise --derive.max_l"
    )
    with pytest.raises(UserError, match=told):
        derived_by_latency(max_latency_ms=0.4)


def test_finalists_are_trained_alone_and_the_best_of_them_is_taken(search, run, capsys):
    trained = []

    def train_each(runs, epochs, label):
        assert (epochs, label) == (3, "derive")
        for text, folder in runs.items():
            if not folder.path("train/result.json").exists():
                trained.append(text)
                best = {"accuracy": [0.25, 0.75, 0.5][len(trained) - 1]}
                folder.write_json("train/result.json", {"best_valid": best, "seconds": 61.0})
        return {}

    _, plain = derived(search, run)
    best, ranked = derived(search, run, replace(CONFIG, finalists=3), train_each)
    assert trained == [record["arc"] for record in plain[:3]]
    assert [record["arc"] for record in ranked[:3]] == [trained[n] for n in (1, 2, 0)]
    assert [record.get("stand_alone_reward") for record in ranked[:4]] == [0.75, 0.5, 0.25, None]
    assert ranked[3:] == plain[3:] and str(best) == trained[1]
    assert run.path("arc.txt").read_text() == trained[1] + "\n"
    shown = capsys.readouterr().out
    assert (
        "for 3 epochs, 3m 03s in all, number 2 by shared weights is the best: 0.7500, +0.5000"
        in (shown)
    )
    # What is trained is not trained again, but for other epochs.
    derived(search, run, replace(CONFIG, finalists=2), train_each)
    assert len(trained) == 3


def test_a_finalist_whose_loss_is_not_finite_is_left_out(search, run, capsys):
    def train_each(runs, epochs, label):
        first, *others = runs
        for text in others:
            best = {"best_valid": {"accuracy": 0.5}, "seconds": 1.0}
            runs[text].write_json("train/result.json", best)
        return {first: "the train loss is not finite at step 3"}

    _, plain = derived(search, run)
    best, ranked = derived(search, run, replace(CONFIG, finalists=2), train_each)
    assert str(best) == plain[1]["arc"]
    assert [one["arc"] for one in ranked] == [plain[n]["arc"] for n in (1, 0, 2, 3, 4, 5)]
    assert "number 2 by shared weights is the best: 0.5000\n" in capsys.readouterr().out
    config = replace(CONFIG, finalists=2)
    with pytest.raises(NotFinite, match="no finalist could be trained: infinite"):
        derived(search, run, config, lambda runs, *_: dict.fromkeys(runs, "infinite"))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"max_params": -1}, "derive.max_params must not be negative, got -1"),
        ({"max_latency_ms": -0.5}, "derive.max_latency_ms must not be negative, got -0.5"),
        ({"finalists": 0}, "derive.finalists must be between 1 and derive.num_samples, 100, got 0"),
        ({"finalist_epochs": 0}, "derive.finalist_epochs must be at least 1, got 0"),
        ({"num_samples": 0}, "derive.num_samples must be at least 1, got 0"),
        ({"num_batches": -1}, "derive.num_batches must not be negative, got -1"),
    ],
)
def test_wrong_numbers(numbers, message):
    with pytest.raises(UserError, match=message):
        DeriveConfig(**numbers)
