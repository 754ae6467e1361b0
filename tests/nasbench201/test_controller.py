import itertools

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.nasbench201.controller import Nasbench201Controller
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.controller import ControllerConfig


@pytest.fixture(scope="module")
def controller():
    tf.keras.utils.set_random_seed(0)
    return Nasbench201Controller(Nasbench201Space(4), ControllerConfig(init_range=1.0))


def test_scores_what_it_drew(controller):
    draws = controller.sample(50, tf.constant([3, 4]))
    scores = controller.score(draws.tokens)
    np.testing.assert_array_equal(scores.tokens, draws.tokens)
    np.testing.assert_allclose(scores.log_prob, draws.log_prob, rtol=1e-5)
    for tokens in draws.tokens.numpy():
        assert controller.space.check(tokens.tolist()) == tuple(tokens)


def test_probabilities_of_all_architectures_sum_to_one(controller):
    tokens = tf.constant(list(itertools.product(range(5), repeat=6)))
    log_prob = controller.score(tokens).log_prob.numpy().astype(np.float64)
    assert np.exp(log_prob).sum() == pytest.approx(1, rel=1e-4)
    # A choice depends on those before it.
    assert len(set(np.round(log_prob, 3))) > 1000


@pytest.mark.parametrize(("preset", "bound"), [("paper", 1.1), ("paper_text", 2.5)])
def test_an_op_can_become_as_likely_as_the_tanh_lets_it(preset, bound):
    config = NASBENCH201.presets[preset].controller
    controller = Nasbench201Controller(Nasbench201Space(2), config)
    signs = tf.constant([1.0, -1.0, 1.0, -1.0, 1.0])
    controller.op_kernel.assign(1e6 * controller.op_kernel[:, :1] * signs)
    (log_probs,) = controller.score(tf.range(5)[:, tf.newaxis]).log_probs.numpy().T
    assert np.ptp(log_probs) == pytest.approx(2 * bound, rel=1e-3)
