import errno
import json
import math
import os
import signal

import pytest
import tensorflow as tf

from enas_tf.core.errors import Preempted, UserError
from enas_tf.training import session as sessions
from enas_tf.training.session import NotFinite, Schedule, Session, Stage


def session_of(folder, count=None, work=None, epochs=1, steps=9, max_rollbacks=0, **variables):
    """A session of epochs of some steps, which `work`, called with it, takes all at once."""
    schedule = Schedule(
        epochs,
        [Stage(steps, lambda session, epoch, left: work(session))],
        lambda session, epoch: None,
        lambda retries: None,
        max_rollbacks,
    )
    variables["count"] = tf.Variable(0) if count is None else count
    return Session(folder, variables, schedule, "images", "train")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a session of nine steps that counts them in a variable; records every three."""
    monkeypatch.setattr(sessions, "LOG_EVERY", 3)
    opened = []

    def start(count=None):
        count = tf.Variable(0) if count is None else count
        opened.append(session_of(tmp_path, count))
        opened[-1].resume()
        return opened[-1]

    yield start
    opened[-1].close()


def step(session, loss, last=False, epoch=0, **now):
    session.advance("train", epoch, 10, {"loss": tf.constant(loss)}, last, **now)


def read(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_means_since_the_last_record(start, tmp_path):
    session = start()
    for loss in (1.0, 2.0, 6.0, 4.0):
        step(session, loss, learning_rate=0.1)
    step(session, 8.0, last=True, learning_rate=0.2)
    shown = [(r["step"], r["loss"], r["learning_rate"]) for r in read(tmp_path)]
    # 3 = (1 + 2 + 6) / 3 and 6 = (4 + 8) / 2; the rate is that of the record's last step.
    assert shown == [(3, 3.0, 0.1), (5, 6.0, 0.2)]


def test_counts_examples_a_second(start, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    session = start()
    for _ in range(3):
        now[0] += 2
        step(session, 1.0)
    assert read(tmp_path)[0]["images_per_second"] == 10 * 3 / 6


def test_what_is_done_between_the_steps_counts_for_no_step(start, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    session = start()
    for _ in range(2):
        now[0] += 2
        step(session, 1.0, last=True)
        now[0] += 50
        session.record("valid", 0, accuracy=0.5)
        session.save()
    speeds = [r["images_per_second"] for r in read(tmp_path) if r["phase"] == "train"]
    assert speeds == [10 / 2, 10 / 2]


def test_is_done_with_the_last_step(start):
    session = start()
    for _ in range(8):
        step(session, 1.0)
    assert not session.done
    step(session, 1.0)
    assert session.done


def test_goes_on_after_the_checkpoint_and_drops_later_records(start, tmp_path, capsys):
    count = tf.Variable(0)
    session = start(count)
    step(session, 1.0, last=True)
    count.assign(7)
    session.state["best"] = 0.5
    session.save()
    step(session, 2.0, last=True)
    session.record("valid", 0, accuracy=0.25)
    session.close()

    fresh = tf.Variable(0)
    resumed = start(fresh)
    assert "resuming at step 1 of 9" in capsys.readouterr().out
    assert (resumed.step, resumed.state, fresh.numpy()) == (1, {"best": 0.5}, 7)
    step(resumed, 3.0, last=True)
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [(1, 1.0), (2, 3.0)]


def test_starts_afresh_where_no_checkpoint_was_reached(start, tmp_path):
    session = start()
    step(session, 1.0, last=True)
    session.close()
    assert start().step == 0
    assert read(tmp_path) == []


@pytest.mark.parametrize(("seconds", "saved"), [(599, []), (601, ["step_000000003"])])
def test_saves_at_a_record_when_the_last_checkpoint_is_old(
    start, tmp_path, monkeypatch, seconds, saved
):
    now = [100.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    session = start()
    now[0] += seconds
    for _ in range(5):
        step(session, 1.0)
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == saved


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(start, tmp_path, loss):
    session = start()
    step(session, 1.0, last=True)
    session.save()
    step(session, 1.0, epoch=1)
    with pytest.raises(UserError, match=r"train loss is not finite at step 3 \(epoch 1\)"):
        step(session, loss, last=True, epoch=1)
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == ["step_000000001"]
    assert read(tmp_path)[-1]["loss"] is None


class Gone:
    """What shows progress to a terminal or a pipe whose other end is gone."""

    def __init__(self, error):
        self.error = error

    def update(self, *_, **__):
        raise self.error

    def close(self):
        pass


@pytest.mark.parametrize(
    "reason",
    [signal.SIGTERM, signal.SIGHUP, BrokenPipeError(errno.EPIPE, ""), OSError(errno.EIO, "")],
    ids=["SIGTERM", "SIGHUP", "pipe", "terminal"],
)
def test_saves_and_stops_when_asked_to_and_completes_the_record_later(start, tmp_path, reason):
    count = tf.Variable(0)

    def work(session):
        step(session, 1.0)
        count.assign(1)
        if isinstance(reason, OSError):
            session.progress = Gone(reason)
        else:
            os.kill(os.getpid(), reason)
        step(session, 2.0)
        raise AssertionError("goes on")

    session = session_of(tmp_path, count, work)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with pytest.raises((Preempted, OSError)) as raised:
        session.run()
    if isinstance(reason, OSError):
        assert raised.value is reason
    else:
        assert raised.value.signal == reason
        assert str(raised.value) == "stopped at step 2 of 9"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before
    session.close()
    assert read(tmp_path) == []
    count.assign(0)
    resumed = start(count)
    assert (resumed.step, count.numpy()) == (2, 1)
    step(resumed, 6.0)
    # The mean of 1, 2 and 6, as if it had not been stopped.
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [(3, 3.0)]


def test_what_nohup_ignores_stays_ignored(tmp_path):
    def work(session):
        os.kill(os.getpid(), signal.SIGHUP)
        for number in range(9):
            step(session, 1.0, last=number == 8)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        session = session_of(tmp_path, work=work)
        session.run()
        session.close()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert session.done


def test_a_stop_that_comes_with_an_epochs_end_waits_for_its_checkpoint(start, tmp_path):
    """As in an epoch of one step, or while it is validated."""
    count = tf.Variable(0)

    def work(session):
        os.kill(os.getpid(), signal.SIGTERM)
        step(session, 1.0, last=True)
        session.record("valid", 0, accuracy=0.5)
        count.assign(5)

    session = session_of(tmp_path, count, work, epochs=2, steps=1)
    with pytest.raises(Preempted, match="stopped at step 1 of 2"):
        session.run()
    session.close()
    count.assign(0)
    resumed = start(count)
    assert (resumed.step, count.numpy()) == (1, 5)
    assert [r["phase"] for r in read(tmp_path)] == ["train", "valid"]


def test_weights_that_are_not_finite_get_into_no_checkpoint(tmp_path):
    weight = tf.Variable(1.0)

    def work(session):
        # The loss is that of the weights before the step.
        step(session, 1.0, last=True)
        weight.assign(math.inf if session.retries == 0 else 2.0)

    session = session_of(tmp_path, work=work, steps=1, weight=weight)
    with pytest.raises(NotFinite, match=r"weights are not finite after step 1; .*--workdir$"):
        session.run()
    session.close()
    assert not list(tmp_path.glob("checkpoints/*"))
    weight.assign(1.0)
    session = session_of(tmp_path, work=work, steps=1, max_rollbacks=1, weight=weight)
    session.run()
    session.close()
    assert (session.step, session.retries, weight.numpy()) == (1, 1, 2.0)


def test_says_which_step_since_the_last_record_was_not_finite(start):
    session = start()
    step(session, 1.0)
    step(session, math.nan)
    with pytest.raises(NotFinite, match="at step 2 "):
        step(session, math.nan)


def retrying(folder, losses, max_rollbacks):
    """A session in three epochs of three steps; a loss is found by retry, then by step."""
    starts = []

    def run(session, epoch, left):
        for number in left:
            loss = losses[session.retries][session.step]
            step(session, loss, last=True, epoch=epoch)
            assert starts[-1] == session.retries and number in left

    stages = [Stage(3, run)]
    schedule = Schedule(3, stages, lambda session, epoch: None, starts.append, max_rollbacks)
    return Session(folder, {"count": tf.Variable(0)}, schedule, "images", "train")


def test_goes_back_to_the_last_checkpoint_and_tries_again(tmp_path, capsys):
    first, second = [float(n) for n in range(9)], [10.0 + n for n in range(9)]
    first[4] = math.nan
    session = retrying(tmp_path, [first, second], max_rollbacks=3)
    session.run()
    session.close()
    assert "back to step 3, retry 1 of 3" in capsys.readouterr().out
    # The steps after the checkpoint are those of the second try, each recorded once.
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [
        *((n + 1, float(n)) for n in range(3)),
        *((n + 1, 10.0 + n) for n in range(3, 9)),
    ]
    resumed = retrying(tmp_path, [], max_rollbacks=3)
    resumed.resume()
    assert resumed.retries == 1
    resumed.close()


def test_gives_up_after_as_many_rollbacks_in_a_row(tmp_path):
    fine, bad = [1.0] * 9, [1.0] * 9
    bad[7] = math.inf
    early = [math.nan] * 9
    # Two before the first checkpoint, two after it; the checkpoint ends a row.
    session = retrying(tmp_path, [early, early, bad, bad, bad, fine], max_rollbacks=2)
    with pytest.raises(NotFinite, match=r"at step 8 .* went back 2 times"):
        session.run()
    session.close()
    assert session.retries == 4


def test_without_rollbacks_the_first_bad_loss_ends_the_run(tmp_path):
    session = retrying(tmp_path, [[math.nan] * 9, [1.0] * 9], max_rollbacks=0)
    with pytest.raises(NotFinite, match=r"step 1 .*--workdir$"):
        session.run()
    session.close()
