import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.benchmark import static
from enas_tf.benchmark.static import build_macro, build_micro
from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.cost import count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.macro.network import MacroChildConfig
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet

# Every op; loose ends of a node alone, and of a node and an input.
MICRO_ARC = MicroSpace(2).parse("0 0 1 1  2 2 0 3   1 4 1 0  1 1 2 2")
MICRO = CellChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)
# Every op; nothing joined, and up to three entries from before and behind the pools.
MACRO_ARC = MacroSpace(6).parse("0  1 1  2 0 0  3 1 0 1  4 0 1 0 0  5 1 0 0 1 1")
MACRO = MacroChildConfig(out_filters=4, keep_prob=1.0, aux_head=True)


def micro_kernels(shared, arc):
    """For each layer that `build_micro` makes, in turn, the kernels of the shared weights."""
    yield [shared.stem.kernel]
    for layer in shared.cells:
        if layer.is_reduction:
            yield [layer.reduce.kernel_1, layer.reduce.kernel_2]
        for calibration in (layer.calibrate_0, layer.calibrate_1):
            if calibration:
                yield kernels_of(calibration)
        cell, nodes = layer.cell, arc.reduction if layer.is_reduction else arc.normal
        edges = [edge for node in nodes for edge in node.inputs]
        for first_row, (index, op) in zip(cell.first_row, edges, strict=True):
            if op < 2:
                bank = list(cell.banks[op].bank.values())[:2]
                yield from zip(*(tf.unstack(w[first_row + index]) for w in bank), strict=True)
        used = {index for index, _ in edges}
        yield [tf.gather(cell.kernel, [e for e in range(cell.num_entries) if e not in used])]


def macro_kernels(shared, arc):
    """For each layer that `build_macro` makes, in turn, the kernels of the shared weights."""
    yield [shared.stem.kernel]
    for number, layer in enumerate(arc.layers):
        yield [shared.layer_banks.kernel[number, layer.op]]
        bank = shared.layer_banks.banks[layer.op]
        if bank.bank:
            yield [bank.bank[name][number] for name in bank.op.kernel_shapes(1)]
        if number in arc.space.pools:
            yield from tf.unstack(shared.reductions[str(number)].bank["kernels"])


def kernels_of(layer):
    return [v for v in layer.trainable_variables if v.name not in ("scale", "offset")]


@pytest.fixture
def made(monkeypatch):
    """All layers with kernels that a builder makes, in the order in which it makes them."""
    layers = []

    def recording(make):
        return lambda *args, **options: layers.append(make(*args, **options)) or layers[-1]

    for name in ("ConvNorm", "FactorizedReduction"):
        monkeypatch.setattr(static, name, recording(getattr(static, name)))
    for name in ("Conv2D", "SeparableConv2D"):
        monkeypatch.setattr(keras.layers, name, recording(getattr(keras.layers, name)))
    return layers


@pytest.mark.parametrize(
    ("arc", "config", "build", "supernet", "kernels"),
    [
        (MICRO_ARC, MICRO, build_micro, MicroSupernet, micro_kernels),
        (MACRO_ARC, MACRO, build_macro, MacroSupernet, macro_kernels),
    ],
    ids=["micro", "macro"],
)
def test_computes_what_the_shared_weights_do(made, arc, config, build, supernet, kernels):
    keras.utils.set_random_seed(0)
    sizes = (16, 16, 3), 5
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype(np.float32)
    network = build(arc, config, *sizes, StepRng(1, 0))
    shared = supernet(arc.space, config, *sizes, StepRng(1, 0))
    for layer, values in zip(made, kernels(shared, arc), strict=True):
        for kernel, value in zip(kernels_of(layer), values, strict=True):
            kernel.assign(tf.reshape(value, kernel.shape))
    network.get_layer("aux_head").set_weights(shared.aux_head.get_weights())
    network.get_layer("classifier").set_weights([shared.classifier])
    wanted = tf.function(shared)(images, tf.constant(arc.tokens), training=True)
    for ours, theirs in zip(network(images, training=True), wanted, strict=True):
        assert np.ptp(theirs) > 1
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_has_the_weights_of_one_architecture_alone():
    """Stem, conv 3x3, max pool with nothing joined, separable conv 5x5 with the stem joined."""
    arc = MacroSpace(3).parse("0  5 0  3 1 0")
    config = MacroChildConfig(out_filters=4)
    network = build_macro(arc, config, (8, 8, 3), 10, StepRng(1, 0))
    norm, conv_1x1 = 8, 16
    stem = 27 * 4 + norm
    layers = (conv_1x1 + norm + 9 * 16 + norm) + (conv_1x1 + norm + norm)
    layers += conv_1x1 + norm + 25 * 4 + conv_1x1 + norm + norm
    # Stem and layer 0 behind the first pool; stem and layer 1 behind the second.
    reductions = 4 * (conv_1x1 + norm)
    assert count_params(network) == stem + layers + reductions + 4 * 10
