import math

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.macro.controller import MacroController
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.random_search import RandomSearch

SPACES = [MicroSpace(1), MacroSpace(4, op_set=7), RnnSpace(4)]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_all_architectures_are_equally_likely(space):
    search = RandomSearch(space, ControllerConfig(kind="random"))
    draws = search.propose(2000, (0, 0))
    np.testing.assert_allclose(draws.log_prob, -np.log(space.count()), rtol=1e-5)
    np.testing.assert_allclose(search.log_prob(draws.tokens), draws.log_prob, rtol=1e-6)
    for size, column in zip(space.sizes, draws.tokens.numpy().T, strict=True):
        shares = np.bincount(column, minlength=size) / 2000
        np.testing.assert_allclose(shares, 1 / size, atol=0.04)


def test_the_same_seed_draws_the_architectures_of_earlier_versions():
    # What the version before this class drew with controller.kind=random.
    found = RandomSearch(MicroSpace(1), ControllerConfig(kind="random")).propose(2, (12, 5)).tokens
    assert found.numpy().tolist() == [[0, 0, 0, 3, 1, 2, 1, 4], [1, 0, 1, 2, 1, 4, 0, 2]]


def test_learns_nothing_but_the_baseline():
    search = RandomSearch(RnnSpace(1), ControllerConfig(kind="random", entropy_weight=0.0))
    assert set(search.variables) == {"baseline", "updates"}
    before = search.propose(50, (0, 0)).tokens.numpy()
    metrics = search.feedback(tf.constant([[0, 1], [0, 2]]), [1.0, 2.0])
    np.testing.assert_array_equal(search.propose(50, (0, 0)).tokens, before)
    advantages = np.array([1.0, 2.0]) - [0.01, 0.0299]
    wanted = {
        "loss": math.log(4) * advantages.mean(),
        "reward": 1.5,
        "baseline": 0.0299,
        "advantage": advantages.mean(),
        # As the authors compute it: -p log p of the choice among four.
        "entropy": math.log(4) / 4,
        "log_prob": -math.log(4),
        "grad_norm": 0.0,
    }
    assert {n: float(v) for n, v in metrics.items()} == pytest.approx(wanted, rel=1e-5)
    assert (float(search.variables["baseline"]), int(search.variables["updates"])) == (
        pytest.approx(0.0299),
        1,
    )


def test_the_first_reward_starts_the_baseline_once():
    config = ControllerConfig(kind="random", entropy_weight=0.0, baseline_init="first")
    search = RandomSearch(RnnSpace(1), config)
    for reward, wanted in ((2.0, 2.0), (3.0, 2.01)):
        metrics = search.feedback(tf.constant([[0, 1]]), [reward])
        assert float(metrics["baseline"]) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("controller", "entropy", "wanted"),
    [
        (MacroController, "source", math.log(4) / 4),
        (MacroController, "true_entropy", math.log(4)),
        (MicroController, "source", math.log(4)),
    ],
)
def test_reports_the_entropy_that_the_controller_of_its_space_reports(controller, entropy, wanted):
    assert MicroController.true_entropy and not MacroController.true_entropy
    config = ControllerConfig(kind="random", entropy=entropy)
    search = RandomSearch.make(controller, RnnSpace(1), config)
    assert float(search.propose(1, (0, 0)).entropy[0]) == pytest.approx(wanted)
