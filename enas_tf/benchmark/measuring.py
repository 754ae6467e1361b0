"""How the time and the memory of a case are taken."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

WARM_UP = 3
"""Steps before those that count; the first one traces what `Work.step` calls."""


@dataclass(frozen=True)
class Work:
    """What a case does over and over.

    Attributes:
        step: does step number n, and returns the tensors to wait for.
        unit: what is counted a second.
        amount: units that a batch counts for.
        batch: examples, or architectures, in a batch.
        params: weights that are trained or used, an auxiliary head's aside.
        repeats: batches in a step.
    """

    step: Callable[[int], Any]
    unit: str
    amount: float
    batch: int
    params: int
    repeats: int = 1


def measure(work: Work, steps: int, started: float) -> dict[str, float]:
    """Takes the time of a case's steps, after some that do not count.

    Args:
        work: the case's.
        steps: how many to measure.
        started: when the process started, as `time.time()` tells.

    Returns:
        Medians over the steps: `step_seconds` and, of all threads together, `step_cpu_seconds`;
        units a second, by the former; `trace_seconds`, by which the steps before took longer;
        `first_step_seconds`, from the start to the end of the first step; `peak_rss_mb` of the
        whole process, in MiB; and `batch` and `params`.
    """
    seconds, cpu_seconds, ends = [], [], []
    for number in range(WARM_UP + steps):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for tensor in tf.nest.flatten(work.step(number)):
            np.asarray(tensor)
        seconds.append((time.perf_counter() - begin) / work.repeats)
        cpu_seconds.append((time.process_time() - cpu_begin) / work.repeats)
        ends.append(time.time())
    step_seconds = median(seconds[WARM_UP:])
    trace_seconds = work.repeats * (sum(seconds[:WARM_UP]) - WARM_UP * step_seconds)
    return {
        "batch": work.batch,
        "step_seconds": step_seconds,
        "step_cpu_seconds": median(cpu_seconds[WARM_UP:]),
        f"{work.unit}_per_second": work.amount / step_seconds,
        "trace_seconds": max(0.0, trace_seconds),
        "first_step_seconds": ends[0] - started,
        "peak_rss_mb": peak_rss_mb(),
        "params": work.params,
    }


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB."""
    kib = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kib / 1024
