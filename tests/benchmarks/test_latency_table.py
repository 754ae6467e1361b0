import time

import pytest

from benchmarks import latency_table


class FakeClock:
    """Each block takes a millisecond; each network takes longer than the one before it."""

    def __init__(self, batch, compiled, now):
        assert (batch, compiled, now) == (2, False, time.process_time)
        self.batch, self.compiled = batch, compiled

    def time_blocks(self, blocks):
        return [1.0] * len(blocks)

    def time_networks(self, networks, count):
        return [float(n) for n in range(1, 1 + count)]


def test_tells_how_the_table_ranks_networks(monkeypatch, tmp_path):
    monkeypatch.setattr(latency_table, "Clock", FakeClock)
    flags = ["--preset=tiny", "--dataset=cifar10", "--search.latency_batch=2"]
    command = ["NASBENCH201", f"--output={tmp_path}", "--networks=4", "--cpu_time", *flags]
    line = latency_table.measure(*latency_table.read(command))
    assert line.startswith("4 networks of 1.00 to 4.00 ms; Spearman's rho with the table ")
    assert (tmp_path / "latency.svg").read_text().startswith("<?xml")
    # What is there is read.
    monkeypatch.setattr(FakeClock, "time_blocks", None)
    assert latency_table.measure(*latency_table.read(command)) == line


def test_the_picture_shows_the_latencies_that_a_search_uses():
    networks = [{"sum_ms": 2.0, "network_ms": 4.5}, {"sum_ms": 3.0, "network_ms": 5.5}]
    [axes] = latency_table.picture({"ratio": 2.0, "networks": networks}).axes
    assert axes.collections[0].get_offsets().tolist() == [[4, 4.5], [6, 5.5]]


def test_a_wrong_recipe_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        latency_table.read(["PTB_RNN", f"--output={tmp_path}"])
    assert "invalid choice: 'PTB_RNN'" in capsys.readouterr().err
