import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.conv import ConvNorm, FactorizedReduction


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 1)])
def test_a_reduction_takes_every_other_pixel_and_the_one_across(height, width):
    x = np.random.default_rng(0).normal(size=(3, height, width, 2)).astype(np.float32)
    layer = FactorizedReduction(2)
    layer.build(x.shape)
    layer.kernel_1.assign(np.array([1.0, 0.0]).reshape(1, 1, 2, 1))
    layer.kernel_2.assign(np.array([0.0, 1.0]).reshape(1, 1, 2, 1))
    layer.norm = lambda y, training: y
    shifted = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
    wanted = np.stack([x[:, ::2, ::2, 0], shifted[:, ::2, ::2, 1]], axis=-1)
    np.testing.assert_allclose(layer(x), wanted)


def test_relu_comes_first_where_wanted():
    x = tf.constant([[[[-1.0]], [[2.0]]]])
    for relu, wanted in ((True, [0.0, 2.0]), (False, [-1.0, 2.0])):
        layer = ConvNorm(1, relu=relu)
        layer.build(x.shape)
        layer.kernel.assign([[[[1.0]]]])
        layer.norm = lambda y, training: y
        np.testing.assert_allclose(tf.reshape(layer(x), [-1]), wanted)
