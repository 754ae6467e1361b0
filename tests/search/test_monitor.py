import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.monitor import ControllerMonitor, count_inputs, count_ops, divergence, gap
from tests import tiny

DRAWS = [
    (MicroSpace(1), ["0 2 1 2 0 4 1 0", "1 1 1 1 1 1 1 1"], [1, 4, 2, 0, 1], [2, 6]),
    (MacroSpace(3), ["1 2 1 3 1 0", "5 5 0 5 0 0"], [0, 1, 1, 1, 0, 3], [2, 0]),
    (RnnSpace(2), ["0 3 1 1", "0 1 1 1"], [0, 3, 0, 1], [2, 2]),
]


@pytest.mark.parametrize(("space", "texts", "ops", "inputs"), DRAWS)
def test_counts_ops_and_inputs(space, texts, ops, inputs):
    arcs = list(map(space.parse, texts))
    assert count_ops(space, arcs) == dict(zip(space.ops, ops, strict=True))
    assert count_inputs(space, arcs) == dict(zip(space.entries, inputs, strict=True))


def test_the_gap_is_that_of_pairs():
    # The differences are 0.1, 0.1 and 0.4, whose variance is 0.03.
    found = gap([0.9, 0.2, 0.6], [0.8, 0.1, 0.2])
    assert found == pytest.approx({"gap": 0.2, "gap_error": math.sqrt(0.03 / 3)})


def test_the_divergence_is_kullback_leiblers():
    start, now = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.2, 0.4])
    draws = np.random.default_rng(0).choice(3, 20_000, p=start)
    wanted = np.sum(start * np.log(start / now))
    found = divergence(np.log(start)[draws], np.log(now)[draws])
    assert found == pytest.approx(wanted, rel=0.02)
    assert divergence(np.log(start), np.log(start)) == 0


@pytest.fixture(scope="module")
def controller():
    return tiny.search().algorithm.controller


def monitor_of(controller, epochs=range(5), learns=True):
    start = controller.sample(100, tf.constant([1, 2]))
    stand_in = SimpleNamespace(
        space=controller.space,
        log_prob=lambda tokens: controller.score(tokens).log_prob,
        learns=learns,
    )
    return ControllerMonitor(stand_in, start, epochs)


def reported(monitor, epoch=0, arcs=(), rewards=(0.5, 0.7), uniform=(0.3, 0.3), state=None):
    """What the monitor records, says and draws; a hundred sigmoid cells, where none are given."""
    records, notes, drawn = [], [], []
    session = SimpleNamespace(
        step=9,
        state={} if state is None else state,
        record=lambda phase, epoch, counts, **metrics: records.append((phase, counts, metrics)),
        note=notes.append,
        metrics=SimpleNamespace(draw=lambda name, picture, step: drawn.append((name, step))),
    )
    monitor.report(session, epoch, arcs or arcs_of(50), rewards, uniform)
    return records, notes, drawn


def arcs_of(percent):
    """A hundred architectures, of whose ops so many are the same one."""
    others = ["0 0 1 0 0 0 1 0"] * (100 - percent)
    return [tiny.SPACE.parse(text) for text in ["0 1 1 1 0 1 1 1"] * percent + others]


def test_records_what_the_controller_draws_and_how_far_it_has_come(controller):
    monitor = monitor_of(controller)
    arcs = [tiny.SPACE.parse(text) for text in [*DRAWS[0][1], DRAWS[0][1][0]]]
    [(phase, counts, numbers)], _, _ = reported(monitor, arcs=arcs)
    assert phase == "valid"
    wanted = {"reward": 0.6, "best_reward": 0.7, "uniform_reward": 0.3, "gap": 0.3}
    wanted |= {"gap_error": 0.1, "distinct": 2, "divergence": 0}
    assert numbers == pytest.approx(wanted, abs=1e-9)
    assert list(counts["ops"].values()) == [2, 4, 4, 0, 2]
    assert list(counts["inputs"].values()) == [4, 8]
    before = controller.kernel.numpy()
    controller.kernel.assign(10 * before)
    [(_, _, numbers)], _, _ = reported(monitor, arcs=arcs)
    controller.kernel.assign(before)
    assert numbers["divergence"] > 0.02


def test_draws_the_best_architecture_where_it_is_another_one(controller):
    monitor, arcs = monitor_of(controller), arcs_of(99)
    drawn = [
        reported(monitor, arcs=some, rewards=r)[2]
        for some, r in (
            (arcs, (0.2, 0.7)),
            (arcs, (0.9, 0.1)),
            (arcs[::-1], (0.9, 0.1)),
            (arcs[::-1], (0.1, 0.2)),
        )
    ]
    one = [("valid/best_architecture", 9)]
    assert drawn == [one, [], one, one]


@pytest.mark.parametrize(("percent", "is_collapse"), [(95, False), (96, True)])
def test_warns_once_of_a_collapse(controller, percent, is_collapse):
    monitor, state = monitor_of(controller), {}
    _, notes, _ = reported(monitor, arcs=arcs_of(percent), state=state)
    assert len(notes) == is_collapse
    assert not notes or "96% of the ops that it draws are separable conv 5x5;" in notes[0]
    assert not reported(monitor, 1, arcs_of(percent), state=state)[1]


@pytest.mark.parametrize(
    ("epochs", "epoch"), [(range(1), 0), (range(2), 1), (range(10), 7), (range(6, 10), 8)], ids=str
)
def test_warns_late_and_once_where_nothing_has_moved(controller, epochs, epoch):
    monitor = monitor_of(controller, epochs)
    warned = [n for n in range(epochs.stop) if reported(monitor, n)[1]]
    assert warned == [epoch]


def test_what_is_not_meant_to_learn_is_left_in_peace(controller):
    assert not reported(monitor_of(controller, range(1), learns=False), arcs=arcs_of(100))[1]


def test_warns_once_of_architectures_without_weights(controller):
    monitor, state = monitor_of(controller), {}
    # Pools and identities in turn: no single op is nearly all of them.
    pools = [tiny.SPACE.parse(f"0 {2 + n % 3} 1 {2 + n % 2} 0 3 1 4") for n in range(60)]
    convs = [tiny.SPACE.parse("0 0 1 2 0 3 1 4")] * 40
    _, notes, _ = reported(monitor, arcs=pools + convs, state=state)
    assert len(notes) == 1 and "warning: 60% of the architectures" in notes[0]
    assert "(average pool 3x3, max pool 3x3, identity)" in notes[0]
    assert reported(monitor, arcs=pools + convs, state=state)[1] == []
    assert reported(monitor, arcs=pools[:40] + convs, state={})[1] != []
    assert reported(monitor, arcs=pools[:39] + convs, state={})[1] == []
    without = monitor_of(controller, learns=False)
    assert reported(without, arcs=pools, state={})[1] == []


def test_each_space_tells_which_ops_have_no_weights():
    pools = ("average pool 3x3", "max pool 3x3")
    assert MicroSpace(1).weightless_ops == (*pools, "identity")
    assert MacroSpace(1, 7).weightless_ops == pools
    assert RnnSpace(1).weightless_ops == ()
