import numpy as np
import pytest
import tensorflow as tf

from enas_tf.benchmark.static import build_macro, build_micro
from enas_tf.child import CellChildConfig
from enas_tf.layers.dropout import Clock
from enas_tf.networks.cost import count_params
from enas_tf.networks.macro import MacroChildConfig
from enas_tf.spaces.macro import MacroSpace
from enas_tf.spaces.micro import MicroSpace
from enas_tf.supernets.macro import MacroSupernet
from enas_tf.supernets.micro import MicroSupernet

# Every op; loose ends of a node alone, and of a node and an input.
MICRO_ARC = MicroSpace(2).parse("0 0 1 1  2 2 0 3   1 4 1 0  1 1 2 2")
MICRO = CellChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)
# Every op; nothing joined, and up to three entries from before and behind the pools.
MACRO_ARC = MacroSpace(6).parse("0  1 1  2 0 0  3 1 0 1  4 0 1 0 0  5 1 0 0 1 1")
MACRO = MacroChildConfig(out_filters=4, keep_prob=1.0, aux_head=True)


def fill(model):
    """Gives all kernels of two networks, however they are laid out, the same values."""
    for variable in model.trainable_variables:
        if "scale" not in variable.name and "offset" not in variable.name:
            variable.assign(tf.ones_like(variable))


@pytest.mark.parametrize(
    ("arc", "config", "build", "supernet"),
    [
        (MICRO_ARC, MICRO, build_micro, MicroSupernet),
        (MACRO_ARC, MACRO, build_macro, MacroSupernet),
    ],
    ids=["micro", "macro"],
)
def test_computes_what_the_shared_weights_do(arc, config, build, supernet):
    sizes = (16, 16, 3), 5
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype(np.float32)
    static = build(arc, config, *sizes, Clock(1, 0))
    shared = supernet(arc.space, config, *sizes, Clock(1, 0))
    fill(static), fill(shared)
    wanted = tf.function(shared)(images, tf.constant(arc.tokens), training=True)
    for ours, theirs in zip(static(images, training=True), wanted, strict=True):
        assert np.ptp(theirs) > 1
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_has_the_weights_of_one_architecture_alone():
    """Stem, conv 3x3, max pool with nothing joined, separable conv 5x5 with the stem joined."""
    arc = MacroSpace(3).parse("0  5 0  3 1 0")
    config = MacroChildConfig(out_filters=4)
    network = build_macro(arc, config, (8, 8, 3), 10, Clock(1, 0))
    norm, conv_1x1 = 8, 16
    stem = 27 * 4 + norm
    layers = (conv_1x1 + norm + 9 * 16 + norm) + (conv_1x1 + norm + norm)
    layers += conv_1x1 + norm + 25 * 4 + conv_1x1 + norm + norm
    # Stem and layer 0 behind the first pool; stem and layer 1 behind the second.
    reductions = 4 * (conv_1x1 + norm)
    assert count_params(network) == stem + layers + reductions + 4 * 10
