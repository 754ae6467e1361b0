"""The softmax over words behind a language model, whose weights are those of the embedding."""

import tensorflow as tf


def word_logits(features: tf.Tensor, embedding: tf.Tensor) -> tf.Tensor:
    """How likely each word is to follow, before the softmax.

    Args:
        features: `(..., hidden)`, in the dtype to compute in.
        embedding: `(vocabulary, hidden)`.

    Returns:
        `(..., vocabulary)`, float32.
    """
    kernel = tf.transpose(tf.cast(embedding, features.dtype))
    return tf.cast(tf.tensordot(features, kernel, 1), tf.float32)


def mean_cross_entropy(features: tf.Tensor, embedding: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The mean cross-entropy of the words that did follow, in nats.

    Args:
        features: `(rows, time, hidden)`, in the dtype to compute in.
        embedding: `(vocabulary, hidden)`, float32.
        targets: `(rows, time)`, int32.

    Returns:
        A scalar, float32.
    """
    features = tf.reshape(features, [-1, features.shape[-1]])
    return _mean_cross_entropy(
        features, tf.cast(embedding, features.dtype), tf.reshape(targets, [-1])
    )


@tf.custom_gradient
def _mean_cross_entropy(features: tf.Tensor, embedding: tf.Tensor, targets: tf.Tensor):
    """TensorFlow's own gradient scales that of all logits; this one what is computed from them."""
    losses, of_logits = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=word_logits(features, embedding), labels=targets
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        factor = tf.cast(upstream / tf.cast(tf.size(targets), tf.float32), features.dtype)
        each = tf.cast(of_logits, features.dtype)
        of_embedding = tf.transpose(tf.matmul(features, each, transpose_a=True))
        return factor * tf.matmul(each, embedding), factor * of_embedding, None

    return tf.reduce_mean(losses), gradient
