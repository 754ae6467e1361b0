from collections import Counter

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.latency import LatencyTable
from enas_tf.layers.listing import Block
from enas_tf.training.run_folder import Run

DEVICE = {"device": "Some CPU", "batch": 1, "precision": "float32", "compiled": False}
A, B, C = (Block("conv", ((4, 4, filters),), ()) for filters in (1, 2, 3))


class FakeClock:
    """Blocks take a millisecond for each of their channels; networks what they are."""

    def __init__(self):
        self.timed = []

    def time_blocks(self, blocks):
        self.timed += blocks
        return [float(block.shapes[0][-1]) for block in blocks]

    def time_networks(self, networks, count):
        return list(networks)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_a_networks_latency_is_the_sum_of_its_blocks(run, capsys):
    clock = FakeClock()
    table = LatencyTable(run, DEVICE, clock)
    table.measure([A, B])
    assert table.latency(Counter({A: 3, B: 2})) == 7
    # A block that the table lacks is measured when it is first met.
    assert table.latency(Counter({A: 1, C: 2})) == 7
    assert clock.timed == [A, B, C]
    stored = run.read_json("latency.json")
    assert stored["measured_on"] == DEVICE
    assert stored["blocks_ms"] == {"conv 4x4x1": 1, "conv 4x4x2": 2, "conv 4x4x3": 3}
    assert "latency: measured 2 blocks on Some CPU, batch 1, in 0s" in capsys.readouterr().out


def test_whole_networks_check_the_table_and_give_its_scale(run, capsys):
    table = LatencyTable(run, DEVICE, FakeClock())
    networks = {"a": Counter({A: 2}), "b": Counter({B: 2}), "c": Counter({C: 2})}
    table.measure([A, B, C])
    times = {"a": 1.0, "b": 3.0, "c": 4.5}
    table.check(networks, times.get)
    check = run.read_json("latency.json")["check"]
    assert (check["spearman"], check["ratio"]) == (1, 0.75)
    assert check["networks"][1] == {"arc": "b", "sum_ms": 4, "network_ms": 3}
    assert table.latency(Counter({A: 4})) == 3
    shown = capsys.readouterr().out
    assert "3 whole networks rank as the sums of their blocks to Spearman's rho 1.00, and" in shown
    assert "warning" not in shown
    # Once for a table.
    table.check({}, None)


def test_warns_of_a_table_that_ranks_poorly(run, capsys):
    table = LatencyTable(run, DEVICE, FakeClock())
    table.measure([A, B, C])
    networks = {"a": Counter([A]), "b": Counter([B]), "c": Counter([C])}
    table.check(networks, {"a": 2.0, "b": 1.0, "c": 3.0}.get)
    assert "warning: the table ranks these networks poorly" in capsys.readouterr().out


def test_a_table_is_read_and_not_measured_again(run):
    first = LatencyTable(run, DEVICE, FakeClock())
    first.measure([A, B])
    first.check({"a": Counter([A]), "b": Counter([B])}, {"a": 2.0, "b": 4.0}.get)
    clock = FakeClock()
    again = LatencyTable(run, DEVICE, clock)
    again.measure([A, B])
    assert again.latency(Counter([A, B])) == 6 and clock.timed == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"device": "Some GPU"}, "measured with device Some CPU, and not Some GPU; go on where"),
        ({"batch": 8, "compiled": True}, "batch 1, and not 8; compiled False, and not True; "),
    ],
)
def test_a_table_of_another_device_is_refused(run, other, told):
    LatencyTable(run, DEVICE, FakeClock()).measure([A])
    with pytest.raises(UserError, match=told):
        LatencyTable(run, DEVICE | other, FakeClock())
