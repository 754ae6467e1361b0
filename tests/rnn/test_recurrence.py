import math

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.softmax import word_logits
from enas_tf.rnn.recurrence import Masks, WordRecurrence

WORDS, ROWS, TIME, HIDDEN = 5, 2, 4, 3


class Chain:
    """Each node squares what the one before gives; the last one is the output."""

    def source(self, node, states):
        return states[node - 1]

    def activate(self, node, x):
        return tf.square(x)

    def output(self, states):
        return states[-1]


def recurrence():
    layer = WordRecurrence(WORDS, HIDDEN, init_range=1.0)
    layer.build()
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(generator.normal(size=weight.shape))
    return layer


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(layer, words, state, kernels, masks):
    """`WordRecurrence.run` in numpy, step by step, with every mask."""
    embedding, entry = (np.array(weight) for weight in layer.weights)
    entry_of_word, *kernels = np.split(entry, 2)[0], np.split(entry, 2)[1], *kernels
    kernels = [kernel * mask for kernel, mask in zip(kernels, masks.kernels, strict=True)]
    logits, states = [], []
    for time in range(words.shape[1]):
        x = (embedding * masks.word)[words[:, time]] * masks.embedding * masks.input
        joined = np.concatenate([x, state * masks.node], axis=1)
        h, t = np.split(joined @ np.concatenate([entry_of_word, kernels[0]]), 2, axis=1)
        state = state + sigmoid(t) * (np.tanh(h) - state)
        for kernel in kernels[1:]:
            h, t = np.split((state * masks.node) @ kernel, 2, axis=1)
            state = state + sigmoid(t) * (h**2 - state)
        states.append(state)
        logits.append((state * masks.output) @ embedding.T)
    return np.stack(logits, axis=1), np.stack(states, axis=1)


ONES = Masks(
    word=np.ones((WORDS, 1)),
    kernels=np.ones((3, HIDDEN, 2 * HIDDEN)),
    **dict.fromkeys(("embedding", "input", "node", "output"), np.ones((ROWS, HIDDEN))),
)


@pytest.mark.parametrize("place", [None, *Masks._fields])
def test_the_recurrence_by_hand_with_each_mask(place):
    layer, kernels = recurrence(), normal(2, HIDDEN, 2 * HIDDEN)
    words = np.random.default_rng(2).integers(0, WORDS, (ROWS, TIME))
    state = normal(ROWS, HIDDEN)
    given = {}
    if place:
        shape = np.shape(getattr(ONES, place))
        given = {place: np.random.default_rng(3).uniform(0, 2, shape).astype(np.float32)}
    wanted = by_hand(layer, words, state, kernels, ONES._replace(**given))
    masks = Masks(**{name: tf.constant(mask) for name, mask in given.items()})
    actual = layer.run(tf.constant(words, tf.int32), state, list(kernels), Chain(), masks)
    logits = word_logits(actual[0], layer.embedding)
    np.testing.assert_allclose(logits, wanted[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actual[1], wanted[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(actual[2], actual[1][:, -1])


def test_one_word_by_hand():
    layer = WordRecurrence(2, 1, init_range=1.0)
    layer.build()
    layer.embedding.assign([[0.5], [2.0]])
    layer.entry_kernel.assign([[1.0, 3.0], [-1.0, 0.5]])
    kernel = tf.constant([[2.0, 0.0]])
    features, states, _ = layer.run(
        tf.constant([[1]]), tf.constant([[0.4]]), [kernel], Chain(), Masks()
    )
    # Word 1 is 2: h = 2 * 1 - 0.4, t = 2 * 3 + 0.4 * 0.5.
    s = 0.4 + (math.tanh(1.6) - 0.4) / (1 + math.exp(-6.2))
    # Node 1: its gate is sigmoid(0) = 1 / 2.
    s += ((2 * s) ** 2 - s) / 2
    np.testing.assert_allclose(states, [[[s]]], rtol=1e-6)
    logits = word_logits(features, layer.embedding)
    np.testing.assert_allclose(logits, [[[0.5 * s, 2 * s]]], rtol=1e-6)


def test_initial_weights_are_uniform_in_their_range():
    layer = WordRecurrence(1000, 20, init_range=0.25)
    layer.build()
    for weight in layer.weights:
        values = np.array(weight)
        assert np.abs(values).max() == pytest.approx(0.25, rel=0.02)
        assert values.std() == pytest.approx(0.25 / math.sqrt(3), rel=0.05)
