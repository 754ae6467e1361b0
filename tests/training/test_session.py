import json
import math
import os
import signal

import pytest
import tensorflow as tf

from enas_tf.core.errors import Preempted, UserError
from enas_tf.training import session as loops
from enas_tf.training.session import Loop, NotFinite


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a loop of nine steps that counts them in a variable; records every three."""
    monkeypatch.setattr(loops, "LOG_EVERY", 3)
    opened = []

    def start(count=None):
        count = tf.Variable(0) if count is None else count
        opened.append(Loop(tmp_path, {"count": count}, 9, "images", "train"))
        opened[-1].resume()
        return opened[-1]

    yield start
    opened[-1].close()


def step(loop, loss, last=False, epoch=0, **now):
    loop.advance("train", epoch, 10, {"loss": tf.constant(loss)}, last, **now)


def read(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_means_since_the_last_record(start, tmp_path):
    loop = start()
    for loss in (1.0, 2.0, 6.0, 4.0):
        step(loop, loss, learning_rate=0.1)
    step(loop, 8.0, last=True, learning_rate=0.2)
    shown = [(r["step"], r["loss"], r["learning_rate"]) for r in read(tmp_path)]
    # 3 = (1 + 2 + 6) / 3 and 6 = (4 + 8) / 2; the rate is that of the record's last step.
    assert shown == [(3, 3.0, 0.1), (5, 6.0, 0.2)]


def test_counts_units_a_second(start, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loops.time, "monotonic", lambda: now[0])
    loop = start()
    for _ in range(3):
        now[0] += 2
        step(loop, 1.0)
    assert read(tmp_path)[0]["images_per_second"] == 10 * 3 / 6


def test_what_is_done_between_the_steps_counts_for_no_step(start, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loops.time, "monotonic", lambda: now[0])
    loop = start()
    for _ in range(2):
        now[0] += 2
        step(loop, 1.0, last=True)
        now[0] += 50
        loop.record("valid", 0, accuracy=0.5)
        loop.save()
    speeds = [r["images_per_second"] for r in read(tmp_path) if r["phase"] == "train"]
    assert speeds == [10 / 2, 10 / 2]


def test_is_done_with_the_last_step(start):
    loop = start()
    for _ in range(8):
        step(loop, 1.0)
    assert not loop.done
    step(loop, 1.0)
    assert loop.done


def test_goes_on_behind_the_checkpoint_and_drops_later_records(start, tmp_path, capsys):
    count = tf.Variable(0)
    loop = start(count)
    step(loop, 1.0, last=True)
    count.assign(7)
    loop.state["best"] = 0.5
    loop.save()
    step(loop, 2.0, last=True)
    loop.record("valid", 0, accuracy=0.25)
    loop.close()

    fresh = tf.Variable(0)
    resumed = start(fresh)
    assert "resuming at step 1 of 9" in capsys.readouterr().out
    assert (resumed.step, resumed.state, fresh.numpy()) == (1, {"best": 0.5}, 7)
    step(resumed, 3.0, last=True)
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [(1, 1.0), (2, 3.0)]


def test_starts_afresh_where_no_checkpoint_was_reached(start, tmp_path):
    loop = start()
    step(loop, 1.0, last=True)
    loop.close()
    assert start().step == 0
    assert read(tmp_path) == []


@pytest.mark.parametrize(("seconds", "saved"), [(599, []), (601, ["step_000000003"])])
def test_saves_at_a_record_when_the_last_checkpoint_is_old(
    start, tmp_path, monkeypatch, seconds, saved
):
    now = [100.0]
    monkeypatch.setattr(loops.time, "monotonic", lambda: now[0])
    loop = start()
    now[0] += seconds
    for _ in range(5):
        step(loop, 1.0)
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == saved


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(start, tmp_path, loss):
    loop = start()
    step(loop, 1.0, last=True)
    loop.save()
    step(loop, 1.0, epoch=1)
    with pytest.raises(UserError, match=r"train loss is not finite at step 3 \(epoch 1\)"):
        step(loop, loss, last=True, epoch=1)
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == ["step_000000001"]
    assert read(tmp_path)[-1]["loss"] is None


def test_saves_and_stops_when_asked_to_and_completes_the_record_later(start, tmp_path):
    count = tf.Variable(0)

    def work():
        step(loop, 1.0)
        count.assign(1)
        os.kill(os.getpid(), signal.SIGTERM)
        step(loop, 2.0)
        raise AssertionError("goes on")

    loop = Loop(tmp_path, {"count": count}, 9, "images", "train")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="stopped at step 2 of 9"):
        loop.run(work, max_rollbacks=0)
    assert signal.getsignal(signal.SIGTERM) is before
    loop.close()
    assert read(tmp_path) == []
    count.assign(0)
    resumed = start(count)
    assert (resumed.step, count.numpy()) == (2, 1)
    step(resumed, 6.0)
    # The mean of 1, 2 and 6, as if it had not been stopped.
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [(3, 3.0)]


def test_a_stop_that_comes_with_an_epochs_end_waits_for_its_checkpoint(start, tmp_path):
    """As in an epoch of one step, or while it is validated."""
    count = tf.Variable(0)

    def work():
        os.kill(os.getpid(), signal.SIGTERM)
        step(loop, 1.0, last=True)
        loop.record("valid", 0, accuracy=0.5)
        count.assign(5)
        loop.save()
        raise AssertionError("goes on")

    loop = Loop(tmp_path, {"count": count}, 1, "images", "train")
    with pytest.raises(Preempted, match="stopped at step 1 of 1"):
        loop.run(work, max_rollbacks=0)
    loop.close()
    count.assign(0)
    resumed = start(count)
    assert (resumed.step, count.numpy()) == (1, 5)
    assert [r["phase"] for r in read(tmp_path)] == ["train", "valid"]


def test_weights_that_are_not_finite_get_into_no_checkpoint(tmp_path):
    weight = tf.Variable(1.0)

    def start():
        return Loop(tmp_path, {"weight": weight, "count": tf.Variable(0)}, 9, "images", "train")

    def work():
        # The loss is that of the weights before the step.
        step(loop, 1.0, last=True)
        weight.assign(math.inf if loop.attempt == 0 else 2.0)
        loop.save()

    loop = start()
    with pytest.raises(NotFinite, match=r"weights are not finite behind step 1; .*--workdir$"):
        loop.run(work, max_rollbacks=0)
    loop.close()
    assert not list(tmp_path.glob("checkpoints/*"))
    weight.assign(1.0)
    loop = start()
    loop.run(work, max_rollbacks=1)
    loop.close()
    assert (loop.step, loop.attempt, weight.numpy()) == (1, 1, 2.0)


def test_says_which_step_since_the_last_record_was_not_finite(start):
    loop = start()
    step(loop, 1.0)
    step(loop, math.nan)
    with pytest.raises(NotFinite, match="at step 2 "):
        step(loop, math.nan)


def run(loop, losses, max_rollbacks):
    """Takes the steps that the loop has left; a loss is found by attempt, then by step."""

    def work():
        while not loop.done:
            step(loop, losses[loop.attempt][loop.step], last=True)
            if loop.step in (1, 5):
                loop.save()

    loop.run(work, max_rollbacks)


def test_goes_back_to_the_last_checkpoint_and_tries_again(tmp_path, capsys):
    count = tf.Variable(0)
    loop = Loop(tmp_path, {"count": count}, 9, "images", "train")
    first, second = [float(n) for n in range(9)], [10.0 + n for n in range(9)]
    first[3] = math.nan
    run(loop, [first, second], max_rollbacks=3)
    loop.close()
    assert "back to step 1, attempt 1 of 3" in capsys.readouterr().out
    # The steps behind the checkpoint are those of the second attempt, each recorded once.
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [
        (1, 0.0),
        *((n + 1, 10.0 + n) for n in range(1, 9)),
    ]
    resumed = Loop(tmp_path, {"count": count}, 9, "images", "train")
    resumed.resume()
    assert resumed.attempt == 1
    resumed.close()


def test_gives_up_after_as_many_rollbacks_in_a_row(tmp_path):
    loop = Loop(tmp_path, {"count": tf.Variable(0)}, 9, "images", "train")
    fine, bad = [1.0] * 9, [1.0] * 9
    bad[7] = math.inf
    early = [math.nan] * 9
    # Two before the first checkpoint, two behind it; the checkpoint ends a row.
    with pytest.raises(NotFinite, match=r"at step 8 .* went back 2 times"):
        run(loop, [early, early, bad, bad, bad, fine], max_rollbacks=2)
    loop.close()
    assert loop.attempt == 4


def test_without_rollbacks_the_first_bad_loss_ends_the_run(tmp_path):
    loop = Loop(tmp_path, {"count": tf.Variable(0)}, 9, "images", "train")
    with pytest.raises(NotFinite, match=r"step 1 .*--workdir$"):
        run(loop, [[math.nan] * 9, [1.0] * 9], max_rollbacks=0)
    loop.close()
