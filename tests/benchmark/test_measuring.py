import time

import pytest
import tensorflow as tf

from enas_tf.benchmark.measuring import WARM_UP, Work, measure


def test_takes_medians_of_the_steps_behind_the_warm_up():
    durations = [0.3, *[0.02] * (WARM_UP - 1), 0.02, 0.2, 0.02]

    def step(number):
        time.sleep(durations[number])
        return {"loss": tf.constant(1.0)}

    result = measure(Work(step, "images", 5, 4, 7, repeats=2), 3, started=time.time() - 100)
    assert result["batch"] == 4
    assert result["params"] == 7
    # Two batches a step.
    assert result["step_seconds"] == pytest.approx(0.01, abs=0.008)
    assert result["images_per_second"] == 5 / result["step_seconds"]
    assert result["trace_seconds"] == pytest.approx(0.28, abs=0.1)
    assert result["first_step_seconds"] == pytest.approx(100.3, abs=0.2)
    assert result["peak_rss_mb"] > 100


def test_cpu_time_is_not_time_that_passes():
    waiting = measure(Work(lambda number: time.sleep(0.05), "arcs", 1, 1, 0), 1, time.time())
    assert waiting["step_cpu_seconds"] < 0.02 < waiting["step_seconds"]
