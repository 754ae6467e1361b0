import random

import pytest
import tensorflow as tf

from enas_tf.experiment import timing
from enas_tf.experiment.costs import Costs
from enas_tf.experiment.timing import Clock
from enas_tf.layers.listing import Block
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.training.run_folder import Run


@pytest.fixture
def few_calls(monkeypatch):
    for name, value in {"_ROUNDS": 1, "_SECONDS": 0, "_COPIES": 2}.items():
        monkeypatch.setattr(timing, name, value)


def test_takes_the_fastest_call_of_each_and_subtracts_an_empty_one(monkeypatch, capsys):
    now, delays = [0.0], {"empty": [0.5], "small": [0.9, 0.66], "none": [0.4]}

    def call_of(name):
        def call():
            left = delays[name]
            now[0] += left.pop(0) if left[1:] else left[0]

        return call

    blocks = [Block(name, ((4, 4, 2),), ()) for name in ("small", "none")]
    monkeypatch.setattr(Block, "build", lambda block: block.kind)
    monkeypatch.setattr(
        Clock,
        "_call",
        lambda self, model, shapes, copies: call_of(model if isinstance(model, str) else "empty"),
    )
    # In milliseconds, of eight copies; no block takes less than nothing.
    assert Clock(1, False, lambda: now[0]).time_blocks(blocks) == pytest.approx(
        [20.0, 0.0], abs=1e-4
    )
    assert "latency: timing: epoch 0, step 32/32" in capsys.readouterr().out


class Network:
    """A stand-in for a network that fails for any but three images."""

    input_shape = (None, 4, 4, 1)

    def __call__(self, inputs, training):
        assert training is False and inputs[0].shape == (None, 4, 4, 1)
        return tf.ensure_shape(inputs[0], (3, 4, 4, 1))


def test_times_as_many_images_as_a_batch_has(few_calls):
    assert all(ms > 0 for ms in Clock(3, False).time_networks(iter([Network()] * 2), 2))
    with pytest.raises(tf.errors.InvalidArgumentError):
        Clock(2, False).time_networks([Network()], 1)


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        (CIFAR_MACRO, {"space.num_layers": 3, "space.ops": "2"}),
        (CIFAR_MICRO, {"space.num_nodes": 1, "space.ops": "identity"}),
        (NASBENCH201, {"space.num_nodes": 3, "space.ops": "2"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_measures_the_networks_of_a_space(recipe, values, few_calls, tmp_path, capsys):
    settings = recipe.presets["tiny"].changed(values | {"train.out_filters": 2})
    costs = Costs(settings, recipe.domain, lambda: ((8, 8, 1), 10))
    costs.measure_latencies(Run(tmp_path), Clock(1, False), num_checked=2)
    table = Run(tmp_path).read_json("latency.json")
    pairs = [(one["sum_ms"], one["network_ms"]) for one in table["check"]["networks"]]
    assert len(pairs) == 2 and all(ms > 0 for pair in pairs for ms in pair)
    cost = costs(settings.space.random(random.Random(5)).tokens)
    assert 0 < cost["latency_ms"] < 1000
    assert "latency: measured " in capsys.readouterr().out
