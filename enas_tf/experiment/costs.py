"""The costs of architectures' final networks: parameters, multiply-adds and latencies."""

import random
from collections import Counter
from collections.abc import Callable

import keras

from enas_tf.core.space import Arc
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.latency import LatencyTable
from enas_tf.experiment.settings import Settings
from enas_tf.experiment.timing import Clock
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.listing import Block
from enas_tf.search.cost_rewards import LATENCY
from enas_tf.search.sampling import draw_fairly
from enas_tf.training.distribution import device_name
from enas_tf.training.run_folder import Run

# A space's blocks are known once so many draws, in which all ops take turns, bring no other.
_PATIENCE = 200


class Costs:
    """Computes what the final network of an architecture costs; see `CostOf`.

    Args:
        settings: the settings of the run.
        domain: the domain of the data.
        sizes: returns the sizes of the data, as the domain defines them.
    """

    def __init__(self, settings: Settings, domain: Domain, sizes: Callable[[], tuple]) -> None:
        self._settings = settings
        self._domain = domain
        self._sizes = sizes
        self._table: LatencyTable | None = None
        self._known: dict[tuple[int, ...], dict[str, float]] = {}

    def __call__(self, tokens: tuple[int, ...]) -> dict[str, float]:
        """Returns the costs by their names in `NAMES`; the latency once there is a table."""
        if tokens not in self._known:
            arc = self._settings.space.parse(tokens)
            cost = self._domain.count_cost(arc, self._settings, self._sizes())
            costs = {"params": cost.params, "madds": cost.multiply_adds}
            if self._table:
                costs[LATENCY] = self._table.latency(self._blocks(arc))
            self._known[tokens] = costs
        return self._known[tokens]

    def measure_latencies(self, run: Run, clock: Clock, num_checked: int = 10) -> None:
        """Measures and checks the table of latencies; reads what the run has of it.

        Args:
            run: the run that keeps the table.
            clock: of the device at hand.
            num_checked: number of uniform draws whose whole networks check the table.

        Raises:
            UserError: the networks are not made of blocks, or the run's table is of another device
                or batch.
        """
        space = self._settings.space
        blocks = self._blocks_of_space()
        measured_on = {
            "device": device_name(),
            "batch": clock.batch,
            "precision": self._settings.common.precision,
            "compiled": clock.compiled,
        }
        table = LatencyTable(run, measured_on, clock)
        table.measure(blocks)
        rng = random.Random(0)
        arcs = {str(arc): arc for arc in (space.random(rng) for _ in range(num_checked))}
        networks = {text: self._blocks(arc) for text, arc in arcs.items()}
        table.check(networks, lambda text: self._network(arcs[text]))
        self._table, self._known = table, {}

    def _blocks_of_space(self) -> Counter[Block]:
        """Returns all blocks of the networks of the space, but for some that are rare."""
        space, rng = self._settings.space, random.Random(0)
        found, before = Counter(), -1
        while len(found) > before:
            before = len(found)
            for tokens in draw_fairly(space, _PATIENCE, rng).numpy().tolist():
                found |= self._blocks(space.parse(tokens))
        return found

    def _blocks(self, arc: Arc) -> Counter[Block]:
        return self._domain.list_blocks(arc, self._settings, self._sizes())

    def _network(self, arc: Arc) -> keras.Model:
        """Builds an architecture's network without its auxiliary head."""
        network = self._domain.network(arc, self._settings, self._sizes(), StepRng(1, 0))
        return keras.Model(network.inputs, network.outputs[0])
