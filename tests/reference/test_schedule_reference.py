"""Learning rates and Nesterov momentum against the authors' code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.schedules import CosineRestarts
from enas_tf.training.optimizers import NesterovSGD
from tests.reference.cases import GRADIENTS, RATES, Case, cases


@pytest.fixture(params=cases("lr_schedule"))
def case(request):
    return Case.load(request.param)


def ours_and_odd(case, steps, batches):
    """Our rates, and which steps the original takes otherwise: a restart's first one (A2)."""
    config = case.config
    schedule = CosineRestarts(config["lr_max"], config["lr_min"], config["T_0"], config["T_mul"])
    restarts, period = set(), config["T_0"]
    while (restart := max(restarts, default=0) + period) * batches < steps:
        restarts.add(restart)
        period *= config["T_mul"]
    rates = np.array([schedule(step // batches) for step in range(steps)])
    odd = np.isin(np.arange(steps), [restart * batches for restart in restarts])
    return rates, odd


def test_reference_learning_rates(case, compare):
    for batches in case.inputs["nb"].tolist():
        theirs = case.outputs[f"lr_nb{batches}"]
        ours, odd = ours_and_odd(case, len(theirs), batches)
        compare.check(f"lr_nb{batches}", ours[~odd], theirs[~odd], RATES)
        # At the odd steps they take the middle, and we the maximum.
        assert odd.any()
        middle = (case.config["lr_max"] + case.config["lr_min"]) / 2
        compare.check(f"lr_nb{batches}/odd", theirs[odd], np.full(odd.sum(), middle), RATES)
        np.testing.assert_allclose(ours[odd], case.config["lr_max"])


def test_reference_nesterov_momentum(case, compare):
    config = case.config
    assert config["nesterov"] and config["loss"] == "sum(sin(v))"
    for batches in case.inputs["nb"].tolist():
        rates = case.outputs[f"lr_nb{batches}"]
        variable = keras.Variable(np.array(config["v0"], np.float32))
        optimizer = NesterovSGD(0.0, config["momentum"])
        optimizer.build([variable])
        found, norms = [], []
        for rate in rates:
            optimizer.learning_rate = rate
            with tf.GradientTape() as tape:
                v = tf.convert_to_tensor(variable)
                tape.watch(v)
                loss = tf.reduce_sum(tf.sin(v)) + config["l2"] * tf.reduce_sum(v**2)
            gradient = tape.gradient(loss, v)
            optimizer.apply([gradient], [variable])
            found.append(np.array(variable))
            norms.append(np.linalg.norm(gradient))
        compare.check(f"v_nb{batches}", found, case.outputs[f"v_nb{batches}"], GRADIENTS)
        compare.check(f"gn_nb{batches}", norms, case.outputs[f"gn_nb{batches}"], GRADIENTS)
