"""How the time and the memory of a case are taken."""

import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
        compiled: whether XLA compiles a part of the step.
    """

    step: Callable[[int], Any]
    unit: str
    amount: float
    batch: int
    params: int
    repeats: int = 1
    compiled: bool = False


def measure(work: Work, steps: int, started: float) -> dict[str, Any]:
    """Takes the time of a case's steps, after some that do not count.

    A compiled step is taken twice, and counts the second time: XLA compiles it for every shape of
    its inputs, which may be new at any step.

    Args:
        work: the case's.
        steps: how many to measure.
        started: when the process started, as `time.time()` tells.

    Returns:
        The `device`; medians over the steps: `step_seconds` and, of all threads together,
        `step_cpu_seconds`; units a second, by the former; `trace_seconds`, by which the steps
        before took longer; of compiled steps `compile_seconds`, by which all of them together took
        longer the first time; `first_step_seconds`, from the start to the end of the first step;
        `peak_rss_mb` of the whole process, in MiB; with a GPU `peak_gpu_mb`; `batch`; `params`.
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
        f"{work.unit}_per_second": work.amount / step_seconds,
        "trace_seconds": max(0.0, trace_seconds),
        **(compile_seconds if work.compiled else {}),
        "first_step_seconds": ends[0] - started,
        "peak_rss_mb": peak_rss_mb(),
        **peak_gpu_mb(),
        "params": work.params,
    }


def _timed(work: Work, number: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a batch in a step."""
    begin, cpu_begin = time.perf_counter(), time.process_time()
    for tensor in tf.nest.flatten(work.step(number)):
        np.asarray(tensor)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return seconds / work.repeats, cpu_seconds / work.repeats


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB."""
    kib = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kib / 1024


def peak_gpu_mb() -> dict[str, float]:
    """`peak_gpu_mb`, the most of the first GPU's memory that tensors have had, in MiB.

    Nothing without a GPU.
    """
    if not tf.config.list_physical_devices("GPU"):
        return {}
    return {"peak_gpu_mb": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1024**2}


def device_name() -> str:
    """The first GPU's name, or the CPU's where there is none."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    return cpu_name()


def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model, or its architecture where the system does not tell the model.

    Args:
        info: Linux' file about the CPU.
    """
    found = info.exists() and re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
