"""Initial values of weights."""

import math

import keras


def he_normal(fan_in: int) -> keras.initializers.Initializer:
    """He's normal initialisation, deviation `sqrt(2 / fan_in)`.

    The fan-in is given, not read off a shape: weights that are stacked along a leading axis, or
    depthwise, have another one than Keras would take.
    """
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_in))
