import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers import cost
from enas_tf.layers.dropout import StepRng
from enas_tf.micro.network import build, count_cost
from enas_tf.micro.nodes import run_nodes
from enas_tf.micro.space import MicroSpace
from enas_tf.zoo import MICRO_ENAS

SMALL = CellChildConfig(num_layers=3, out_filters=4, keep_prob=1.0)


def network(arc, shape=(8, 8, 1), config=SMALL):
    keras.utils.set_random_seed(0)
    return build(arc, config, shape, 3, StepRng(10, seed=0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("aux_head", [False, True])
def test_costs_are_counted_without_building(seed, aux_head):
    arc = MicroSpace(3).random(random.Random(seed))
    config = CellChildConfig(num_layers=4, out_filters=6, aux_head=aux_head)
    built = network(arc, (10, 10, 3), config)
    assert count_cost(arc, config, (10, 10, 3), 3) == (
        cost.count_params(built),
        cost.count_multiply_adds(built),
    )


def test_parameters_of_the_published_architecture():
    arc = MicroSpace(5).parse(MICRO_ENAS.text)
    config = CellChildConfig(num_layers=15, out_filters=36)
    assert count_cost(arc, config, (32, 32, 3), 10).params == 3_894_372


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 9, 1), (28, 28, 1)])
def test_reductions_halve_and_round_up(shape):
    arc = MicroSpace(2).parse("0 0 1 4 1 2 2 3  0 4 1 1 0 3 2 0")
    net = network(arc, shape)
    logits, aux_logits = net(tf.random.normal((2, *shape)), training=True)
    assert logits.shape == aux_logits.shape == (2, 3)
    sides = np.array(shape[:2])
    for layer in range(5):
        sides = -(-sides // 2) if layer in SMALL.reductions else sides
        assert net.get_layer(f"layer_{layer}_node_3").output.shape[1:3] == tuple(sides)


def test_an_unused_input_is_reduced_and_part_of_the_output():
    # Input 1 feeds nothing in either cell; node 3 takes node 2.
    net = network(MicroSpace(2).parse("0 0 0 4 2 2 2 3  0 4 0 1 2 3 2 0"))
    output = net.get_layer("layer_1_output")
    assert [x.shape[1:] for x in output.input] == [(4, 4, 8), (4, 4, 8)]
    assert net.get_layer("layer_1_end_1_norm").scale.shape == (8,)


def test_each_op_index_builds_the_op_of_that_name():
    for op, kinds in enumerate(
        [
            [(keras.layers.SeparableConv2D, (3, 3))] * 2,
            [(keras.layers.SeparableConv2D, (5, 5))] * 2,
            [(keras.layers.AveragePooling2D, (3, 3))],
            [(keras.layers.MaxPooling2D, (3, 3))],
            [],
        ]
    ):
        net = network(MicroSpace(1).parse(f"0 {op} 1 4  0 4 1 4"))
        found = [
            (type(layer), getattr(layer, "kernel_size", None) or layer.pool_size)
            for layer in net.layers
            if layer.name.startswith("layer_0_node_2_1")
            and isinstance(layer, tuple({kind for kind, _ in kinds}) or ())
        ]
        assert found == kinds


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.5, 0.5, variable.shape))


def shared_weights(net, name, kernel_size):
    """The weights of an edge of the final network, as the shared-weight network has them."""
    if not any(layer.name == f"{name}_1_conv" for layer in net.layers):
        shapes = (2, kernel_size, kernel_size, 4, 1), (2, 4, 4), (2, 4), (2, 4)
        return tuple(tf.zeros(shape) for shape in shapes)
    kinds = "conv", "norm"
    convs, norms = ([net.get_layer(f"{name}_{place}_{k}") for place in (1, 2)] for k in kinds)
    if convs[0].kernel_size != (kernel_size, kernel_size):
        return shared_weights(net, "another", kernel_size)
    return (
        tf.stack([conv.depthwise_kernel.value for conv in convs]),
        tf.stack([conv.pointwise_kernel.value[0, 0] for conv in convs]),
        tf.stack([norm.scale.value for norm in norms]),
        tf.stack([norm.offset.value for norm in norms]),
    )


def test_a_normal_cell_is_the_shared_weight_network_s_on_equal_weights():
    # All ops, on inputs and on nodes; node 2 is used, the others are loose ends.
    arc = MicroSpace(4).parse("0 0 1 1 0 2 1 3 2 4 1 0 2 1 0 4  0 4 1 4 0 4 1 4 0 4 1 4 0 4 1 4")
    net = network(arc, (6, 5, 3))
    random_weights(net)
    parts = "calibrate_0_norm", "base_norm", "output"
    outputs = [net.get_layer(f"layer_0_{part}").output for part in parts]
    images = tf.random.normal((3, 6, 5, 3))
    *inputs, output = keras.Model(net.input, outputs)(images, training=True)
    names = [f"layer_0_node_{node}_{side}" for node in range(2, 6) for side in (1, 2)]
    of_edges = ([shared_weights(net, name, size) for name in names] for size in (3, 5))
    banks = tuple(tuple(map(tf.stack, zip(*weights, strict=True))) for weights in of_edges)
    banks += ((), (), ())
    tokens = tf.constant(arc.tokens[:16])
    edges = tf.stack([tokens[0::2], tokens[1::2], tf.range(8)], axis=1)
    ends, places, _ = run_nodes(arc.rows, tuple(inputs), edges, banks)
    assert places.numpy().tolist() == [3, 4, 5]
    joined = tf.concat(tf.unstack(ends), axis=-1)
    np.testing.assert_allclose(tf.nn.relu(joined), tf.nn.relu(output), atol=1e-4)


def test_a_network_gives_the_same_again():
    arc = MicroSpace(2).parse("0 0 1 4 1 2 2 3  0 4 1 1 0 3 2 0")
    images = tf.random.normal((2, 8, 8, 1))
    first, again = (network(arc)(images, training=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_multiply_adds_by_hand():
    images = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, 2, "same")(images)
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    wanted = 9 * (9 * 2 * 4) + 9 * (9 * 4 + 4 * 5) + 5 * 7
    assert cost.count_multiply_adds(keras.Model(images, x)) == wanted
