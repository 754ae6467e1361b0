import math

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextData, TextDataConfig
from enas_tf.tasks.language import LanguageTask, RnnOutputs

PLAIN = {"weight_decay": 0.0, "activation_l2": 0.0, "slowness": 0.0}


def task(sequence_length=4, **config):
    rng = np.random.default_rng(0)
    splits = {
        name: rng.integers(0, 3, count).astype(np.int32)
        for name, count in (("train", 60), ("valid", 30), ("test", 20))
    }
    data = TextData("tiny", splits, ("<eos>", "a", "<unk>"))
    return LanguageTask(data, TextDataConfig(sequence_length), RnnChildConfig(**PLAIN | config))


def outputs(states=None, decay=5.0):
    # Over three words: probabilities 1/2, 1/4, 1/4 and 1/8, 1/8, 3/4.
    logits = tf.constant([[[math.log(2), 0, 0], [0, 0, math.log(6)]]])
    states = tf.zeros([1, 2, 2]) if states is None else tf.constant(states)
    return RnnOutputs(logits, tf.eye(3), states, tf.constant(decay))


TARGETS = np.array([[0, 1]], np.int32)
MEAN = (math.log(2) + math.log(8)) / 2


def test_the_loss_is_the_mean_cross_entropy():
    loss, metrics = task().loss(outputs(), TARGETS)
    assert float(loss) == pytest.approx(MEAN)
    assert {n: float(v) for n, v in metrics.items()} == pytest.approx(
        {"loss": MEAN, "perplexity": 4.0}
    )


@pytest.mark.parametrize(
    ("config", "added"),
    [
        ({"weight_decay": 0.1}, 0.1 * 5),
        # Squares 1, 4, 9, 0 and changes 2, -2.
        ({"activation_l2": 0.7}, 0.7 * 14 / 4),
        ({"slowness": 2.0}, 2.0 * (2**2 + 2**2) / 2),
    ],
)
def test_what_else_is_minimised_is_not_reported(config, added):
    loss, metrics = task(**config).loss(outputs([[[1.0, 2.0], [3.0, 0.0]]]), TARGETS)
    assert float(loss) == pytest.approx(MEAN + added)
    assert float(metrics["loss"]) == pytest.approx(MEAN)


def test_a_single_word_has_no_change_of_state():
    one = RnnOutputs(tf.zeros([1, 1, 3]), tf.eye(3), tf.ones([1, 1, 2]), tf.constant(0.0))
    loss, _ = task(slowness=1.0).loss(one, tf.constant([[2]]))
    assert float(loss) == pytest.approx(math.log(3))


def test_totals_of_batches_make_a_perplexity():
    totals = task().totals(outputs(), TARGETS)
    assert {n: float(v) for n, v in totals.items()} == pytest.approx({"loss": 2 * MEAN, "count": 2})
    metrics = LanguageTask.metrics({"loss": 8 * math.log(20), "count": 8.0})
    assert metrics == pytest.approx({"loss": math.log(20), "perplexity": 20})
    assert LanguageTask.reward(metrics) == pytest.approx(4)


def test_a_hopeless_loss_still_gives_a_reward():
    metrics = LanguageTask.metrics({"loss": 1e9, "count": 1.0})
    assert 0 < LanguageTask.reward(metrics) < 1e-300


def test_an_empty_share_of_a_batch_adds_nothing():
    empty = RnnOutputs(tf.zeros([0, 2, 3]), tf.eye(3), tf.zeros([0, 2, 2]), tf.constant(0.0))
    totals = task().totals(empty, tf.zeros([0, 2], tf.int32))
    assert {n: float(v) for n, v in totals.items()} == {"loss": 0, "count": 0}


def test_the_learning_rate_falls_with_the_length():
    assert float(task(4).lr_scale(tf.zeros([2, 3], tf.int32))) == 0.75


def test_examples_are_the_words_that_a_pass_reads():
    text = task()
    steps = text.steps_per_epoch(5)
    batches = list(text.train_batches(5, seed=0, steps=range(steps), shard=(0, 1)))
    words = sum(words.numpy().size for words, _, _ in batches)
    assert steps * text.num_examples(5) == pytest.approx(words)
    assert text.steps_per_epoch(5, at_most=2) == 2


def test_the_test_split_is_one_row():
    assert {len(words) for words, _, _ in task().eval_batches("test", 5, (0, 1))} == {1}
    first = next(iter(task().eval_batches("valid", 5, (0, 1))))
    assert len(first[0]) == 5
