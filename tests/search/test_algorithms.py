from typing import get_args, get_type_hints

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.algorithms import ALGORITHMS, make_algorithm
from enas_tf.search.controller import ControllerConfig
from tests import tiny


def made(kind):
    config = ControllerConfig(kind=kind, lstm_size=4)
    return make_algorithm(tiny.TinyController, tiny.SPACE, config)


def test_every_kind_that_can_be_asked_for_is_there():
    assert set(get_args(get_type_hints(ControllerConfig)["kind"])) == set(ALGORITHMS)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_what_every_algorithm_keeps_to(kind):
    algorithm = made(kind)
    assert isinstance(algorithm, Algorithm) and algorithm.space is tiny.SPACE
    assert algorithm.config.kind == kind and algorithm.learns == (kind != "random")
    draws = algorithm.propose(6, (3, 4))
    for tokens in draws.tokens.numpy().tolist():
        tiny.SPACE.parse(tokens)
    np.testing.assert_array_equal(algorithm.propose(6, [3, 4]).tokens, draws.tokens)
    assert not np.array_equal(algorithm.propose(6, (3, 5)).tokens, draws.tokens)
    np.testing.assert_allclose(algorithm.log_prob(draws.tokens), draws.log_prob, rtol=1e-5)
    np.testing.assert_allclose(draws.log_probs.numpy().sum(axis=1), draws.log_prob, rtol=1e-5)
    before = tiny.values(algorithm.variables)
    metrics = algorithm.feedback(draws.tokens, [0.1, 0.2, 0.9, 0.4, 0.5, 0.6])
    names = ["loss", "reward", "baseline", "advantage", "entropy", "log_prob", "grad_norm"]
    assert set(names) <= set(metrics) and all(value.shape == () for value in metrics.values())
    assert float(metrics["reward"]) == pytest.approx(0.45)
    changed = [n for n, v in algorithm.variables.items() if not np.array_equal(v, before[n])]
    assert "baseline" in changed
    # What feedback has changed is all in the variables.
    again = made(kind)
    for name, variable in again.variables.items():
        variable.assign(algorithm.variables[name])
    np.testing.assert_array_equal(
        again.propose(20, (0, 0)).tokens, algorithm.propose(20, (0, 0)).tokens
    )
    for one, other in zip(
        again.feedback(draws.tokens, [0.5] * 6).values(),
        algorithm.feedback(draws.tokens, [0.5] * 6).values(),
        strict=True,
    ):
        assert float(one) == float(other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ppo_clip": 0.0}, "controller.ppo_clip must be over 0 and below 1, got 0.0"),
        ({"ppo_clip": 1.0}, "controller.ppo_clip must be over 0 and below 1, got 1.0"),
        ({"ppo_epochs": 0}, "controller.ppo_epochs must be at least 1, got 0"),
    ],
)
def test_options_of_ppo_that_make_none(values, message):
    with pytest.raises(UserError, match=message):
        ControllerConfig(**values)
