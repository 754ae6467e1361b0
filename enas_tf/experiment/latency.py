"""Latencies of networks by a table of their blocks' latencies, kept in the run's folder.

Reference: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search", 2019, section 3.2.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from enas_tf.core.duration import format_duration
from enas_tf.core.errors import UserError
from enas_tf.experiment.timing import Clock
from enas_tf.layers.listing import Block
from enas_tf.search.statistics import spearman
from enas_tf.training.run_folder import Run

FILE = "latency.json"

# A table that ranks networks less well than this comes with a warning.
_GOOD = 0.9


class LatencyTable:
    """The table of a run: what each block adds to a network's latency.

    `latency.json` holds what the table was measured on, the milliseconds of each block in
    `blocks_ms`, and in `check` how the table compares with whole networks. It is read again when a
    run goes on, so that an architecture's latency stays the same.

    Args:
        run: the run.
        device: what the latencies are of, by name: the device, the batch and so on; plain values.
        clock: measures what the table lacks.

    Raises:
        UserError: the run's table is of another device or batch.
    """

    def __init__(self, run: Run, device: Mapping[str, Any], clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._record: dict[str, Any] = {"measured_on": dict(device), "blocks_ms": {}, "check": None}
        if run.path(FILE).exists():
            self._record = run.read_json(FILE)
            _refuse_another(run, self._record["measured_on"], device)

    def latency(self, blocks: Counter[Block]) -> float:
        """Returns the milliseconds of a network made of these blocks.

        They are the sum of the blocks', times the ratio that whole networks have shown: a network's
        branches may run at once. Blocks that the table lacks are measured now.
        """
        self.measure(blocks)
        check = self._record["check"]
        return self._sum(blocks) * (check["ratio"] if check else 1.0)

    def measure(self, blocks: Iterable[Block]) -> None:
        """Measures those of the blocks that the table lacks, and writes the table."""
        known = self._record["blocks_ms"]
        lacking = [block for block in blocks if str(block) not in known]
        if not lacking:
            return
        begin, device = time.monotonic(), self._record["measured_on"]
        times = self._clock.time_blocks(lacking)
        known.update((str(block), ms) for block, ms in zip(lacking, times, strict=True))
        self._run.write_json(FILE, self._record)
        print(
            f"latency: measured {len(lacking)} blocks on {device['device']}, batch "
            f"{device['batch']}, in {format_duration(time.monotonic() - begin)}"
        )

    def check(
        self, networks: Mapping[str, Counter[Block]], build: Callable[[str], keras.Model]
    ) -> None:
        """Compares the table with whole networks, once for a table; prints and writes the result.

        Args:
            networks: the blocks of each network, by its architecture's text.
            build: builds the network of a text.
        """
        if self._record["check"]:
            return
        sums = [self._sum(blocks) for blocks in networks.values()]
        times = self._clock.time_networks(map(build, networks), len(networks))
        rho = spearman(sums, times)
        ratio = statistics.median(one / other for one, other in zip(times, sums, strict=True))
        pairs = [
            {"arc": text, "sum_ms": one, "network_ms": other}
            for text, one, other in zip(networks, sums, times, strict=True)
        ]
        self._record["check"] = {"spearman": rho, "ratio": ratio, "networks": pairs}
        self._run.write_json(FILE, self._record)
        print(
            f"latency: {len(pairs)} whole networks rank as the sums of their blocks to Spearman's "
            f"rho {rho:.2f}, and take {ratio:.2f} of these sums ({self._run.path(FILE)})"
        )
        if not rho >= _GOOD:
            print(
                "warning: the table ranks these networks poorly; were other programs running, "
                f"remove {self._run.path(FILE)} and give the command again"
            )

    def _sum(self, blocks: Counter[Block]) -> float:
        known = self._record["blocks_ms"]
        return sum(count * known[str(block)] for block, count in blocks.items())


def _refuse_another(run: Run, stored: Mapping[str, Any], device: Mapping[str, Any]) -> None:
    """Raises UserError if a table was measured on something else than what is at hand."""
    changes = [
        f"{name} {stored.get(name)}, and not {value}"
        for name, value in device.items()
        if stored.get(name) != value
    ]
    if changes:
        raise UserError(
            f"{run.path(FILE)} was measured with {'; '.join(changes)}; go on where it was measured "
            "and with its settings, or remove that file to measure anew"
        )
