"""Checks of ops that the pages add to the image spaces; run where the change has been applied."""

import keras
import numpy as np
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.cost import count_multiply_adds, count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.macro.controller import MacroController, MacroControllerConfig
from enas_tf.macro.network import MacroChildConfig
from enas_tf.macro.network import build as build_macro
from enas_tf.macro.network import count_cost as count_macro
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.micro.controller import MicroController
from enas_tf.micro.network import build as build_micro
from enas_tf.micro.network import count_cost as count_micro
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.search.controller import ControllerConfig

_SIZES = (8, 8, 3), 10


def check_macro(name: str) -> None:
    """Runs the new op of the macro space in a layer of the supernet and of a final network."""
    space = MacroSpace(3, op_set=f"conv_3x3,{name.replace(' ', '_')}")
    config = MacroChildConfig(out_filters=8, keep_prob=1.0)
    arc = space.parse("0 0 0 1 1 0")
    supernet = MacroSupernet(space, config, *_SIZES, StepRng(1, 0))
    network = build_macro(arc, config, *_SIZES, StepRng(1, 0))
    layer = network.get_layer("layer_2_op_conv")
    assert isinstance(layer, keras.layers.SeparableConv2D) and layer.kernel_size == (7, 7)
    controller = MacroController(space, MacroControllerConfig())
    _check(space, arc, supernet, network, controller, count_macro(arc, config, *_SIZES))


def check_micro(name: str) -> None:
    """Runs the new op of the micro space in cells of the supernet and of a final network."""
    space = MicroSpace(1, op_set=f"identity,{name}")
    config = CellChildConfig(num_layers=3, out_filters=8, keep_prob=1.0, aux_head=False)
    arc = space.parse("0 1 1 0  0 1 1 1")
    supernet = MicroSupernet(space, config, *_SIZES, StepRng(1, 0))
    network = build_micro(arc, config, *_SIZES, StepRng(1, 0))
    # What a 3x3 kernel with gaps reaches: from the middle of an image every other place two away.
    x = np.zeros((1, 5, 5, 1), np.float32)
    x[0, 2, 2] = 1
    reached = np.zeros((5, 5))
    reached[::2, ::2] = 1
    layer = network.get_layer("layer_0_node_2_1_conv")
    layer.depthwise_kernel.assign(tf.ones_like(layer.depthwise_kernel))
    layer.pointwise_kernel.assign(tf.eye(8)[tf.newaxis, tf.newaxis])
    wide = tf.repeat(x, 8, axis=-1)
    np.testing.assert_allclose(layer(wide)[0, ..., 0], reached)
    controller = MicroController(space, ControllerConfig())
    _check(space, arc, supernet, network, controller, count_micro(arc, config, *_SIZES))


def _check(space, arc, supernet, network, controller, cost) -> None:
    images = tf.random.stateless_normal((2, *_SIZES[0]), (0, 0))
    tokens = tf.constant(arc.tokens)
    bank = next(v for v in supernet.trainable_variables if "depthwise" in v.path)
    with tf.GradientTape() as tape:
        logits, _ = supernet(images, tokens, training=True)
        loss = tf.reduce_sum(logits**2)
    assert np.any(tf.convert_to_tensor(tape.gradient(loss, bank.value)))
    assert np.all(np.isfinite(network(images, training=True)))
    assert (count_params(network), count_multiply_adds(network)) == cost
    drawn = controller.sample(50, tf.constant([0, 1])).tokens.numpy()
    assert any(1 in space.parse(one).ops for one in drawn)
    print(space.explain(arc))
