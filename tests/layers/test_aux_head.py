import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.aux_head import AuxHead


def test_is_keras_layers_one_after_the_other():
    keras.utils.set_random_seed(0)
    x = tf.random.normal((4, 8, 11, 3))
    head = AuxHead(5)
    logits = head(x)
    y = keras.layers.AveragePooling2D(5, 3)(tf.nn.relu(x))
    assert y.shape == (4, 2, 3, 3)
    for kernel in head.project.kernel, head.kernel:
        y = tf.nn.conv2d(y, kernel, 1, "SAME")
        y = tf.nn.relu(keras.layers.BatchNormalization(epsilon=1e-5)(y, training=True))
    wanted = tf.reduce_mean(y, [1, 2]) @ tf.convert_to_tensor(head.dense)
    np.testing.assert_allclose(logits, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.01)]
)
@pytest.mark.parametrize("by_default", [True, False])
def test_all_of_it_goes_by_its_own_policy(policy, tolerance, by_default):
    x = np.random.default_rng(0).normal(size=(16, 8, 11, 3)).astype(np.float32)
    heads = []
    for own, default in ((policy, policy if by_default else "float32"), ("float32", policy)):
        keras.mixed_precision.set_dtype_policy(default)
        try:
            keras.utils.set_random_seed(0)
            head = AuxHead(5) if own == default else AuxHead(5, dtype=own)
            head.build(x.shape)
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        heads.append(head)
    half, exact = heads
    for layer in (half, half.project, half.project.norm, half.norm):
        assert layer.dtype_policy.name == policy
    logits = half(tf.constant(x))
    assert logits.dtype == tf.float32
    assert {weight.dtype for weight in half.weights} == {"float32"}
    wanted = exact(tf.constant(x))
    error = np.linalg.norm(logits - wanted) / np.linalg.norm(wanted)
    assert 0 < error < tolerance


@pytest.mark.parametrize(
    ("shape", "pooled"), [((3, 4), (1, 1)), ((1, 1), (1, 1)), ((7, 8), (1, 2)), ((16, 5), (4, 1))]
)
def test_small_images_are_pooled_as_far_as_they_go(shape, pooled):
    head = AuxHead(5)
    assert head(tf.ones((2, *shape, 3))).shape == (2, 5)
    assert head.kernel.shape == (*pooled, 128, 768)


# Behind the second reduction of 32x32 images: search, 20 filters; and the final network of the
# published architecture, 36 filters, whose cells have five loose ends.
@pytest.mark.parametrize(("channels", "params"), [(4 * 20, 412_928), (5 * 4 * 36, 494_848)])
def test_has_as_many_parameters_as_the_authors_print(channels, params):
    head = AuxHead(10)
    head.build((None, 8, 8, channels))
    assert head.count_params() == params
