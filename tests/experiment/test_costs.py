import itertools

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.costs import Costs
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.training.distribution import device_name
from enas_tf.training.run_folder import Run

SIZES = (8, 8, 1), 10


class FakeClock:
    """Everything takes a millisecond."""

    batch, compiled = 2, False

    def __init__(self):
        self.blocks, self.networks = [], 0

    def time_blocks(self, blocks):
        self.blocks += blocks
        return [1.0] * len(blocks)

    def time_networks(self, networks, count):
        self.networks += count
        return [1.0] * count


def costs_of(recipe, values):
    settings = recipe.presets["tiny"].changed(values)
    return settings, Costs(settings, recipe.domain, lambda: SIZES)


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        (CIFAR_MACRO, {"space.num_layers": 3, "space.ops": "3"}),
        (CIFAR_MICRO, {"space.num_nodes": 1, "space.ops": "2"}),
        (NASBENCH201, {"space.num_nodes": 3}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_table_has_every_block_of_the_space(recipe, values, tmp_path):
    settings, costs = costs_of(recipe, values)
    clock = FakeClock()
    costs.measure_latencies(Run(tmp_path), clock, num_checked=2)
    wanted = set()
    for tokens in itertools.product(*map(range, settings.space.sizes)):
        arc = settings.space.parse(tokens)
        wanted |= recipe.domain.list_blocks(arc, settings, SIZES).keys()
    assert set(clock.blocks) == wanted and clock.networks == 2


def test_latencies_are_among_the_costs_once_they_are_measured(tmp_path):
    values = {"space.num_layers": 3, "space.ops": "3"}
    settings, costs = costs_of(CIFAR_MACRO, values)
    tokens = settings.space.parse("0 1 1 2 0 1").tokens
    before = costs(tokens)
    assert set(before) == {"params", "madds"}
    clock = FakeClock()
    costs.measure_latencies(Run(tmp_path), clock, num_checked=2)
    table = Run(tmp_path).read_json("latency.json")
    assert table["measured_on"] == {
        "device": device_name(),
        "batch": 2,
        "precision": "float32",
        "compiled": False,
    }
    blocks = CIFAR_MACRO.domain.list_blocks(settings.space.parse(tokens), settings, SIZES)
    expected = sum(blocks.values()) * table["check"]["ratio"]
    assert costs(tokens) == before | {"latency_ms": pytest.approx(expected)}
    again = costs_of(CIFAR_MACRO, values)[1]
    other = FakeClock()
    again.measure_latencies(Run(tmp_path), other, num_checked=2)
    assert (other.blocks, other.networks) == ([], 0) and again(tokens) == costs(tokens)


def test_language_models_have_none(tmp_path):
    _, costs = costs_of(PTB_RNN, {})
    with pytest.raises(UserError, match="latencies are of networks for images"):
        costs.measure_latencies(Run(tmp_path), FakeClock())
    assert not (tmp_path / "latency.json").exists()
