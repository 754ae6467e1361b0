"""What may fall on the other side of a kink, how far, and how many at once."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.kinks import MOST, REACHES, Kinks, nearest

FAR = 2 * REACHES[-1]


def gradients_of(x):
    """A function that takes the gradient of a relu of x, each place with a weight of its own."""
    weights = tf.range(1.0, len(x) + 1)

    def compute():
        inputs = tf.constant(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(weights * tf.nn.relu(inputs))
        return {"x": tape.gradient(loss, inputs).numpy()}

    return compute


def test_reference_relus_change_sides_to_meet_a_gradient():
    compute = gradients_of([-1.0, -3e-6, 2e-5, 4e-6, 1.0])
    assert compute()["x"].tolist() == [0, 0, 3, 4, 5]
    target = np.array([0, 2, 0, 4, 5], np.float32)
    found, sides = nearest(compute, {"x": target}, 1e-6)
    assert found["x"].tolist() == target.tolist()
    assert sides == {("relu", float(np.float32(side))) for side in (-3e-6, 2e-5)}


def test_reference_relus_keep_sides_that_give_the_gradient():
    compute = gradients_of([-3e-6, 2e-5])
    assert nearest(compute, {"x": compute()["x"]}, 1e-6)[1] == set()


def test_reference_a_relu_far_from_its_kink_keeps_its_side():
    compute = gradients_of([FAR, -1.0, 1.0])
    found, sides = nearest(compute, {"x": np.array([0, 0, 3], np.float32)}, 1e-6)
    assert found["x"].tolist() == [1, 0, 3] and sides == set()


@pytest.mark.parametrize("count", [MOST, MOST + 1])
def test_reference_no_more_than_the_most_change_sides(count):
    x = 1e-6 * np.arange(1, count + 1, dtype=np.float32)
    _, sides = nearest(gradients_of([*x, 1.0]), {"x": np.append(0 * x, count + 1)}, 1e-6)
    assert len(sides) == MOST


def test_reference_a_max_pool_changes_sides():
    kinks = Kinks()
    image = np.zeros((1, 3, 3, 1), np.float32)
    image[0, 0, 0], image[0, 2, 2] = 1.0, 1.0 - 2.0**-20
    kinks.other_side = {("pool", 2.0**-20)}
    inputs = tf.constant(image)
    with kinks.in_place(), tf.GradientTape() as tape:
        tape.watch(inputs)
        # Only the middle place sees both.
        pooled = tf.nn.max_pool2d(inputs, 3, 1, "SAME")
        middle = pooled[0, 1, 1, 0]
    assert middle.numpy() == 1.0
    gradient = tape.gradient(middle, inputs).numpy()
    assert gradient[0, 2, 2] == 1 and gradient.sum() == 1
