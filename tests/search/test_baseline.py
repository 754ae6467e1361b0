import numpy as np
import pytest
import tensorflow as tf

from enas_tf.search.baseline import Baseline
from enas_tf.search.controller import ControllerConfig


@pytest.mark.parametrize(
    ("init", "is_first", "wanted"),
    [
        ("zero", True, [0.01, 0.0299]),
        ("first", True, [1.0, 1.01]),
        ("first", False, [0.01, 0.0299]),
    ],
)
def test_takes_in_one_reward_after_the_other(init, is_first, wanted):
    baseline = Baseline(ControllerConfig(baseline_decay=0.99, baseline_init=init))
    found = baseline.advance(tf.constant([1.0, 2.0]), tf.constant(is_first))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert float(baseline.value) == pytest.approx(wanted[-1], rel=1e-5)
    # Goes on from there: 0.99 of what it was, and 0.01 of the reward.
    [after] = baseline.advance(tf.constant([0.0]), tf.constant(False)).numpy()
    assert after == pytest.approx(0.99 * wanted[-1], rel=1e-5)
