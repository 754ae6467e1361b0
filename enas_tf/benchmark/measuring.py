"""Measures the time and the memory of a case."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from enas_tf.training.distribution import device_name

WARM_UP = 3
"""The number of steps before those that count; the first one traces the functions it calls."""


@dataclass(frozen=True)
class Work:
    """The work that a case repeats.

    Attributes:
        step: a callable that runs step number n, and returns the tensors to wait for.
        examples: what is counted per second, such as `images`.
        num_examples: the number of these in a batch.
        batch: the number of examples, or of architectures, in a batch.
        params: the number of weights that are trained or used, without an auxiliary head.
        repeats: the number of batches in a step.
        compiled: whether XLA compiles a part of the step.
    """

    step: Callable[[int], Any]
    examples: str
    num_examples: float
    batch: int
    params: int
    repeats: int = 1
    compiled: bool = False


def measure(work: Work, steps: int, started: float) -> dict[str, Any]:
    """Measures the steps of a case, after `WARM_UP` steps that do not count.

    A compiled step runs twice, and only the second time counts: XLA compiles the step for every
    shape of its inputs, and any step may have a new one.

    Args:
        work: the work of the case.
        steps: the number of steps to measure.
        started: when the process was started, in the seconds of `time.time()`.

    Returns:
        A dict with
        `device`, the name of the device;
        `batch` and `params`, as in `work`;
        `step_seconds`, the median over the steps, for one batch;
        `step_cpu_seconds`, the same for the CPU time of all threads together;
        `images_per_second`, or what else `work.examples` names, from `step_seconds`;
        `trace_seconds`, by how much longer the `WARM_UP` steps took than as many later ones;
        `compile_seconds`, for compiled steps, by how much longer all first runs together took;
        `first_step_seconds`, from the start of the process to the end of the first step;
        `peak_rss_mb`, the peak memory of the process, in MiB;
        `peak_gpu_mb`, with a GPU, the peak memory of tensors on it, in MiB.
    """
    firsts, counted, ends = [], [], []
    for number in range(WARM_UP + steps):
        firsts.append(_timed(work, number))
        ends.append(time.time())
        counted.append(_timed(work, number) if work.compiled else firsts[-1])
    first_seconds, seconds = ([one for one, _ in times] for times in (firsts, counted))
    step_seconds = median(seconds[WARM_UP:])
    trace_seconds = work.repeats * (sum(first_seconds[:WARM_UP]) - WARM_UP * step_seconds)
    compile_seconds = {"compile_seconds": max(0.0, sum(first_seconds) - sum(seconds))}
    return {
        "device": device_name(),
        "batch": work.batch,
        "step_seconds": step_seconds,
        "step_cpu_seconds": median(cpu for _, cpu in counted[WARM_UP:]),
        f"{work.examples}_per_second": work.num_examples / step_seconds,
        "trace_seconds": max(0.0, trace_seconds),
        **(compile_seconds if work.compiled else {}),
        "first_step_seconds": ends[0] - started,
        "peak_rss_mb": peak_rss_mb(),
        **peak_gpu_mb(),
        "params": work.params,
    }


def _timed(work: Work, number: int) -> tuple[float, float]:
    """Runs a step; returns its seconds and its CPU seconds, for one batch."""
    begin, cpu_begin = time.perf_counter(), time.process_time()
    # Converting to NumPy waits for the device; a call may return before a GPU has done its work.
    for tensor in tf.nest.flatten(work.step(number)):
        np.asarray(tensor)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return seconds / work.repeats, cpu_seconds / work.repeats


def peak_rss_mb() -> float:
    """Returns the peak memory of this process, in MiB."""
    # In bytes on macOS, in KiB on Linux.
    kib = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kib / 1024


def peak_gpu_mb() -> dict[str, float]:
    """Returns `peak_gpu_mb`, the peak memory of tensors on the first GPU, in MiB.

    Without a GPU, the dict is empty.
    """
    if not tf.config.list_physical_devices("GPU"):
        return {}
    return {"peak_gpu_mb": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1024**2}
