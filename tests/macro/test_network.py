import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.layers import cost
from enas_tf.layers.dropout import DropPath, StepRng
from enas_tf.macro.network import MacroChildConfig, build, count_cost
from enas_tf.macro.space import MacroSpace
from enas_tf.zoo import MACRO_ENAS

SMALL = MacroChildConfig(out_filters=4, keep_prob=1.0, aux_head=True)
CHAIN = "0  1 0  2 0 0"


def network(text, shape=(8, 8, 1), config=SMALL):
    keras.utils.set_random_seed(0)
    _, arc = MacroSpace.of(text, op_set=7)
    return build(arc, config, shape, 3, StepRng(10, seed=0))


@pytest.mark.parametrize("authors_macro", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_costs_are_counted_without_building(seed, authors_macro):
    arc = MacroSpace(6, op_set=7).random(random.Random(seed))
    if authors_macro:
        tokens = [min(token, 3) for token in arc.tokens]
        arc = MacroSpace(6).parse(tokens)
    config = MacroChildConfig(out_filters=6, aux_head=True, authors_macro=authors_macro)
    built = build(arc, config, (10, 10, 3), 3, StepRng(1, 0))
    assert count_cost(arc, config, (10, 10, 3), 3) == (
        cost.count_params(built),
        cost.count_multiply_adds(built),
    )


def test_parameters_of_the_published_architecture():
    arc = MacroSpace(24).parse(MACRO_ENAS.text)
    config = MacroChildConfig(out_filters=96, authors_macro=True)
    assert count_cost(arc, config, (32, 32, 3), 10).params == 42_559_392
    # Ours has separable convolutions where the architecture says so, and reduces only what is used.
    ours = MacroChildConfig(out_filters=96)
    assert count_cost(arc, ours, (32, 32, 3), 10).params < 42_559_392


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 9, 1), (28, 28, 1), (48, 48, 3)])
def test_pools_halve_and_round_up_and_double_the_channels(shape):
    net = network("0  1 0  4 1 0  2 0 1 1  5 1 0 0 1  3 0 0 1 0 1", shape)
    logits, aux_logits = net(tf.random.normal((2, *shape)), training=True)
    assert logits.shape == aux_logits.shape == (2, 3)
    sides, channels = np.array(shape[:2]), 4
    for layer in range(6):
        output = net.get_layer(f"layer_{layer}_project_conv").output
        assert output.shape[1:] == (*sides, channels)
        if layer in (1, 3):
            sides, channels = -(-sides // 2), 2 * channels


@pytest.mark.parametrize("op", range(7))
def test_each_op_index_builds_the_op_of_that_name(op):
    kind, size = {
        "conv 3x3": (keras.layers.Conv2D, (3, 3)),
        "separable conv 3x3": (keras.layers.SeparableConv2D, (3, 3)),
        "conv 5x5": (keras.layers.Conv2D, (5, 5)),
        "separable conv 5x5": (keras.layers.SeparableConv2D, (5, 5)),
        "average pool 3x3": (keras.layers.AveragePooling2D, (3, 3)),
        "max pool 3x3": (keras.layers.MaxPooling2D, (3, 3)),
        "squeeze-and-excitation conv 3x3": (keras.layers.Conv2D, (3, 3)),
    }[MacroSpace(3, op_set=7).ops[op]]
    net = network(f"{op}  0 0  0 0 0")
    names = [layer.name for layer in net.layers if layer.name.startswith("layer_0_op")]
    layer = net.get_layer(names[0])
    assert type(layer) is kind
    assert (layer.pool_size if op in (4, 5) else layer.kernel_size) == size
    assert ("layer_0_op_excite" in names) == (op == 6)


def test_excitation_scales_channels_by_their_means():
    net = network("6  0 0  0 0 0")
    until = keras.Model(
        net.input, [net.get_layer(f"layer_0_op_{n}").output for n in ("norm", "excite")]
    )
    before, after = until(tf.random.normal((2, 8, 8, 1)))
    reduce, expand = (net.get_layer(f"layer_0_op_{n}").kernel[0, 0] for n in ("relu", "sigmoid"))
    assert reduce.shape == (4, 1)
    means = np.mean(before, axis=(1, 2))
    factors = 1 / (1 + np.exp(-np.maximum(means @ reduce, 0) @ expand))
    np.testing.assert_allclose(after, before * factors[:, None, None], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("op", "kernel_size"), [(0, 3), (1, 3), (2, 5), (3, 5)])
def test_the_authors_network_has_plain_convolutions(op, kernel_size):
    config = MacroChildConfig(out_filters=4, authors_macro=True)
    layer = network(f"{op}  0 0  0 0 0", config=config).get_layer("layer_0_op_conv")
    assert type(layer) is keras.layers.Conv2D
    assert layer.kernel.shape == (kernel_size, kernel_size, 4, 4)


@pytest.mark.parametrize("op", [4, 5, 6])
def test_ops_that_the_authors_network_does_not_have_are_refused(op):
    config = MacroChildConfig(authors_macro=True)
    with pytest.raises(UserError, match=f"layer 1 is {op} .*authors_macro"):
        network(f"0  {op} 0  0 0 0", config=config)


def test_skip_bits_join_the_entries_that_they_name():
    # Layer 2 joins the stem and not layer 0; both have been reduced twice, behind layers 0 and 1.
    net = network("0  1 0  2 1 0")
    joined = net.get_layer("layer_2_joined").input
    assert [x.shape[1:] for x in joined] == [(2, 2, 16)] * 2
    wanted = net.get_layer("layer_1_pool_0_norm").output
    assert joined[0] is wanted
    reduced = {layer.name for layer in net.layers if layer.name.endswith("_norm")}
    assert "layer_0_pool_0_norm" in reduced
    # Layer 0's output feeds layer 1, and nothing behind the second pool.
    assert "layer_0_pool_1_norm" in reduced and "layer_1_pool_1_norm" not in reduced


def test_only_the_authors_network_reduces_what_is_not_used():
    assert network(CHAIN).unjoined == []
    config = MacroChildConfig(out_filters=4, authors_macro=True)
    net = network(CHAIN, config=config)
    # Behind the pool of layer 0 the stem, behind that of layer 1 the stem and layer 0.
    unused = [f"layer_0_pool_0_{part}" for part in ("path_1", "path_2", "norm")]
    names = {layer.name for layer in net.unjoined if layer.weights}
    assert names >= set(unused)
    assert {f"layer_1_pool_{entry}_norm" for entry in (0, 1)} <= names
    weights = {id(variable) for variable in net.trainable_variables}
    assert all(id(v) in weights for layer in net.unjoined for v in layer.trainable_variables)


def test_drop_path_is_only_where_something_is_joined():
    config = MacroChildConfig(out_filters=4, drop_path_keep_prob=0.5)
    net = network("0  1 1  2 0 0", config=config)
    found = [layer for layer in net.layers if isinstance(layer, DropPath)]
    assert [layer.name for layer in found] == ["layer_1_drop_path"]
    assert found[0].layer_keep_prob == pytest.approx(1 - 2 / 3 * 0.5)


def test_fewer_than_three_layers_are_no_network():
    with pytest.raises(UserError, match="at least 3 layers, got 2"):
        network("0  1 0")
