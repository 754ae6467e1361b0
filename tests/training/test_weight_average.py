import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.training.weight_average import WeightAverage
from tests import tiny


@pytest.mark.parametrize("strategy", ["one", "two devices"])
def test_is_the_mean_of_the_weights_since_the_first_update(strategy):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0") if strategy == "one" else tiny.two_devices()
    with strategy.scope():
        weight = keras.Variable([5.0, 6.0], name="weight")
        average = WeightAverage([weight])
    for value in ([1.0, 2.0], [3.0, 5.0], [8.0, 2.0]):
        weight.assign(value)
        average.update()
    assert average.is_updated
    with average.in_place():
        np.testing.assert_allclose(weight.numpy(), [4.0, 3.0], rtol=1e-6)
    np.testing.assert_array_equal(weight.numpy(), [8.0, 2.0])
    assert {name: v.shape for name, v in average.variables.items()} == {
        "average/weight": (2,),
        "average_count": (),
    }


@pytest.mark.parametrize("strategy", ["one", "two devices"])
def test_a_moving_average_forgets(strategy):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0") if strategy == "one" else tiny.two_devices()
    with strategy.scope():
        weight = keras.Variable(7.0)
        average = WeightAverage([weight], decay=0.5)
    # Halves from the second on: 1, 2, 5, 3.
    for value in (1.0, 3.0, 8.0, 1.0):
        weight.assign(value)
        average.update()
    with average.in_place():
        assert weight.numpy() == 3
    assert weight.numpy() == 1


def test_without_a_memory_is_a_copy_of_the_weights_at_the_last_update():
    weight = keras.Variable(7.0, name="weight")
    copy = WeightAverage([weight], decay=0, name="snapshot_3")
    assert not copy.is_updated and set(copy.variables) == {"snapshot_3/weight", "snapshot_3_count"}
    for value in (3.0, 0.1):
        weight.assign(value)
        copy.update()
    weight.assign(9.0)
    with copy.in_place():
        assert copy.is_updated and weight.numpy() == np.float32(0.1)


def test_puts_the_weights_back_after_an_error():
    weight = keras.Variable(2.0)
    average = WeightAverage([weight])
    with pytest.raises(KeyError), average.in_place():
        assert weight.numpy() == 0
        raise KeyError
    assert weight.numpy() == 2
