import io
import shutil

import pytest

from enas_tf.training import progress
from enas_tf.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock in seconds that the test moves on."""
    now = [50.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_few_and_hold_rate_and_time_left(clock):
    stream = io.StringIO()
    with Progress(1001, examples="images", label="train", stream=stream) as shown:
        for step in range(1, 13):
            # Two steps a second, of 100 images each.
            shown.update(step, epoch=2, num_examples=100, loss=1 / step)
            clock[0] += 0.5
        assert stream.getvalue() == "train: epoch 2, step 1/1,001, loss 1\n"
        clock[0] += 4
        shown.update(13, epoch=2, num_examples=100, loss=0.25, reward=0.123456)
    # 12 steps behind the first, in 10 seconds: 120 images a second; 988 steps left at 10/12 s.
    assert stream.getvalue().splitlines()[1:] == [
        "train: epoch 2, step 13/1,001, loss 0.25, reward 0.1235, 120 images/s, 13m 43s left"
    ]


def test_time_left_counts_only_the_steps_of_this_process(clock):
    stream = io.StringIO()
    shown = Progress(1000, examples="tokens", stream=stream)
    shown.update(900, epoch=9, num_examples=35)
    clock[0] += 20
    shown.update(910, epoch=9, num_examples=350)
    assert stream.getvalue().splitlines()[1] == (
        "search: epoch 9, step 910/1,000, 18 tokens/s, 3m 00s left"
    )


def test_rate_is_that_of_the_latest_showings(clock):
    stream = io.StringIO()
    shown = Progress(1000, stream=stream)
    for step in range(1, 21):
        shown.update(step, epoch=0, num_examples=100 if step < 10 else 1000)
        clock[0] += 10
    assert ", 100 images/s, " in stream.getvalue().splitlines()[-1]


def test_the_last_step_is_always_shown(clock):
    stream = io.StringIO()
    with Progress(2, stream=stream) as shown:
        shown.update(1, epoch=0, num_examples=10)
        clock[0] += 1
        shown.update(2, epoch=0, num_examples=10)
    assert stream.getvalue().splitlines()[-1] == ("search: epoch 0, step 2/2, 10 images/s, 0s left")


def test_the_latest_of_each_number_is_shown(clock):
    stream = io.StringIO()
    shown = Progress(100, stream=stream)
    shown.update(1, epoch=0, num_examples=10, loss=2.0)
    shown.update(2, epoch=0, num_examples=10, loss=1.5)
    clock[0] += 10
    shown.update(3, epoch=0, num_examples=10, reward=0.5)
    assert "loss 1.5, reward 0.5" in stream.getvalue().splitlines()[-1]


def test_a_terminal_has_one_live_line_that_fits(clock, monkeypatch):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: type("Size", (), {"columns": 30}))
    stream = Terminal()
    with Progress(10, label="train", stream=stream) as shown:
        shown.update(1, epoch=0, num_examples=1, loss=123456.0)
        clock[0] += 0.1
        shown.update(2, epoch=0, num_examples=1, loss=2.0)
        clock[0] += 0.9
        shown.update(3, epoch=0, num_examples=1, loss=3.0)
        shown.note("epoch 0 done")
    first, second = "train: epoch 0, step 1/10, lo", "train: epoch 0, step 3/10, lo"
    assert len(first) == 29
    assert stream.getvalue() == (
        f"\r{first}\r{second}" + "\r" + " " * 29 + "\r" + f"epoch 0 done\n{second}\n"
    )


def test_a_shorter_live_line_wipes_a_longer_one(clock, monkeypatch):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: type("Size", (), {"columns": 200}))
    stream = Terminal()
    shown = Progress(10, stream=stream)
    shown.update(1, epoch=0, num_examples=1, loss=0.1234)
    clock[0] += 1
    shown.update(1, epoch=0, num_examples=1, loss=1.0)
    assert stream.getvalue().split("\r")[1:] == [
        "search: epoch 0, step 1/10, loss 0.1234",
        "search: epoch 0, step 1/10, loss 1     ",
    ]


def test_standard_output_is_the_default(capsys, clock):
    with Progress(10) as shown:
        shown.update(1, epoch=0, num_examples=1)
        shown.note("a note")
    assert capsys.readouterr().out == "search: epoch 0, step 1/10\na note\n"
