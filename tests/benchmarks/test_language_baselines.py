import math
from dataclasses import replace

import keras
import numpy as np
import pytest

from benchmarks.language_baselines import lstm_size, train_lstm, unigram_perplexity
from enas_tf.data.text import TextData
from enas_tf.rnn.recipe import PTB_RNN


@pytest.fixture
def data():
    """Three words in turn."""
    words = np.tile(np.arange(3, dtype=np.int32), 400)
    splits = {"train": words, "valid": words[:300], "test": words[:300]}
    return TextData("turns", splits, ("a", "b", "<unk>"))


def test_frequencies_of_words_in_turn_leave_all_of_them_open(data):
    assert unigram_perplexity(data) == pytest.approx(3, rel=1e-3)


def test_an_lstm_has_about_as_many_weights_as_asked_for():
    size = lstm_size(100_000, vocab_size=500)
    count = size * 500 + 8 * size**2 + 4 * size
    assert count == pytest.approx(100_000, rel=0.01)


def test_the_lstm_learns_which_word_follows(data, tmp_path):
    keras.utils.set_random_seed(0)
    settings = PTB_RNN.presets["tiny"]
    train = replace(settings.train, num_epochs=12, batch_size=4)
    result = train_lstm(replace(settings, train=train), data, 3000, str(tmp_path))
    assert result["test"]["perplexity"] == pytest.approx(1, abs=0.3)
    assert math.exp(result["test"]["loss"]) == pytest.approx(result["test"]["perplexity"])
