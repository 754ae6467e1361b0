import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.form import Form, traced_for
from enas_tf.layers.norm import BatchNorm
from enas_tf.layers.op_bank import OpBank
from enas_tf.micro.edges import edge_functions
from enas_tf.micro.ops import OPS
from enas_tf.micro.separable import separable_conv
from tests import tiny


@pytest.mark.parametrize("moving", [False, True])
def test_separable_conv_is_keras_layers_one_after_the_other(moving):
    keras.utils.set_random_seed(0)
    x = tf.random.normal((2, 6, 5, 4))
    bank = OpBank(OPS.rows[1], sets=3, channels=4, moving=moving)
    bank.build()
    for variable in bank.non_trainable_variables:
        variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    weights = [tensor[1] for tensor in bank.read()]
    y = x
    for place in range(2):
        conv = keras.layers.SeparableConv2D(4, 5, padding="same", use_bias=False)
        conv.build(x.shape)
        conv.set_weights([weights[0][place], weights[1][place][None, None]])
        norm = BatchNorm(moving)
        norm.build(x.shape)
        norm.set_weights([w[place] for w in weights[2:]])
        y = norm(conv(tf.nn.relu(y)))
    np.testing.assert_allclose(separable_conv(x, *weights)[0], y, atol=1e-5)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("op", range(5))
def test_an_op_has_its_own_gradients_and_the_weights_of_others_zeros(op, form):
    (x, _), banks = tiny.images_and_banks(3)
    convs = [[tensor[1] for tensor in bank] for bank in banks[:2]]
    ops = [
        lambda: separable_conv(x, *convs[0])[0],
        lambda: separable_conv(x, *convs[1])[0],
        lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"),
        lambda: tf.nn.max_pool2d(x, 3, 1, "SAME"),
        lambda: tf.identity(x),
    ]
    inputs = x, *convs[0], *convs[1]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        wanted = ops[op]()
    # Every pixel and channel counts differently.
    upstream = tf.reshape(tf.cos(tf.range(tf.size(x), dtype=tf.float32)), x.shape)
    expected = tape.gradient(wanted, inputs, upstream, tf.UnconnectedGradients.ZERO)
    chosen, edge = (tf.constant(op), tf.constant(1), banks), edge_functions(OPS.choose(5))
    with traced_for(form):
        output, kept, _ = edge.run(x, *chosen)
        actual = edge.gradients(upstream, x, *chosen, kept)
    np.testing.assert_allclose(output, wanted, atol=1e-5)
    for of_input, of_wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(of_input, of_wanted, atol=1e-4)
    used = [bool(np.any(gradient)) for gradient in actual]
    assert used == [True, *[op == 0] * 4, *[op == 1] * 4]


def test_a_separable_conv_keeps_one_image_and_runs_again_what_else_its_gradient_needs():
    (x, _), ((*bank,), *_) = tiny.images_and_banks(3)
    weights = [tensor[1] for tensor in bank]
    op = OPS.rows[0]
    _, kept, _ = op.run(x, *weights)
    assert tuple(map(len, kept)) == op.room == (1, 1)

    @tf.function(autograph=False)
    def gradients(upstream):
        return op.gradients(upstream, x, weights, kept)

    graph = gradients.get_concrete_function(x).graph
    needed, types = [tensor.op for tensor in graph.outputs], []
    for operation in needed:
        types.append(operation.type)
        needed.extend(one.op for one in operation.inputs if one.op not in needed)
    # The first batch norm, which the second half starts from; the second one's input is kept.
    assert types.count("FusedBatchNormV3") == 1
    assert types.count("DepthwiseConv2dNative") == 2
