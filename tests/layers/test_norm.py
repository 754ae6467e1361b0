import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.norm import (
    BatchNorm,
    norm_gradients,
    normalize,
    normalize_and_reserve,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(3, 2, (4, 3, 5, 2)).astype(np.float32)


def test_normalises_as_keras_does(images):
    ours, theirs = BatchNorm(), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    y = theirs(images, training=True)
    np.testing.assert_allclose(ours(images, training=True), y, atol=1e-5)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-5)


def test_moving_averages_by_hand(images):
    norm = BatchNorm()
    norm(images, training=True)
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)


def test_without_averages_every_batch_is_its_own(images):
    norm = BatchNorm(moving=False)
    for training in (True, False):
        y = np.array(norm(images, training=training))
        np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-4)
    assert len(norm.variables) == 2


def test_half_precision_comes_out_as_it_came_in(images):
    norm = BatchNorm(dtype="mixed_bfloat16")
    y = norm(tf.cast(images, tf.bfloat16), training=True)
    assert y.dtype == tf.bfloat16
    assert norm.scale.dtype == "float32"


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_statistics_of_16_bits_are_computed_in_32(dtype):
    # Of so many numbers so far from zero, sums of squares in 16 bits would be of no use.
    images = tf.cast(np.random.default_rng(0).normal(20, 1, (64, 8, 8, 2)), dtype)
    y, mean, variance = normalize(images, tf.ones(2), tf.zeros(2))
    exact = tf.cast(images, tf.float64).numpy()
    assert mean.dtype == variance.dtype == tf.float32
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2), ddof=1), rtol=1e-4)
    wanted = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    # What the last bit of the result rounds off.
    bit = {"bfloat16": 2**-8, "float16": 2**-11}[dtype.name]
    np.testing.assert_allclose(tf.cast(y, tf.float64), wanted, rtol=bit, atol=1e-4)


def test_gradients_by_hand_are_tensorflows(images):
    scale, offset = tf.constant([0.5, -2.0]), tf.constant([1.0, 3.0])
    upstream = tf.constant(np.random.default_rng(1).normal(size=images.shape), tf.float32)
    inputs = tf.constant(images), scale, offset
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y, _, reserve = normalize_and_reserve(*inputs)
    wanted = tape.gradient(y, inputs, upstream)
    actual = norm_gradients(upstream, inputs[0], scale, reserve)
    for of_actual, of_wanted in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(of_actual, of_wanted, rtol=1e-6)
