import itertools
import math
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.macro.channels.controller import ChannelController
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.controller import MacroControllerConfig
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.random_search import RandomSearch
from enas_tf.search.reinforce import Reinforce
from enas_tf.search.sampling import draw_fairly

SPACE = ChannelSpace(2, "conv_3x3,max_pool_3x3", channel_blocks=3)
EVERY = np.array(
    [[*itertools.chain(*outcomes)] for outcomes in itertools.product(*SPACE.choices)], np.int32
)


@pytest.fixture(scope="module")
def controller():
    keras.utils.set_random_seed(0)
    config = MacroControllerConfig(init_range=1.0, lstm_size=5, temperature=1.3)
    return ChannelController(SPACE, config)


class Lstm:
    """An LSTM and the choices that follow from it, step by step in NumPy."""

    def __init__(self, controller):
        self.weights = {w.name: np.array(w, np.float64) for w in controller.trainable_variables}
        self.h = self.c = np.zeros(controller.config.lstm_size)
        self.log_probs = []

    def step(self, x):
        gates = x @ self.weights["kernel"] + self.h @ self.weights["recurrent_kernel"]
        i, f, g, o = np.split(gates, 4)
        sigmoid = [1 / (1 + np.exp(-gate)) for gate in (i, f, o)]
        self.c = sigmoid[1] * self.c + sigmoid[0] * np.tanh(g)
        self.h = sigmoid[2] * np.tanh(self.c)
        return self.h

    def choose(self, logits, place, allowed=None):
        squashed = 1.5 * np.tanh(logits / 1.3)
        squashed = squashed[:allowed]
        self.log_probs.append(squashed[place] - np.log(np.exp(squashed).sum()))


def scored_by_hand(controller, tokens):
    """The log-probability of each choice, as the authors' sampler makes them."""
    lstm, left = Lstm(controller), iter(tokens)
    w, x, anchors, keys = lstm.weights, lstm.weights["start"][0], [], []
    for layer in range(2):
        for op in range(2):
            start, count = next(left), next(left)
            lstm.choose(lstm.step(x) @ w["start_kernel"][op], start)
            x = w["start_embedding"][op, start]
            # Of the counts 1 and 2 those that fit into the blocks from the start on.
            lstm.choose(lstm.step(x) @ w["count_kernel"][op], count - 1, allowed=3 - start)
            x = w["count_embedding"][op, count - 1]
        h, x = lstm.step(x), w["start"][0]
        if layer:
            query = np.tanh(keys[0] + h @ w["query_kernel"]) @ w["attention"][:, 0]
            bit = next(left)
            lstm.choose(np.array([-query, query]), bit)
            x = bit * anchors[0] / (1 + bit)
        anchors.append(h)
        keys.append(h @ w["key_kernel"])
    return np.array(lstm.log_probs)


def test_scores_are_those_of_the_authors_sampler(controller):
    for tokens in EVERY[[0, 77, 400, 1249]]:
        draws = controller.score(tf.constant([tokens]))
        wanted = scored_by_hand(controller, tokens)
        np.testing.assert_allclose(draws.log_probs[0], wanted, rtol=1e-4, atol=1e-5)
        assert float(draws.log_prob[0]) == pytest.approx(wanted.sum(), rel=1e-5)
        entropy = -(wanted * np.exp(wanted)).sum()
        assert float(draws.entropy[0]) == pytest.approx(entropy, rel=1e-5)


def test_probabilities_of_all_architectures_sum_to_one(controller):
    log_prob = controller.score(tf.constant(EVERY)).log_prob.numpy()
    assert len(EVERY) == SPACE.count() == 5**4 * 2
    assert np.exp(log_prob.astype(np.float64)).sum() == pytest.approx(1, rel=1e-4)


def test_draws_are_of_the_space_and_are_scored_alike(controller):
    draws = controller.sample(200, tf.constant([3, 4]))
    for tokens in draws.tokens.numpy().tolist():
        assert SPACE.check(tokens) == tuple(tokens)
    scores = controller.score(draws.tokens)
    np.testing.assert_allclose(scores.log_prob, draws.log_prob, rtol=1e-5)
    assert len(np.unique(draws.tokens, axis=0)) > 100


def test_the_true_entropy_counts_only_what_fits():
    config = MacroControllerConfig(entropy="true_entropy", init_range=0.0)
    space = ChannelSpace(1, "conv_3x3", channel_blocks=4)
    entropies = ChannelController(space, config).score(tf.constant([[0, 1], [2, 1]])).entropy
    # From block 0 on there are three counts, from block 2 on two.
    wanted = [math.log(4) + math.log(3), math.log(4) + math.log(2)]
    np.testing.assert_allclose(entropies, wanted, rtol=1e-6)


def test_learns_what_is_rewarded():
    keras.utils.set_random_seed(0)
    config = MacroControllerConfig(
        learning_rate=0.1, lstm_size=4, baseline_init="first", tanh_constant=2.5
    )
    space = ChannelSpace(1, "conv_3x3", channel_blocks=3)
    trained = Reinforce(ChannelController(space, config))
    for step in range(20):
        tokens = trained.propose(20, (0, step)).tokens
        # The more blocks, the better.
        trained.feedback(tokens, tokens.numpy()[:, 1].astype(np.float32))
    counts = trained.propose(500, (1, 0)).tokens.numpy()[:, 1]
    # At first 1.33: one from the last block on, else one or two.
    assert counts.mean() > 1.8


def test_random_search_draws_all_architectures_alike():
    search = RandomSearch(SPACE, ControllerConfig(kind="random"))
    draws = search.propose(3000, (0, 0))
    np.testing.assert_allclose(draws.log_prob, -math.log(SPACE.count()), rtol=1e-5)
    pairs, counts = np.unique(draws.tokens.numpy()[:, 4:6], axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2], [2, 1]]
    np.testing.assert_allclose(counts / 3000, 0.2, atol=0.04)


def test_in_fair_draws_the_pairs_take_turns():
    tokens = draw_fairly(SPACE, 12, random.Random(0)).numpy()
    for first in (0, 5):
        pairs = {tuple(pair) for pair in tokens[first : first + 5, 2:4].tolist()}
        assert len(pairs) == 5
