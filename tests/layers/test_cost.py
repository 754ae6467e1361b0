import keras
import pytest

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.cost import count_multiply_adds, count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.norm import BatchNorm
from enas_tf.micro import network as micro
from enas_tf.micro.space import MicroSpace


@pytest.fixture(scope="module")
def network():
    """A separable convolution, batch norm, a classifier, and an auxiliary head."""
    images = keras.Input((6, 4, 2))
    x = keras.layers.Conv2D(5, 3, 2, "same", use_bias=False)(images)
    x = keras.layers.SeparableConv2D(7, 3, padding="same", use_bias=False)(x)
    x = BatchNorm()(x)
    aux = AuxHead(10, name="aux_head")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(10, use_bias=False)(x)
    return keras.Model(images, [logits, aux])


def test_parameters_by_hand(network):
    separable = 3 * 3 * 5 + 5 * 7
    assert count_params(network) == 3 * 3 * 2 * 5 + separable + 2 * 7 + 7 * 10


def test_multiply_adds_by_hand():
    images = keras.Input((6, 4, 2))
    x = keras.layers.Conv2D(5, 3, 2, "same", use_bias=False)(images)
    x = keras.layers.SeparableConv2D(7, 3, padding="same", use_bias=False)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(images, keras.layers.Dense(10)(x))
    # Three by two places remain of six by four.
    assert count_multiply_adds(network) == 6 * (9 * 2 * 5) + 6 * (9 * 5 + 5 * 7) + 7 * 10


def test_the_auxiliary_head_costs_nothing(network):
    without = keras.Model(network.inputs, network.outputs[0])
    assert count_params(network) == count_params(without)
    assert count_multiply_adds(network) == count_multiply_adds(without)


@pytest.mark.parametrize("aux_head", [True, False])
def test_counts_a_built_network_like_the_formula(aux_head):
    arc = MicroSpace(2).parse("0 0 1 1 0 4 2 2 1 3 0 4 1 1 2 0")
    config = CellChildConfig(num_layers=3, out_filters=4, aux_head=aux_head)
    built = micro.build(arc, config, (8, 8, 1), 10, StepRng(1, 0))
    cost = micro.count_cost(arc, config, (8, 8, 1), 10)
    assert (count_params(built), count_multiply_adds(built)) == cost
