"""Initial values of weights."""

import math

import keras


def he_normal(fan_in: int) -> keras.initializers.Initializer:
    """Returns He's normal initializer, with a standard deviation of `sqrt(2 / fan_in)`.

    The fan-in is an argument, since Keras would derive a wrong one from the shape of weights that
    are stacked along a leading axis, or depthwise.
    """
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_in))
