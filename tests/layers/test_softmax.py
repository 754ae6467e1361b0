import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.softmax import mean_cross_entropy, word_logits

ROWS, TIME, HIDDEN, WORDS = 3, 4, 5, 7


def normal(*shape):
    return tf.constant(np.random.default_rng(len(shape)).normal(size=shape), tf.float32)


def tensorflows(features, embedding, targets):
    logits = word_logits(features, embedding)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return tf.reduce_mean(losses)


def loss_and_gradients(loss, features, embedding, scale=1.0):
    targets = tf.constant(np.random.default_rng(0).integers(0, WORDS, (ROWS, TIME)), tf.int32)
    with tf.GradientTape() as tape:
        tape.watch((features, embedding))
        value = loss(features, embedding, targets)
        scaled = scale * value
    return value, *tape.gradient(scaled, (features, embedding))


def test_logits_are_products_with_each_words_embedding():
    features, embedding = normal(ROWS, TIME, HIDDEN), normal(WORDS, HIDDEN)
    wanted = np.einsum("rth,wh->rtw", features, embedding)
    np.testing.assert_allclose(word_logits(features, embedding), wanted, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_mean_cross_entropy_has_tensorflows_gradients(scale):
    features, embedding = normal(ROWS, TIME, HIDDEN), normal(WORDS, HIDDEN)
    actual = loss_and_gradients(mean_cross_entropy, features, embedding, scale)
    wanted = loss_and_gradients(tensorflows, features, embedding, scale)
    for value, expected in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_products_of_16_bits_make_a_loss_and_gradients_of_weights_of_32(dtype):
    features, embedding = normal(ROWS, TIME, HIDDEN), normal(WORDS, HIDDEN)
    wanted = loss_and_gradients(mean_cross_entropy, features, embedding)
    actual = loss_and_gradients(mean_cross_entropy, tf.cast(features, dtype), embedding)
    assert [value.dtype for value in actual] == [tf.float32, dtype, tf.float32]
    for value, expected in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(tf.cast(value, tf.float32), expected, atol=0.02)


def test_no_gradient_is_as_large_as_the_logits_but_the_softmaxs_own():
    """Scaling the gradient of all logits by the upstream one takes a tenth of a step."""

    @tf.function(autograph=False)
    def run(features, embedding, targets):
        with tf.GradientTape() as tape:
            tape.watch((features, embedding))
            loss = mean_cross_entropy(features, embedding, targets)
        return tape.gradient(loss, (features, embedding))

    targets = tf.zeros([ROWS, TIME], tf.int32)
    graph = run.get_concrete_function(normal(ROWS, TIME, HIDDEN), normal(WORDS, HIDDEN), targets)
    products = [
        operation.name
        for operation in graph.graph.get_operations()
        if operation.type == "Mul" and operation.outputs[0].shape[-1] == WORDS
    ]
    assert products == []
