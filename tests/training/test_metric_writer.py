import errno
import json
import math
import os

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from enas_tf.core.errors import UserError
from enas_tf.training import metric_writer as metrics_module
from enas_tf.training.metric_writer import Metrics


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    """The steps and losses that TensorBoard shows."""
    found = []
    for path in folder.glob("events.out.tfevents.*"):
        for raw in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(raw.numpy())
            found += [
                (event.step, float(tf.make_ndarray(value.tensor)))
                for value in event.summary.value
                if value.tag == "child/loss"
            ]
    return found


@pytest.fixture
def clock(monkeypatch):
    """A clock of the metrics' own, in seconds, that the test moves on."""
    now = [1000.0]
    fake = type("Clock", (), {"monotonic": staticmethod(lambda: now[0])})
    monkeypatch.setattr(metrics_module, "time", fake)
    return now


def test_records_hold_plain_numbers(tmp_path, clock):
    metrics = Metrics(tmp_path / "search")
    clock[0] += 1.25
    metrics.write("child", step=np.int64(3), epoch=0, loss=tf.constant(0.5), grad_norm=math.nan)
    clock[0] += 2
    metrics.write("controller", step=4, epoch=1, reward=1, entropy=math.inf)
    metrics.close()
    assert (tmp_path / "search" / "metrics.jsonl").read_text() == (
        '{"phase": "child", "step": 3, "epoch": 0, "seconds": 1.25, '
        '"loss": 0.5, "grad_norm": null}\n'
        '{"phase": "controller", "step": 4, "epoch": 1, "seconds": 3.25, '
        '"reward": 1.0, "entropy": null}\n'
    )


def test_writes_tensorboards_scalars_histograms_and_images(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write("child", step=3, epoch=0, loss=0.5)
    counts = {"ops": {"tanh": 3, "relu": 0, "sigmoid": 5}}
    metrics.write("valid", step=4, epoch=0, counts=counts, accuracy=0.25)
    picture = Figure(figsize=(2, 1))
    metrics.draw("valid/best_architecture", picture, step=4)
    metrics.close()
    assert records(tmp_path)[1]["ops"] == counts["ops"]
    (events,) = tmp_path.glob("events.out.tfevents.*")
    scalars, others = {}, {}
    for raw in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(raw.numpy())
        for value in event.summary.value:
            kind = value.metadata.plugin_data.plugin_name
            array = tf.make_ndarray(value.tensor)
            if kind == "scalars":
                scalars[value.tag, event.step] = float(array)
            else:
                others[kind, value.tag, event.step] = array
    assert scalars == {("child/loss", 3): 0.5, ("valid/accuracy", 4): 0.25}
    # Each bin's left and right edge, and its count.
    bins = others.pop(("histograms", "valid/ops", 4))
    np.testing.assert_array_equal(bins[:, 2], [3, 0, 5])
    [((kind, tag, step), image)] = others.items()
    assert (kind, tag, step) == ("images", "valid/best_architecture", 4)
    assert image[:2].tolist() == [b"200", b"100"]


def test_resumes_with_each_record_once(tmp_path, clock):
    first = Metrics(tmp_path)
    clock[0] += 10
    first.write("child", step=1, epoch=0, loss=1.0)
    checkpoint = first.position()
    clock[0] += 10
    first.write("child", step=2, epoch=0, loss=2.0)
    # The process is killed while it writes.
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"phase": "child", "st')

    clock[0] += 500
    second = Metrics(tmp_path)
    assert [r["step"] for r in records(tmp_path)] == [1, 2]
    second.rewind(checkpoint)
    assert [r["step"] for r in records(tmp_path)] == [1]
    clock[0] += 4
    second.write("child", step=2, epoch=0, loss=3.0)
    assert [(r["step"], r["seconds"]) for r in records(tmp_path)] == [(1, 10.0), (2, 14.0)]
    second.flush()
    assert sorted(events(tmp_path)) == [(1, 1.0), (2, 3.0)]
    # In one process too, as after a loss that is not finite.
    second.rewind(checkpoint)
    second.write("child", step=2, epoch=0, loss=4.0)
    second.close()
    assert sorted(events(tmp_path)) == [(1, 1.0), (2, 4.0)]


def test_rewound_to_zero_starts_afresh(tmp_path, clock):
    first = Metrics(tmp_path)
    clock[0] += 10
    first.write("child", step=1, epoch=0, loss=1.0)
    second = Metrics(tmp_path)
    second.rewind({})
    clock[0] += 3
    second.write("child", step=1, epoch=0, loss=1.0)
    assert [(r["step"], r["seconds"]) for r in records(tmp_path)] == [(1, 3.0)]
    second.close()
    assert events(tmp_path) == [(1, 1.0)]


def test_keeps_a_file_shorter_than_the_checkpoint_says(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write("child", step=1, epoch=0, loss=1.0)
    metrics.rewind({"metrics.jsonl": 10_000})
    metrics.write("child", step=2, epoch=0, loss=1.0)
    assert [r["step"] for r in records(tmp_path)] == [1, 2]


def test_in_a_folder_that_is_a_file_is_the_users_one_line(tmp_path):
    (tmp_path / "search").write_text("mine")
    with pytest.raises(UserError, match=r"^cannot write .*metrics\.jsonl \(File exists"):
        Metrics(tmp_path / "search")


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "full"), tf.errors.ResourceExhaustedError(None, None, "full")],
    ids=["file", "events"],
)
def test_on_a_full_disk_is_the_users_one_line(tmp_path, monkeypatch, failure):
    metrics = Metrics(tmp_path)

    def full(descriptor):
        raise failure

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^the disk is full: cannot write .*metrics\.jsonl"):
        metrics.position()
