"""Which entries a sum takes, and what comes back to them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.choice import select
from enas_tf.layers.form import Form, traced_for
from enas_tf.macro.entries import make_entries

SHAPE = (1, 2, 2, 1)


@pytest.fixture(params=Form, autouse=True)
def every_form(request):
    with traced_for(request.param):
        yield


def full(*values):
    return [tf.fill(SHAPE, value) for value in values]


@pytest.mark.parametrize("bits", itertools.product((0, 1), repeat=2))
def test_bits_add_the_entries_that_they_name(bits):
    joined = make_entries(full(1.0, 10.0), 3)
    joined.append(*full(100.0))
    total = joined.add_to(*full(1000.0), tf.constant(bits, tf.int32))
    np.testing.assert_array_equal(total, *full(1000.0 + bits[0] * 1.0 + bits[1] * 10.0))


@pytest.mark.parametrize("within", [lambda call: call, tf.function])
def test_gradients_of_all_sums_reach_the_entries_that_they_took(within):
    def gradients(first, second, x, bits_1, bits_2):
        with tf.GradientTape() as tape:
            tape.watch([first, second, x])
            joined = make_entries([first, second], 3)
            early = joined.add_to(x, bits_1)
            joined.append(early * early)
            total = tf.reduce_sum(joined.add_to(2 * x, bits_2))
        return tape.gradient(total, [first, second, x], unconnected_gradients="zero")

    bits = tf.constant([0, 1]), tf.constant([1, 1, 1])
    got = within(gradients)(*full(3.0, 5.0, 7.0), *bits)
    # first + second + (x + second)**2 + 2 * x
    for gradient, wanted in zip(got, (1.0, 1.0 + 2 * 12, 2.0 + 2 * 12), strict=True):
        np.testing.assert_array_equal(gradient, *full(wanted))


def test_an_entry_that_no_sum_took_gets_no_gradient():
    entries = full(1.0, 10.0)
    with tf.GradientTape() as tape:
        tape.watch(entries)
        joined = make_entries(entries, 2)
        total = tf.reduce_sum(joined.add_to(*full(0.0), tf.constant([0, 1])))
    first, second = tape.gradient(total, entries, unconnected_gradients="zero")
    np.testing.assert_array_equal(first, tf.zeros(SHAPE))
    np.testing.assert_array_equal(second, tf.ones(SHAPE))


@pytest.mark.parametrize("index", range(3))
def test_an_index_selects_a_tensor_and_its_gradient_goes_there(index):
    given = full(1.0, 10.0, 100.0)
    with tf.GradientTape() as tape:
        tape.watch(given)
        selected = select(tf.constant(index), given)
        total = tf.reduce_sum(selected * selected)
    np.testing.assert_array_equal(selected, given[index])
    for number, gradient in enumerate(tape.gradient(total, given, unconnected_gradients="zero")):
        wanted = 2 * 10.0**index if number == index else 0.0
        np.testing.assert_array_equal(gradient, *full(wanted))


def test_what_is_not_selected_may_be_infinite():
    x = tf.constant([1.0, 2.0])
    chosen = select(tf.constant(1), [x / 0, x, tf.math.log(-x)])
    np.testing.assert_array_equal(chosen, x)
