"""What is put into lists comes out of them, with zeros for empty places."""

import numpy as np
import tensorflow as tf

from enas_tf.layers.tensor_lists import ListOf, put

PAIRS = ListOf((2,), tf.float32)
FIRST, SECOND = np.array([[1, 2], [10, 20]], np.float32)


def stacked(elements, size):
    return [PAIRS.take(elements, place).numpy().tolist() for place in range(size)]


def test_places_hold_what_was_put_there_last():
    elements = put(put(put(PAIRS.empty(3), 0, SECOND), 0, FIRST), 2, SECOND)
    assert stacked(elements, 3) == [[1, 2], [0, 0], [10, 20]]


def test_lists_are_added_place_by_place():
    lists = put(PAIRS.empty(3), 0, FIRST), put(put(PAIRS.empty(3), 0, SECOND), 2, SECOND)
    assert stacked(tf.raw_ops.AddN(inputs=lists), 3) == [[11, 22], [0, 0], [10, 20]]


def test_batches_may_be_of_any_size():
    batches = ListOf.batches_like(tf.zeros((5, 2)))
    elements = put(put(batches.empty(2), 0, tf.ones((3, 2))), 1, tf.zeros((1, 2)))
    assert [batches.take(elements, place).shape[0] for place in (0, 1)] == [3, 1]
