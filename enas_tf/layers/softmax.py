"""The softmax over words after a language model, with the weights of the embedding."""

import tensorflow as tf

from enas_tf.layers.form import Form, current_form

PADDING = -1
"""Fills a sequence up after its last word; used with XLA only."""


def word_logits(features: tf.Tensor, embedding: tf.Tensor) -> tf.Tensor:
    """Computes the logits of the next word.

    Args:
        features: `(..., hidden)`, in the dtype to compute in.
        embedding: `(vocabulary, hidden)`.

    Returns:
        `(..., vocabulary)`, float32.
    """
    kernel = tf.transpose(tf.cast(embedding, features.dtype))
    return tf.cast(tf.tensordot(features, kernel, 1), tf.float32)


def mean_cross_entropy(features: tf.Tensor, embedding: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes the mean cross-entropy of the words that did follow, in nats.

    Args:
        features: `(rows, time, hidden)`, in the dtype to compute in.
        embedding: `(vocabulary, hidden)`, float32.
        targets: `(rows, time)`, int32. With XLA, targets below 0 do not count.

    Returns:
        A scalar, float32.
    """
    features = tf.reshape(features, [-1, features.shape[-1]])
    return _mean_cross_entropy(
        features, tf.cast(embedding, features.dtype), tf.reshape(targets, [-1])
    )


@tf.custom_gradient
def _mean_cross_entropy(features: tf.Tensor, embedding: tf.Tensor, targets: tf.Tensor):
    """Computes the mean, with a gradient that scales only small tensors.

    TensorFlow's own gradient scales the gradient of all logits. This one scales the gradients of
    features and embedding instead, which are much smaller.
    """
    # The raw op also returns the gradient of the logits.
    losses, grad_logits = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=word_logits(features, embedding), labels=tf.maximum(targets, 0)
    )
    count = tf.size(targets)
    if current_form() is Form.XLA:
        # XLA compiles again for each size, so padding is masked instead of cut off.
        counts = targets >= 0
        losses = tf.where(counts, losses, 0.0)
        grad_logits = tf.where(counts[:, tf.newaxis], grad_logits, 0.0)
        count = tf.math.count_nonzero(counts)
    count = tf.cast(count, tf.float32)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        factor = tf.cast(upstream / count, features.dtype)
        each = tf.cast(grad_logits, features.dtype)
        of_embedding = tf.transpose(tf.matmul(features, each, transpose_a=True))
        return factor * tf.matmul(each, embedding), factor * of_embedding, None

    return tf.reduce_sum(losses) / count, gradient
