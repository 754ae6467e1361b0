import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.form import Form, traced_for
from enas_tf.layers.kernels import (
    depthwise_conv,
    max_pool,
    pointwise_conv,
    pointwise_gradients,
)


def tensorflows_depthwise_conv(x, kernel):
    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


def random(*shape, dtype=tf.float32):
    return tf.constant(np.random.default_rng(0).normal(size=shape), dtype)


def run_in_a_branch(op, x, *kernel):
    """An op's output and gradients, where a graph for batches of every size chooses it."""

    @tf.function(autograph=False)
    def run(choice, x, *kernel):
        with tf.GradientTape() as tape:
            tape.watch((x, *kernel))
            output = tf.switch_case(choice, [lambda: -op(x, *kernel), lambda: op(x, *kernel)])
            # Every pixel and channel has another weight.
            weights = tf.cos(tf.range(tf.cast(tf.size(output), tf.float32)))
            loss = tf.reduce_sum(output * tf.reshape(weights, tf.shape(output)))
        return output, *tape.gradient(loss, (x, *kernel))

    any_batch = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
    kernels = [tf.TensorSpec(one.shape, one.dtype) for one in kernel]
    traced = run.get_concrete_function(tf.TensorSpec([], tf.int32), any_batch, *kernels)
    return traced(tf.constant(1), x, *kernel)


@pytest.fixture(params=Form)
def every_form(request):
    with traced_for(request.param):
        yield


@pytest.mark.usefixtures("every_form")
def test_a_pointwise_conv_multiplies_each_pixels_channels():
    x, kernel = random(3, 4, 5, 6), random(6, 2)
    output, of_x, of_kernel = run_in_a_branch(pointwise_conv, x, kernel)
    upstream = np.cos(np.arange(3 * 4 * 5 * 2)).reshape(3, 4, 5, 2)
    np.testing.assert_allclose(output, np.einsum("bhwc,cf->bhwf", x, kernel), atol=1e-5)
    np.testing.assert_allclose(of_x, np.einsum("bhwf,cf->bhwc", upstream, kernel), atol=1e-5)
    np.testing.assert_allclose(of_kernel, np.einsum("bhwc,bhwf->cf", x, upstream), atol=1e-5)
    by_hand = pointwise_gradients(x, kernel, tf.constant(upstream, tf.float32))
    for actual, wanted in zip(by_hand, (of_x, of_kernel), strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-5)


@pytest.mark.usefixtures("every_form")
@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("shape", [(3, 8, 6, 4), (1, 2, 2, 1), (2, 1, 9, 5)])
def test_a_depthwise_conv_has_tensorflows_output_and_gradients(shape, size):
    x, kernel = random(*shape), random(size, size, shape[-1], 1)
    ours = run_in_a_branch(depthwise_conv, x, kernel)
    wanted = run_in_a_branch(tensorflows_depthwise_conv, x, kernel)
    for actual, expected in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "dtype", "slow"),
    [(3, tf.float32, True), (5, tf.float32, False), (5, tf.bfloat16, True)],
)
def test_only_a_wide_kernel_in_float32_has_a_gradient_of_its_own(size, dtype, slow):
    x, kernel = random(2, 8, 8, 4, dtype=dtype), random(size, size, 4, 1, dtype=dtype)

    @tf.function(autograph=False)
    def gradient(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            output = depthwise_conv(x, kernel)
        return tape.gradient(output, kernel)

    operations = gradient.get_concrete_function(x, kernel).graph.get_operations()
    types = {operation.type for operation in operations}
    assert ("DepthwiseConv2dNativeBackpropFilter" in types) == slow


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 5, 3), (1, 2, 9, 1), (1, 1, 1, 1)])
def test_for_xla_a_max_pool_has_tensorflows_output_and_gradient(shape, ties):
    # Of equal pixels the first one is the largest.
    x = tf.nn.relu(random(*shape)) if ties else random(*shape)
    with traced_for(Form.XLA):
        ours = run_in_a_branch(max_pool, x)
    wanted = run_in_a_branch(lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME"), x)
    for actual, expected in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)
