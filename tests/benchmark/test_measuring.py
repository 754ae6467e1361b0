import time

import pytest
import tensorflow as tf

from enas_tf.benchmark.measuring import WARM_UP, Work, measure, peak_gpu_mb
from enas_tf.training.distribution import device_name


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


def test_a_compiled_step_counts_the_second_time():
    """Steps 0 and 4 are the first of their shape."""
    taken = []

    def step(number):
        is_new = number in (0, 4) and number not in taken
        taken.append(number)
        time.sleep(0.32 if is_new else 0.02)

    result = measure(Work(step, "images", 1, 1, 0, compiled=True), 2, time.time() - 100)
    assert taken == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert result["compile_seconds"] == pytest.approx(0.6, abs=0.1)
    assert result["step_seconds"] == pytest.approx(0.02, abs=0.015)
    assert result["trace_seconds"] == pytest.approx(0.3, abs=0.1)
    assert result["first_step_seconds"] == pytest.approx(100.32, abs=0.1)


def test_steps_that_are_not_compiled_are_taken_once():
    taken = []
    result = measure(Work(taken.append, "images", 1, 1, 0), 2, time.time())
    assert taken == [0, 1, 2, 3, 4]
    assert "compile_seconds" not in result


@pytest.fixture
def a_gpu(monkeypatch):
    """A GPU's answers in place of this machine's."""
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    details, peak = {gpu: {"device_name": "NVIDIA X1"}}, {"GPU:0": {"peak": 5 * 2**19}}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", peak.__getitem__)
    return details[gpu]


def test_names_the_gpu_and_tells_its_memory(a_gpu):
    result = measure(Work(lambda number: None, "images", 1, 1, 0), 1, time.time())
    assert (result["device"], result["peak_gpu_mb"]) == ("NVIDIA X1", 2.5)
    a_gpu.clear()
    assert device_name() == "/physical_device:GPU:0"


def test_tells_no_memory_without_a_gpu():
    assert peak_gpu_mb() == {}
