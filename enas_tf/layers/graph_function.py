"""Functions that the graph holds once, however often they are called."""

import functools
from collections.abc import Callable

import tensorflow as tf

from enas_tf.layers.form import Form, current_form


def graph_function(function: Callable) -> Callable:
    """Has a function traced once per shape, and called wherever it is needed.

    Graph size is start-up time. An output that nothing is computed from costs: its gradient is a
    constant, and TensorFlow then optimises the gradient function for each call afresh.

    For XLA the function is a part of the graph wherever it is called. XLA would make it so in any
    case, and by then would take constants that its gradient needs, such as an axis,
    for values that decide on shapes: it would compile a program for each value of its arguments.
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
