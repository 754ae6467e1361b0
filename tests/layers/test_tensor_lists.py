"""What is put into lists comes out of them, with zeros for empty places."""

import numpy as np
import tensorflow as tf

from enas_tf.layers.tensor_lists import ListOf, put, put_all, stack_all

PAIRS = ListOf((2,), tf.float32)
FIRST, SECOND = np.array([[1, 2], [10, 20]], np.float32)


def test_places_hold_what_was_put_there_last():
    elements = put(put(put(PAIRS.empty(3), 0, SECOND), 0, FIRST), 2, SECOND)
    np.testing.assert_array_equal(PAIRS.take(elements, 0), FIRST)
    np.testing.assert_array_equal(PAIRS.gather(elements, [2, 0]), [[10, 20], [1, 2]])
    np.testing.assert_array_equal(PAIRS.stack(elements), [[1, 2], [0, 0], [10, 20]])


def test_scattered_elements_lie_at_their_places():
    elements = PAIRS.scatter(tf.stack([FIRST, SECOND]), tf.constant([2, 1]), 4)
    np.testing.assert_array_equal(PAIRS.stack(elements), [[0, 0], [10, 20], [1, 2], [0, 0]])


def test_lists_are_added_place_by_place():
    lists = put(PAIRS.empty(3), 0, FIRST), put(put(PAIRS.empty(3), 0, SECOND), 2, SECOND)
    total = tf.raw_ops.AddN(inputs=lists)
    np.testing.assert_array_equal(PAIRS.stack(total), [[11, 22], [0, 0], [10, 20]])


def test_batches_may_be_of_any_size():
    batches = ListOf.batches_like(tf.zeros((5, 2)))
    elements = put(put(batches.empty(2), 0, tf.ones((3, 2))), 1, tf.zeros((1, 2)))
    assert [batches.take(elements, place).shape[0] for place in (0, 1)] == [3, 1]


def test_several_lists_at_once():
    kinds = [PAIRS, ListOf((), tf.int32)]
    lists = put_all([kind.empty(2) for kind in kinds], tf.constant(1), [FIRST, tf.constant(7)])
    pairs, numbers = stack_all(kinds, lists)
    np.testing.assert_array_equal(pairs, [[0, 0], [1, 2]])
    np.testing.assert_array_equal(numbers, [0, 7])
