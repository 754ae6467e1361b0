"""Functions that a graph holds once, however often they are called."""

import functools
from collections.abc import Callable

import tensorflow as tf

from enas_tf.layers.form import Form, current_form


def graph_function(function: Callable) -> Callable:
    """Wraps a function so that it is traced once per shape, and then only called.

    A smaller graph starts sooner. Functions should not return unused outputs: the gradient of an
    unused output is a constant, and TensorFlow then optimises the gradient function again for each
    call.

    For XLA the function is inlined when it is traced. XLA would inline it anyway, but would then
    take constants that its gradient needs, such as an axis, for values that determine shapes, and
    compile a program for each value of the function's arguments.
    """
    traced = tf.function(
        function,
        autograph=False,
        experimental_attributes={"_noinline": True},
        reduce_retracing=False,
    )

    @functools.wraps(function)
    def call(*args):
        return function(*args) if current_form() is Form.XLA else traced(*args)

    return call
