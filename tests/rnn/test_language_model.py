import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.softmax import word_logits
from enas_tf.rnn.language_model import CarriedState, LanguageModel, SequenceDropout
from enas_tf.rnn.recurrence import WordRecurrence
from tests import tiny

PLACES = ("word", "embedding", "input", "node", "output", "weight")
NO_DROPOUT = RnnChildConfig(hidden_size=3, **{f"drop_{place}": 0.0 for place in PLACES})
WORDS, ROWS, HIDDEN = 5, 2, 3


class Chain:
    """Each node squares what the one before gives; the last one is the output."""

    def source(self, node, states):
        return states[node - 1]

    def activate(self, node, x):
        return tf.square(x)

    def output(self, states):
        return states[-1]


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_masks_drop_at_their_rates_and_scale_what_is_left():
    rates = dict(zip(PLACES, (0.1, 0.2, 0.75, 0.25, 0.6, 0.5), strict=True))
    config = RnnChildConfig(hidden_size=40, **{f"drop_{p}": rate for p, rate in rates.items()})
    masks = SequenceDropout(config, 3000, 2, StepRng(1, seed=1)).draw(50)
    shapes = dict.fromkeys(("embedding", "input", "node", "output"), (50, 40))
    shapes |= {"word": (3000, 1)}
    drawn = {place: getattr(masks, place) for place in shapes}
    drawn |= {f"weight {n}": mask for n, mask in enumerate(masks.kernels)}
    assert len(masks.kernels) == 3
    for place, mask in drawn.items():
        assert mask.shape == shapes.get(place, (40, 80))
        rate = rates[place.split()[0]]
        assert set(np.unique(mask)) == {0, np.float32(1 / np.float32(1 - rate))}
        assert np.mean(mask == 0) == pytest.approx(rate, abs=0.05)
    kept = [np.array(masks.embedding) > 0, np.array(masks.node) > 0]
    assert (kept[0] != kept[1]).mean() > 0.2


def test_masks_change_with_the_step_and_a_rate_of_zero_has_none():
    rng = StepRng(10, seed=1)
    dropout = SequenceDropout(replace(NO_DROPOUT, drop_input=0.5), WORDS, 1, rng)
    first, again = dropout.draw(40), dropout.draw(40)
    rng.step.assign(1)
    second = dropout.draw(40)
    np.testing.assert_array_equal(first.input, again.input)
    assert np.any(np.array(first.input) != np.array(second.input))
    assert [mask for mask in first._replace(input=None) if mask is not None] == []


def state_of(batch_size=4):
    state = CarriedState(batch_size, 2)
    state.build()
    return state


STARTS, GOES_ON = (True, False)


@pytest.mark.parametrize("training", [True, False])
def test_a_state_goes_on_or_starts_at_zero(training):
    carried = state_of()
    value = normal(4, 2)
    carried.write(tf.constant(value), training)
    read = [np.array(carried.read(4, tf.constant(s), training)) for s in (STARTS, GOES_ON)]
    np.testing.assert_array_equal(read[0], np.zeros((4, 2)))
    np.testing.assert_array_equal(read[1], value)


def test_training_and_evaluation_have_a_state_each_and_the_checkpoint_that_of_training():
    carried = state_of()
    carried.write(tf.ones([4, 2]), training=True)
    carried.write(2 * tf.ones([3, 2]), training=False)
    assert [weight.name for weight in carried.variables] == ["state"]
    assert carried.trainable_variables == []
    np.testing.assert_array_equal(carried.state, np.ones((4, 2)))
    np.testing.assert_array_equal(
        carried.read(3, tf.constant(GOES_ON), training=False), 2 * np.ones((3, 2))
    )


def test_a_start_that_is_not_finite_is_forgotten():
    carried = state_of()
    carried.write(tf.fill([4, 2], math.nan), training=True)
    np.testing.assert_array_equal(carried.read(4, tf.constant(STARTS), True), np.zeros((4, 2)))


def test_replicas_use_their_rows_and_all_hold_the_whole():
    strategy = tiny.two_devices()
    with strategy.scope():
        carried = state_of()

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        read = carried.read(2, tf.constant(GOES_ON), training=True)
        carried.write(read + tf.cast(replica + 1, tf.float32), training=True)
        carried.write(tf.cast(tf.fill([replica + 1, 2], replica), tf.float32), training=False)
        return carried.read(replica + 1, tf.constant(GOES_ON), training=False)

    run = tf.function(lambda: strategy.run(step), autograph=False)
    run()
    evaluation = strategy.experimental_local_results(run())
    whole = [[2.0, 2], [2, 2], [4, 4], [4, 4]]
    for copy in strategy.experimental_local_results(carried.state.value):
        np.testing.assert_array_equal(copy, whole)
    np.testing.assert_array_equal(carried.state.value.numpy(), whole)
    # Each replica has its own state of evaluation, with rows of its own number.
    np.testing.assert_array_equal(evaluation[0], np.zeros((1, 2)))
    np.testing.assert_array_equal(evaluation[1], np.ones((2, 2)))


class Model(LanguageModel):
    """One node behind node 0, without weights."""

    def __init__(self, config=NO_DROPOUT):
        keras.utils.set_random_seed(0)
        recurrence = WordRecurrence(WORDS, HIDDEN, init_range=1.0)
        super().__init__(recurrence, config, 1, ROWS, StepRng(10, seed=0))

    def call(self, words, starts, training=False):
        kernels = [tf.fill([HIDDEN, 2 * HIDDEN], 0.1)]
        features, embedding, states = self.carry_on(words, starts, training, kernels, Chain())
        return word_logits(features, embedding), states


def words_of(time, rows=ROWS):
    return tf.constant(np.random.default_rng(4).integers(0, WORDS, (rows, time)), tf.int32)


@pytest.mark.parametrize("training", [True, False])
def test_two_short_sequences_are_one_long_one(training):
    model, words = Model(), words_of(7)
    whole, _ = model(words, tf.constant(STARTS), training=training)
    first, _ = model(words[:, :3], tf.constant(STARTS), training=training)
    second, _ = model(words[:, 3:], tf.constant(GOES_ON), training=training)
    anew, _ = model(words[:, 3:], tf.constant(STARTS), training=training)
    np.testing.assert_allclose(tf.concat([first, second], axis=1), whole, rtol=1e-5)
    assert np.abs(anew - second).max() > 1e-3


def test_an_evaluation_leaves_the_state_of_training_alone():
    model = Model()
    model(words_of(3), tf.constant(STARTS), training=True)
    before = np.array(model.carried.state)
    assert np.abs(before).max() > 0
    for rows in (5, 1):
        model(words_of(3, rows), tf.constant(STARTS))
        np.testing.assert_array_equal(model.carried.state, before)


@pytest.mark.parametrize("training", [True, False])
def test_another_number_of_rows_cannot_go_on(training):
    model = Model()
    model(words_of(3), tf.constant(STARTS), training=training)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model(words_of(3, rows=3), tf.constant(GOES_ON), training=training)


def test_masks_are_the_same_for_all_words_and_in_training_alone():
    # The output's mask shows in which channels of the states move the logits.
    model = Model(replace(NO_DROPOUT, drop_output=0.5))
    model.recurrence.embedding.assign(np.vstack([np.eye(HIDDEN), np.ones((2, HIDDEN))]))
    logits, states = model(words_of(6), tf.constant(STARTS), training=True)
    factors = np.array(logits[..., :HIDDEN] / states)
    np.testing.assert_allclose(factors, np.repeat(factors[:, :1], 6, axis=1), rtol=1e-5)
    assert set(np.unique(factors.round(4))) == {0, 2}
    logits, states = model(words_of(6), tf.constant(STARTS))
    np.testing.assert_allclose(logits[..., :HIDDEN], states, rtol=1e-6)


def test_one_graph_serves_all_lengths_and_numbers_of_rows():
    model, traces = Model(), []

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.bool)],
        autograph=False,
    )
    def evaluate(words, starts):
        traces.append(words.shape)
        return model(words, starts)

    for rows, time in ((2, 3), (2, 7), (1, 4), (0, 4)):
        logits, states = evaluate(words_of(time, rows), tf.constant(STARTS))
        assert logits.shape == (rows, time, WORDS) and states.shape == (rows, time, HIDDEN)
        wanted, _ = model(words_of(time, rows), tf.constant(STARTS))
        np.testing.assert_allclose(logits, wanted, rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_close_and_keeps_weights_and_state(policy):
    exact, _ = Model()(words_of(4), tf.constant(STARTS), training=True)
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = Model()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    logits, states = model(words_of(4), tf.constant(STARTS), training=True)
    assert logits.dtype == tf.float32 and states.dtype == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in model.variables} == {"float32"}
    # Eight bits of mantissa.
    np.testing.assert_allclose(logits, exact, atol=0.05)
    assert np.any(np.array(logits) != np.array(exact))
    model(words_of(4), tf.constant(GOES_ON), training=True)
