import contextlib
import io
import json
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.search.evaluator import Evaluator
from enas_tf.search.search import Search, SearchConfig
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Session
from tests import tiny
from tests.search.test_evaluator import accuracies

STEPS_PER_EPOCH = 9  # five of the shared weights, four of the controller

# With an average of the shared weights, since all that it holds must outlive a kill too.
AVERAGING = replace(tiny.SEARCH, average_decay=0.8, snapshots=2)


def copies(search):
    return tiny.values(search.variables)


class Unbroken(NamedTuple):
    """A finished search.

    Attributes:
        run: its folder.
        seen: each step's phase, with all variables after it.
        last: all variables at the end.
        reward_batches: numbers of the validation batches that rewards were computed on.
        rewarded: all rewarded tokens, with their rewards.
        shown: what was printed.
        search: as it was at the end.
    """

    run: Run
    seen: list
    last: dict
    reward_batches: list
    rewarded: list
    shown: str
    search: Search


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("unbroken"))
    search = tiny.search(config=AVERAGING)
    seen, asked, rewarded, shown = [], [], [], io.StringIO()
    advance, rewards = Session.advance, Evaluator.rewards
    shuffled_batches = Evaluator.shuffled_batches

    def watching_steps(self, phase, *args, **kwargs):
        seen.append((phase, copies(search)))
        advance(self, phase, *args, **kwargs)

    def watching_batches(self, seed, first, count):
        asked.extend(range(first, first + count))
        return shuffled_batches(self, seed, first, count)

    def watching_rewards(self, tokens, batches):
        rewarded.append((tokens.numpy(), rewards(self, tokens, batches)))
        return rewarded[-1][1]

    with (
        pytest.MonkeyPatch.context() as patch,
        tiny.many_checkpoints(),
        contextlib.redirect_stdout(shown),
    ):
        patch.setattr(Evaluator, "rewards", watching_rewards)
        patch.setattr(Session, "advance", watching_steps)
        patch.setattr(Evaluator, "shuffled_batches", watching_batches)
        search.run(run)
    return Unbroken(run, seen, copies(search), asked, rewarded, shown.getvalue(), search)


@pytest.mark.parametrize(
    ("step", "checkpoint"),
    [
        pytest.param(4, 2, id="amid the shared weights"),
        pytest.param(18, 16, id="amid the second epoch's controller"),
    ],
)
def test_a_killed_search_goes_on_to_the_same_end(unbroken, tmp_path, step, checkpoint):
    run, wanted = unbroken.run, unbroken.last
    killed = Run(tmp_path)
    with tiny.many_checkpoints():
        with tiny.killed_at(step):
            tiny.search(config=AVERAGING).run(killed)
        stored = sorted(tmp_path.glob("search/checkpoints/step_*"))
        assert int(stored[-1].name.removeprefix("step_")) == checkpoint
        resumed = tiny.search(config=AVERAGING)
        resumed.run(killed)
    tiny.assert_same(copies(resumed), wanted)
    assert tiny.records(killed, "search") == tiny.records(run, "search")
    path = "search/arcs.jsonl"
    assert killed.path(path).read_text() == run.path(path).read_text()


def test_a_search_killed_after_its_report_reports_once(unbroken, tmp_path, monkeypatch):
    run, wanted = unbroken.run, unbroken.last
    killed, report = Run(tmp_path), Search._report

    def killing(self, *args, **kwargs):
        report(self, *args, **kwargs)
        raise tiny.Killed

    with tiny.many_checkpoints():
        with monkeypatch.context() as patch, pytest.raises(tiny.Killed):
            patch.setattr(Search, "_report", killing)
            tiny.search(config=AVERAGING).run(killed)
        resumed = tiny.search(config=AVERAGING)
        resumed.run(killed)
    tiny.assert_same(copies(resumed), wanted)
    path = "search/arcs.jsonl"
    assert killed.path(path).read_text() == run.path(path).read_text()
    assert tiny.records(killed, "search") == tiny.records(run, "search")


def test_a_finished_search_does_nothing(unbroken, monkeypatch):
    run, wanted = unbroken.run, unbroken.last
    monkeypatch.setattr(Search, "_train_child", None)
    again = tiny.search(config=AVERAGING)
    assert run.is_done("search", step=2 * STEPS_PER_EPOCH)
    again.run(run)
    tiny.assert_same(copies(again), wanted)


def test_shared_weights_and_controller_train_in_turns(unbroken):
    seen = unbroken.seen
    assert [phase for phase, _ in seen] == 2 * (5 * ["child"] + 4 * ["controller"])
    for step, ((_, before), (phase, after)) in enumerate(pairwise(seen), 1):
        changed = {
            name.partition("/")[0]
            for name in before
            if not np.array_equal(before[name], after[name])
        }
        if phase == "child":
            epoch, place = divmod(step, STEPS_PER_EPOCH)
            taken = {f"snapshot_{epoch}", f"snapshot_{epoch}_count"} if place == 4 else set()
            assert changed == {"child", "optimizer", "average", "average_count"} | taken
        else:
            assert changed == {"controller", "controller_optimizer", "baseline"}


def test_metrics_hold_every_phase(unbroken):
    run = unbroken.run
    records = tiny.records(run, "search")
    shown = [(record["phase"], record["step"], record["epoch"]) for record in records]
    one = [("child", 2), ("child", 4), ("child", 5), ("controller", 7), ("controller", 9)]
    one += [("valid", 9)]
    assert shown == [(p, s + STEPS_PER_EPOCH * epoch, epoch) for epoch in (0, 1) for p, s in one]
    child = {"phase", "step", "epoch", "loss", "accuracy", "grad_norm", "learning_rate"}
    assert set(records[0]) == child
    assert {"reward", "baseline", "advantage", "entropy", "log_prob"} <= set(records[3])
    # The rate of a cosine's second epoch of ten, between 0.05 and 0.0005.
    rate = 0.0005 + 0.0495 * (1 + np.cos(np.pi / 10)) / 2
    assert records[6]["learning_rate"] == pytest.approx(rate, rel=1e-6)


def test_ten_architectures_are_reported_an_epoch(unbroken):
    run = unbroken.run
    lines = [json.loads(line) for line in run.path("search/arcs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == 10 * [0] + 10 * [1]
    for line in lines:
        tiny.SPACE.parse(line["arc"])
        # Of a batch of four.
        assert line["reward"] in (0, 0.25, 0.5, 0.75, 1)
    reported = [record for record in tiny.records(run, "search") if record["phase"] == "valid"]
    rewards = [line["reward"] for line in lines[10:]]
    assert reported[1]["reward"] == pytest.approx(sum(rewards) / 10)
    assert reported[1]["best_reward"] == max(rewards)
    for record in reported:
        assert record["gap"] == pytest.approx(record["reward"] - record["uniform_reward"])
        # A hundred draws of four ops and four indices each.
        assert sum(record["ops"].values()) == sum(record["inputs"].values()) == 400
        assert tuple(record["ops"]) == tiny.SPACE.ops and 50 < record["distinct"] <= 100
    assert 0 < reported[0]["divergence"] < reported[1]["divergence"] < 0.02


def test_the_gap_is_to_uniform_draws_on_the_same_batches(unbroken):
    (drawn, mine), (uniform, others) = unbroken.rewarded[-2:]
    assert not np.array_equal(drawn, uniform)
    search = unbroken.search
    batches = list(search.weights.task.reward_batches(4, seed=3, steps=range(26, 36)))
    with search.weights.average.in_place():
        assert mine == pytest.approx(list(accuracies(search, drawn, batches)))
        assert others == pytest.approx(list(accuracies(search, uniform, batches)))
    reported = [one for one in tiny.records(unbroken.run, "search") if one["phase"] == "valid"]
    differences = np.subtract(mine, others)
    assert reported[-1]["gap"] == pytest.approx(differences.mean())
    assert reported[-1]["gap_error"] == pytest.approx(differences.std(ddof=1) / np.sqrt(10))


def test_says_once_that_so_short_a_search_has_not_moved_the_controller(unbroken):
    assert unbroken.shown.count("warning: ") == 1
    assert "still draws as it did at the start (divergence 0.0" in unbroken.shown


def test_no_validation_batch_is_used_twice_but_by_pairs(unbroken):
    wanted = []
    for first in (0, 18):
        # Four updates of two architectures; then ten to report, each beside a uniform draw.
        updates, reported = range(first, first + 8), range(first + 8, first + 18)
        wanted += [*updates, *reported, *reported]
    assert unbroken.reward_batches == wanted


def test_two_devices_search_like_one(tmp_path):
    child = tiny.ImageChildConfig(aux_head=False, keep_prob=1.0)
    config = replace(AVERAGING, num_epochs=1)
    one = tiny.search(child=child, config=config)
    two = tiny.search(tiny.two_devices(), child, config)
    for name, search in (("one", one), ("two", two)):
        search.run(Run(tmp_path / name))
    wanted, actual = copies(one), copies(two)
    assert wanted.keys() == actual.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(actual[name], value, atol=2e-5, err_msg=name)
    arcs = [(tmp_path / name / "search/arcs.jsonl").read_text() for name in ("one", "two")]
    assert arcs[0] == arcs[1]


def test_replicas_may_train_an_architecture_each(tmp_path):
    config = replace(tiny.SEARCH, num_epochs=1, max_steps=1, arcs_per_step="replica")
    child = tiny.ImageChildConfig(aux_head=False, keep_prob=1.0)
    search = tiny.search(tiny.two_devices(), child, config)
    given, step = [], search.weights.trainer.train_step
    search.weights.trainer.trace = lambda *_: None
    search.weights.trainer.train_step = lambda batch, tokens: (
        given.append(tokens) or step(batch, tokens)
    )
    before = copies(search)
    search.run(Run(tmp_path))
    tokens = [
        one.numpy() for one in search.weights.trainer.strategy.experimental_local_results(given[0])
    ]
    assert len(tokens) == 2 and not np.array_equal(*tokens)
    scales = next(
        name for name, value in before.items() if value.shape == (28, 8) and "child" in name
    )
    # Weight decay shrinks all rows alike; gradients reach those that the tokens name.
    shrunk = before[scales] * (1 - 0.05 * 1.9 * 2 * child.l2)
    moved = np.abs(copies(search)[scales] - shrunk).max(axis=1) > 1e-6
    first_rows = search.weights.trainer.child.first_rows
    assert set(np.flatnonzero(moved)) == set(np.concatenate([t + first_rows for t in tokens]))


def test_a_random_controller_never_learns(tmp_path, capsys):
    search = tiny.search(config=replace(tiny.SEARCH, num_epochs=1), kind="random")
    search.run(run := Run(tmp_path))
    assert {name for name in search.variables if "controller" in name} == set()
    assert "warning" not in capsys.readouterr().out
    records = tiny.records(run, "search")
    assert [r["divergence"] for r in records if r["phase"] == "valid"] == [0]
    assert {r["grad_norm"] for r in records if r["phase"] == "controller"} == {0}
    shares = np.bincount(search.searched().draw(2000, 0).numpy()[:, 1], minlength=5) / 2000
    np.testing.assert_allclose(shares, 0.2, atol=0.04)


def trained_tokens(search):
    """A list that gets the tokens that each epoch trains the shared weights on."""
    given, train = [], search.weights.train

    def watching(session, epoch, steps, draw):
        train(session, epoch, steps, lambda n: given.append(draw(n).numpy()) or draw(n))

    search.weights.train = watching
    return given


def test_in_the_warm_up_the_controller_rests(tmp_path):
    config = replace(tiny.SEARCH, num_epochs=3, warmup_epochs=2)
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    searches = [tiny.search(config=config) for _ in range(3)]
    start, given = copies(searches[0]), trained_tokens(searches[0])
    with tiny.many_checkpoints():
        searches[0].run(whole)
        # Amid the last epoch: two of five steps, then one of nine.
        with tiny.killed_at(18):
            searches[1].run(killed)
        searches[2].run(killed)
    tiny.assert_same(copies(searches[2]), copies(searches[0]))
    records = tiny.records(whole, "search")
    assert tiny.records(killed, "search") == records
    phases = [(r["epoch"], r["phase"], r["step"]) for r in records if r["phase"] != "child"]
    controller = [(2, "controller", 17), (2, "controller", 19)]
    assert phases == [(0, "valid", 5), (1, "valid", 10), *controller, (2, "valid", 19)]
    assert [r["divergence"] for r in records if r["phase"] == "valid"][:2] == [0, 0]
    # Of the untrained controller, the draws would be these.
    fresh = tiny.search(config=config)
    drawn = [fresh._draw(5, 0, epoch).tokens.numpy() for epoch in range(3)]
    for epoch, is_drawn in enumerate((False, False, True)):
        assert np.array_equal(given[epoch], drawn[epoch]) is is_drawn
    assert any(np.any(copies(searches[0])[n] != start[n]) for n in start if "controller" in n)


def test_shared_weights_may_be_trained_on_draws_of_their_own(tmp_path):
    search = tiny.search(config=replace(tiny.SEARCH, sampling="fair"))
    given = trained_tokens(search)
    search.run(Run(tmp_path))
    for epoch in given:
        takes_turns = [set(column) == set(range(5)) for column in np.transpose(epoch)[1::2]]
        assert all(takes_turns)
    assert len(given) == 2 and not np.array_equal(*given)


def test_a_killed_ppo_search_goes_on_to_the_same_end(tmp_path):
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    searches = [tiny.search(kind="ppo", ppo_epochs=2) for _ in range(3)]
    with tiny.many_checkpoints():
        searches[0].run(whole)
        with tiny.killed_at(18):
            searches[1].run(killed)
        searches[2].run(killed)
    tiny.assert_same(copies(searches[2]), copies(searches[0]))
    assert tiny.records(killed, "search") == tiny.records(whole, "search")
    [first, *_] = [r for r in tiny.records(whole, "search") if r["phase"] == "controller"]
    assert {"reward", "baseline", "entropy", "clip_fraction", "grad_norm"} <= set(first)


def test_a_learning_controller_changes(unbroken):
    seen, last = unbroken.seen, unbroken.last
    weights = [name for name in last if name.startswith("controller")]
    changed = [name for name in weights if not np.array_equal(seen[0][1][name], last[name])]
    assert len(changed) > len(weights) / 2


def test_an_update_is_shared_evenly_by_the_replicas():
    config = replace(tiny.SEARCH, arcs_per_update=3)
    with pytest.raises(UserError, match="must be a multiple of 2, the number of replicas"):
        tiny.search(tiny.two_devices(), config=config)


@pytest.mark.parametrize(
    "name",
    [
        *("num_epochs", "batch_size", "updates_per_epoch", "arcs_per_update", "reward_batches"),
        "snapshots",
    ],
)
def test_wrong_numbers(name):
    with pytest.raises(UserError, match=f"search.{name} must be at least 1, got 0"):
        SearchConfig(**{name: 0})


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_wrong_averages(decay):
    with pytest.raises(UserError, match="average_decay must be at least 0 and below 1, got "):
        SearchConfig(average_decay=decay)


def test_the_weights_at_the_ends_of_the_last_epochs_are_kept(tmp_path):
    search, ends = tiny.search(config=replace(tiny.SEARCH, num_epochs=3, snapshots=2)), []
    train = search.weights.train

    def train_and_copy(*args):
        train(*args)
        ends.append([weight.numpy() for weight in search.weights.trainer.trained])

    search.weights.train = train_and_copy
    assert [one.is_updated for one in search.weights.snapshots] == [False, False]
    search.run(Run(tmp_path))
    # The third epoch's take the place of the first's.
    for snapshot, end in zip(search.weights.snapshots, (ends[2], ends[1]), strict=True):
        assert snapshot.is_updated
        with snapshot.in_place():
            for weight, value in zip(search.weights.trainer.trained, end, strict=True):
                np.testing.assert_array_equal(weight.numpy(), value)
    assert not np.array_equal(ends[1][0], ends[2][0])


def test_wrong_warm_ups():
    with pytest.raises(UserError, match=r"at least 0 and below search\.num_epochs, 5, got 5"):
        SearchConfig(num_epochs=5, warmup_epochs=5)


def test_nothing_to_restore(tmp_path):
    with pytest.raises(UserError, match="holds no search; run the verb search first"):
        tiny.search().restore(Run(tmp_path))


def test_restores_what_a_search_has_left(unbroken):
    run, wanted = unbroken.run, unbroken.last
    search = tiny.search(config=AVERAGING)
    search.restore(run)
    tiny.assert_same(copies(search), wanted)
