import keras
import numpy as np
import pytest

from enas_tf.layers.pooling import MaxPool


@pytest.mark.parametrize("stride", [1, 2])
def test_is_keras_max_pooling_and_comes_back_from_its_config(stride):
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    layer = MaxPool(stride, name="pool")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    wanted = keras.layers.MaxPooling2D(3, stride, "same")(x)
    assert (again.name, again.strides) == ("pool", (stride, stride))
    np.testing.assert_array_equal(layer(x), wanted)
    np.testing.assert_array_equal(again(x), wanted)
