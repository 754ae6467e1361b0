import keras
import numpy as np
import tensorflow as tf

from enas_tf.layers.op_bank import OpBank
from enas_tf.micro.ops import OPS

CONV_3X3 = OPS.rows[0]


class Reader(keras.layers.Layer):
    """Reads a bank inside a layer's call, where Keras casts variables to what it computes in."""

    def __init__(self, bank, **kwargs):
        super().__init__(**kwargs)
        self.bank = bank

    def call(self, x):
        return [x, *self.bank.read()]


def test_mixed_precision_leaves_scale_and_offset_in_float32():
    bank = OpBank(CONV_3X3, sets=3, channels=2, moving=True)
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
    bank = OpBank(CONV_3X3, sets=3, channels=1, moving=True)
    bank.build()
    means = tf.constant([[[10.0], [20.0]], [[30.0], [40.0]]])
    bank.update(tf.constant([2, 0]), tf.constant([True, False]), (means, means / 10))
    np.testing.assert_allclose(bank.averages.mean[..., 0], [[0, 0], [0, 0], [1, 2]])
    np.testing.assert_allclose(bank.averages.variance[..., 0], [[1, 1], [1, 1], [1, 1.1]])


def test_a_bank_has_four_variables_and_he_deviation():
    keras.utils.set_random_seed(0)
    bank = OpBank(CONV_3X3, sets=40, channels=32, moving=False)
    bank.build()
    depthwise, pointwise, scale, offset = bank.variables
    assert depthwise.shape == (40, 2, 3, 3, 32, 1)
    np.testing.assert_allclose(np.std(depthwise), np.sqrt(2 / 9), rtol=0.02)
    np.testing.assert_allclose(np.std(pointwise), np.sqrt(2 / 32), rtol=0.02)
    assert np.all(np.array(scale) == 1)
    assert np.all(np.array(offset) == 0)


def test_an_op_without_weights_has_no_variables():
    bank = OpBank(OPS.rows[3], sets=3, channels=2, moving=True)
    bank.build()
    assert bank.variables == [] and bank.read() == ()
    bank.update(tf.constant([0]), tf.constant([True]), (tf.zeros([1, 2, 2]),) * 2)
