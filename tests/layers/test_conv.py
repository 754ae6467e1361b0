import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.conv import ConvNorm, FactorizedReduction, max_pool


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


def test_max_pool_in_a_branch_has_the_gradient_of_one_outside():
    # Whole numbers, many of which are equal within a window.
    images = tf.constant(np.random.default_rng(0).integers(0, 3, (2, 5, 6, 4)), tf.float32)

    def output_and_gradient(pool):
        @tf.function(autograph=False)
        def run(images, op):
            with tf.GradientTape() as tape:
                tape.watch(images)
                output = pool(images, op)
                loss = tf.reduce_sum(output * tf.range(4.0))
            return output, tape.gradient(loss, images)

        return run(images, tf.constant(1))

    ours = output_and_gradient(
        lambda x, op: tf.switch_case(op, [lambda: tf.zeros_like(x), lambda: max_pool(x)])
    )
    wanted = output_and_gradient(lambda x, op: tf.nn.max_pool2d(x, 3, 1, "SAME"))
    for actual, expected in zip(ours, wanted, strict=True):
        np.testing.assert_array_equal(actual, expected)
