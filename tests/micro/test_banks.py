import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.choice import take_rows
from enas_tf.layers.form import Form, traced_for
from enas_tf.layers.norm import BatchNorm
from enas_tf.micro.banks import (
    KEPT_ROOM,
    OPS,
    SeparableConvBank,
    op_gradients,
    run_op,
    separable_conv,
)
from tests import tiny


def test_rows_and_their_gradient_are_those_of_gather():
    bank = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
    places = tf.constant([[2], [0]])
    with tf.GradientTape() as tape:
        taken = take_rows(tf.convert_to_tensor(bank), places)
        loss = tf.reduce_sum(taken * [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(taken, [[6, 7, 8], [0, 1, 2]])
    wanted = [[4, 5, 6], [0, 0, 0], [1, 2, 3], [0, 0, 0]]
    np.testing.assert_array_equal(tape.gradient(loss, bank), wanted)


def test_rows_may_be_numbered_along_two_axes():
    bank = tf.Variable(np.arange(12, dtype=np.float32).reshape(2, 3, 2))
    with tf.GradientTape() as tape:
        (taken,) = take_rows(tf.convert_to_tensor(bank), tf.constant([[1, 2]]))
        loss = tf.reduce_sum(taken * [1.0, 2.0])
    np.testing.assert_array_equal(taken, [10, 11])
    wanted = np.zeros((2, 3, 2))
    wanted[1, 2] = 1, 2
    np.testing.assert_array_equal(tape.gradient(loss, bank), wanted)


@pytest.mark.parametrize("moving", [False, True])
def test_separable_conv_is_keras_layers_one_after_the_other(moving):
    keras.utils.set_random_seed(0)
    x = tf.random.normal((2, 6, 5, 4))
    bank = SeparableConvBank(sets=3, channels=4, kernel_size=5, moving=moving)
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
    convs = [[tensor[1] for tensor in bank] for bank in banks]
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
    chosen = tf.constant(op), tf.constant(1), banks
    with traced_for(form):
        output, kept, _ = run_op(x, *chosen)
        actual = op_gradients(upstream, x, *chosen, kept)
    np.testing.assert_allclose(output, wanted, atol=1e-5)
    for of_input, of_wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(of_input, of_wanted, atol=1e-4)
    used = [bool(np.any(gradient)) for gradient in actual]
    assert used == [True, *[op == 0] * 4, *[op == 1] * 4]


def test_a_separable_conv_keeps_one_image_and_runs_again_what_else_its_gradient_needs():
    (x, _), ((*bank,), _) = tiny.images_and_banks(3)
    weights = [tensor[1] for tensor in bank]
    run, differentiate = OPS[0]
    _, kept, _ = run(x, *weights)
    assert tuple(map(len, kept)) == KEPT_ROOM == (1, 1)

    @tf.function(autograph=False)
    def gradients(upstream):
        return differentiate(upstream, x, weights, kept)

    graph = gradients.get_concrete_function(x).graph
    needed, types = [tensor.op for tensor in graph.outputs], []
    for operation in needed:
        types.append(operation.type)
        needed.extend(one.op for one in operation.inputs if one.op not in needed)
    # The first batch norm, which the second half starts from; the second one's input is kept.
    assert types.count("FusedBatchNormV3") == 1
    assert types.count("DepthwiseConv2dNative") == 2


class Reader(keras.layers.Layer):
    """Reads a bank inside a layer's call, where Keras casts variables to what it computes in."""

    def __init__(self, bank, **kwargs):
        super().__init__(**kwargs)
        self.bank = bank

    def call(self, x):
        return [x, *self.bank.read()]


def test_mixed_precision_leaves_scale_and_offset_in_float32():
    bank = SeparableConvBank(sets=3, channels=2, kernel_size=3, moving=True)
    bank.build()
    # The nearest number of 16 bits is 1.
    wanted = np.full((3, 2, 2), 1.001, np.float32)
    for variable in bank.variables[2:]:
        variable.assign(wanted)
    _, *weights = Reader(bank, dtype="mixed_bfloat16")(tf.zeros([1]))
    depthwise, pointwise, *others = weights
    assert depthwise.dtype == pointwise.dtype == tf.bfloat16
    assert len(others) == 4
    for values in others:
        assert values.dtype == tf.float32
        np.testing.assert_array_equal(values, wanted)


def test_only_the_used_sets_take_in_statistics():
    bank = SeparableConvBank(sets=3, channels=1, kernel_size=3, moving=True)
    bank.build()
    means = tf.constant([[[10.0], [20.0]], [[30.0], [40.0]]])
    bank.update(tf.constant([2, 0]), tf.constant([True, False]), (means, means / 10))
    np.testing.assert_allclose(bank.averages.mean[..., 0], [[0, 0], [0, 0], [1, 2]])
    np.testing.assert_allclose(bank.averages.variance[..., 0], [[1, 1], [1, 1], [1, 1.1]])


def test_a_bank_has_four_variables_and_he_deviation():
    keras.utils.set_random_seed(0)
    bank = SeparableConvBank(sets=40, channels=32, kernel_size=3, moving=False)
    bank.build()
    depthwise, pointwise, scale, offset = bank.variables
    assert depthwise.shape == (40, 2, 3, 3, 32, 1)
    np.testing.assert_allclose(np.std(depthwise), np.sqrt(2 / 9), rtol=0.02)
    np.testing.assert_allclose(np.std(pointwise), np.sqrt(2 / 32), rtol=0.02)
    assert np.all(np.array(scale) == 1)
    assert np.all(np.array(offset) == 0)
