import keras
import numpy as np

from enas_tf.training.optimizers import NesterovSGD


def test_momentum_gathers_gradients_whatever_the_rate():
    variable = keras.Variable(np.array([1.0, -2.0], np.float32))
    optimizer = NesterovSGD(0.5, momentum=0.9)
    weight, momentum = np.array([1.0, -2.0]), np.zeros(2)
    for rate, gradient in ((0.5, [1.0, 2.0]), (0.1, [-1.0, 0.5]), (0.2, [0.0, 1.0])):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(gradient))], [variable])
        momentum = 0.9 * momentum + gradient
        weight = weight - rate * (np.array(gradient) + 0.9 * momentum)
        np.testing.assert_allclose(variable, weight, rtol=1e-6)


def test_config_makes_the_same_optimizer():
    again = NesterovSGD.from_config(NesterovSGD(0.3, momentum=0.7).get_config())
    assert (float(again.learning_rate), again.momentum) == (np.float32(0.3), 0.7)
