import itertools
import random

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.search.controller import ControllerConfig


@pytest.fixture(scope="module")
def controller():
    tf.keras.utils.set_random_seed(0)
    return MicroController(MicroSpace(2), ControllerConfig(init_range=1.0))


def test_scores_what_it_drew(controller):
    draws = controller.sample(50, tf.constant([3, 4]))
    scores = controller.score(draws.tokens)
    np.testing.assert_array_equal(scores.tokens, draws.tokens)
    np.testing.assert_allclose(scores.log_prob, draws.log_prob, rtol=1e-5)
    np.testing.assert_allclose(scores.entropy, draws.entropy, rtol=1e-5)


def test_draws_are_of_the_space_and_follow_from_the_seed(controller):
    draws = controller.sample(50, tf.constant([3, 4]))
    for tokens in draws.tokens.numpy():
        assert controller.space.check(tokens.tolist()) == tuple(tokens)
    again = controller.sample(50, tf.constant([3, 4]))
    other = controller.sample(50, tf.constant([3, 5]))
    np.testing.assert_array_equal(draws.tokens, again.tokens)
    assert np.any(draws.tokens != other.tokens)


def test_entropy_is_the_mean_of_minus_log_p(controller):
    draws = controller.sample(4000, tf.constant([1, 1]))
    # Both estimate the same number, one from the distributions and one from the draws.
    assert abs(np.mean(-draws.log_prob) - np.mean(draws.entropy)) < 0.1


def test_probabilities_of_all_architectures_sum_to_one():
    controller = MicroController(MicroSpace(1), ControllerConfig(init_range=1.0))
    nodes = list(itertools.product(range(2), range(5), range(2), range(5)))
    tokens = tf.constant([[*node, *other] for node in nodes for other in nodes])
    log_prob = controller.score(tokens).log_prob.numpy()
    assert len(tokens) == controller.space.count()
    assert np.exp(log_prob.astype(np.float64)).sum() == pytest.approx(1, rel=1e-4)


def test_a_new_controller_prefers_separable_convs_in_the_normal_cell():
    tf.keras.utils.set_random_seed(0)
    controller = MicroController(MicroSpace(2), ControllerConfig())
    tokens = controller.sample(3000, tf.constant([0, 0])).tokens.numpy()
    normal, reduction = (np.mean(tokens[:, slots] < 2) for slots in ((1, 3), (9, 11)))
    # Softmax of 0.44 and 0.25 for the two, 0 and -0.25 for the others; without the bias, 0.44.
    assert normal == pytest.approx(2 / (2 + 3 * np.exp(-0.94)), abs=0.03)
    assert reduction == pytest.approx(2 / (2 + 3 * np.exp(-0.44)), abs=0.03)


def test_any_space_of_its_kind_can_be_drawn():
    arc = MicroSpace(3).random(random.Random(0))
    controller = MicroController(MicroSpace(3), ControllerConfig())
    draws = controller.score(tf.constant([arc.tokens]))
    assert draws.tokens.numpy().tolist() == [list(arc.tokens)]
    assert draws.log_prob[0] < 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("lstm_size", 0), ("baseline_decay", 1.0), ("beta_1", 1.0), ("op_tanh_reduce", 0.0)],
)
def test_values_that_make_no_controller_are_refused(field, value):
    with pytest.raises(UserError, match=f"controller.{field} must be"):
        ControllerConfig(**{field: value})
