"""Checks that an export makes of what a server passes to it, which checks nothing itself.

A wrong request fails with INVALID_ARGUMENT and a line that says what is wanted.
"""

import tensorflow as tf


def of_shape(x: tf.Tensor, shape: tuple[int | None, ...], name: str) -> tf.Tensor:
    """Returns a request's tensor, checked to have a shape.

    Args:
        x: the tensor, whose static shape a server does not respect.
        shape: the lengths of its axes; None takes any.
        name: of the tensor in the request.
    """
    # Where the static shape were known, TensorFlow would take the check for fulfilled and drop it.
    given = tf.shape(tf.raw_ops.PlaceholderWithDefault(input=x, shape=[None] * len(shape)))
    wanted = "x".join("N" if size is None else str(size) for size in shape)
    numbers = tf.strings.as_string(given)
    # As text, which compares shapes of any two ranks.
    pattern = "x".join("[0-9]+" if size is None else str(size) for size in shape)
    is_right = tf.strings.regex_full_match(_joined(numbers), pattern)
    return checked(x, is_right, f"{name} must be of shape {wanted}, not ", _joined(numbers))


def checked(x: tf.Tensor, is_right: tf.Tensor, *message: str | tf.Tensor) -> tf.Tensor:
    """Returns a tensor after a check.

    Args:
        x: the tensor.
        is_right: a boolean scalar.
        *message: what the error says otherwise; strings.
    """
    with tf.control_dependencies([tf.debugging.Assert(is_right, [tf.strings.join(message)])]):
        return tf.identity(x)


def _joined(numbers: tf.Tensor) -> tf.Tensor:
    return tf.strings.reduce_join(numbers, separator="x")
