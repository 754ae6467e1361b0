import re
from datetime import datetime

from enas_tf.training.trackers import KatibLines

# The filter of Katib's StdOut collector where an experiment gives none
# (pkg/metricscollector/v1beta1/common/const.go).
FILTER = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)")


def read_as_katib(line):
    """The time, and the values by their names, that Katib reads in a line."""
    first, _, _ = line.partition(" ")
    when = datetime.fromisoformat(first.replace("Z", "+00:00"))
    return when, {match[1]: match[2] for match in FILTER.finditer(line)}


def test_katib_reads_each_value_exactly():
    values = {"accuracy": 0.9123, "top5_accuracy": 1, "loss": 1e-05, "gap": -1.5e20, "lr": 2.5e-7}
    lines = []
    KatibLines().record("valid", values, lines.append)
    assert len(lines) == len(values)
    for line, (name, value) in zip(lines, values.items(), strict=True):
        when, read = read_as_katib(line)
        assert list(read) == [f"valid-{name}"]
        assert float(read[f"valid-{name}"]) == value
        assert when.utcoffset().total_seconds() == 0


def test_what_is_not_finite_is_left_out():
    lines = []
    KatibLines().record("train", {"loss": float("nan"), "norm": float("inf")}, lines.append)
    assert lines == []
