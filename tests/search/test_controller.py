import numpy as np
import pytest
import tensorflow as tf

from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.search.controller import ControllerConfig, Pick

SEED = (5, 7)
# Probabilities of the first choice: 1/2, 1/4, 1/4; of the second: 1/5, 4/5.
LOGITS = tuple(np.log(p).astype(np.float32) for p in ([2, 1, 1], [1, 4]))


def pick_both(tokens=None, batch=1, true_entropy=False, seed=SEED):
    """The choice of slot 1 is made first, and that of slot 0 then."""
    replayed = None if tokens is None else tf.constant(tokens)
    pick = Pick(2, batch, replayed, tf.constant(seed), true_entropy)
    for slot, logits in zip((1, 0), LOGITS, strict=True):
        pick(slot, tf.repeat(logits[None], batch, axis=0))
    return pick.draws()


def test_replayed_choices_by_hand():
    draws = pick_both([[0, 2], [1, 0]], batch=2)
    np.testing.assert_array_equal(draws.tokens, [[0, 2], [1, 0]])
    # Slot 0 is one of two, slot 1 one of three.
    chosen = np.array([[1 / 5, 1 / 4], [4 / 5, 1 / 2]])
    np.testing.assert_allclose(draws.log_prob, np.log(chosen).sum(axis=1), rtol=1e-6)
    # In the order of the tokens, not of the choices.
    np.testing.assert_allclose(draws.log_probs, np.log(chosen), rtol=1e-6)
    source = (-chosen * np.log(chosen)).sum(axis=1)
    np.testing.assert_allclose(draws.entropy, source, rtol=1e-6)
    np.testing.assert_array_equal(draws.penalty, [0, 0])


def test_true_entropy_is_the_same_whatever_is_drawn():
    draws = pick_both([[0, 2], [1, 0]], batch=2, true_entropy=True)
    shares = np.array([1 / 2, 1 / 4, 1 / 4]), np.array([1 / 5, 4 / 5])
    wanted = sum(-(p * np.log(p)).sum() for p in shares)
    np.testing.assert_allclose(draws.entropy, [wanted, wanted], rtol=1e-6)


def test_draws_have_their_probabilities_and_do_not_depend_on_each_other():
    tokens = pick_both(batch=20_000).tokens.numpy()
    found = np.histogram2d(tokens[:, 1], tokens[:, 0], bins=(3, 2))[0] / len(tokens)
    wanted = np.outer([1 / 2, 1 / 4, 1 / 4], [1 / 5, 4 / 5])
    np.testing.assert_allclose(found, wanted, atol=0.012)


def test_several_choices_at_once_are_those_one_by_one():
    logits = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4)), tf.float32)
    tokens = tf.constant([[3, 0, 2], [1, 1, 0]])
    at_once, one_by_one = (Pick(3, 2, tokens, tf.constant(SEED), False) for _ in range(2))
    assert at_once.several(0, logits).numpy().tolist() == tokens.numpy().tolist()
    for slot in range(3):
        one_by_one(slot, logits[:, slot])
    for joint, single in zip(at_once.draws()[:4], one_by_one.draws()[:4], strict=True):
        np.testing.assert_allclose(joint, single, rtol=1e-6)


def test_attention_by_hand():
    controller = MicroController(MicroSpace(1), ControllerConfig(lstm_size=2))
    controller.query_kernel.assign([[1, 0], [2, -1]])
    controller.attention.assign([[1], [10]])
    keys = [tf.constant([[0.0, 0.5]]), tf.constant([[-3.0, 1.0]])]
    # The query is (1 + 2, -1), to which each key is added.
    wanted = [[np.tanh(3) + 10 * np.tanh(-0.5), 0]]
    found = controller.attend(tf.constant([[1.0, 1.0]]), keys)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_no_gradient_flows_through_the_entropy():
    logits = tf.Variable(LOGITS[0][None])
    with tf.GradientTape(persistent=True) as tape:
        pick = Pick(1, 1, tf.constant([[1]]), tf.constant(SEED), True)
        pick(0, tf.convert_to_tensor(logits))
        draws = pick.draws()
    assert tape.gradient(draws.entropy, logits) is None
    # Of log softmax: 1 where chosen, minus the probability.
    wanted = [[-1 / 2, 3 / 4, -1 / 4]]
    np.testing.assert_allclose(tape.gradient(draws.log_prob, logits), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"tanh_constant": 0.0}, [-3.0, 2.0]),
        ({"tanh_constant": 0.0, "temperature": 5.0}, [-0.6, 0.4]),
        ({"tanh_constant": 1.5}, 1.5 / 2.5 * np.tanh([-3.0, 2.0])),
        ({"tanh_constant": 1.5, "temperature": 5.0}, 1.5 / 2.5 * np.tanh([-0.6, 0.4])),
    ],
)
def test_logits_are_divided_then_bounded(options, wanted):
    controller = MicroController(MicroSpace(1), ControllerConfig(**options))
    squashed = controller.squash(tf.constant([-3.0, 2.0]), reduce=2.5)
    np.testing.assert_allclose(squashed, wanted, rtol=1e-6)


def test_initial_weights_are_uniform_and_differ():
    controller = MicroController(MicroSpace(1), ControllerConfig(init_range=0.2))
    lstm = controller.lstm
    kernel, recurrent = np.array(lstm.kernel), np.array(lstm.recurrent_kernel)
    assert not np.array_equal(kernel, recurrent)
    for values in kernel, recurrent, np.array(controller.query_kernel):
        assert np.abs(values).max() <= 0.2
        assert values.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.05)
