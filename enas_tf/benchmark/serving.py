"""Measures how fast an export loads and responds, by TensorFlow's C++ runtime alone."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from enas_tf.benchmark.measuring import WARM_UP, peak_rss_mb
from enas_tf.training.distribution import device_name

_BATCHES = (1, 8, 64)
_SEQUENCE_LENGTH = 35


def serving(folder: str, steps: int) -> dict[str, Any]:
    """Measures an export's `serving_default` signature, on inputs of zeros.

    Args:
        folder: the version's folder, which holds `saved_model.pb`.
        steps: the number of responses to measure for each batch size.

    Returns:
        A dict with `case`; `device`; `load_seconds`; `latency_ms`, the median for each batch size;
        and `peak_rss_mb`, in MiB.
    """
    # A session of TensorFlow 1 runs the graph in C++, as a server does.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        begin = time.perf_counter()
        model = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], folder)
        load_seconds = time.perf_counter() - begin
        signature = model.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        latencies = {}
        for batch in _BATCHES:
            inputs = _zeros(signature.inputs, batch)
            seconds = []
            for _ in range(WARM_UP + steps):
                begin = time.perf_counter()
                session.run(outputs, inputs)
                seconds.append(time.perf_counter() - begin)
            latencies[str(batch)] = 1000 * median(seconds[WARM_UP:])
    return {
        "case": "serving",
        "device": device_name(),
        "load_seconds": load_seconds,
        "latency_ms": latencies,
        "peak_rss_mb": peak_rss_mb(),
    }


def _zeros(inputs: Mapping[str, Any], batch: int) -> dict[str, np.ndarray]:
    """Returns zeros for each input; open sizes after the batch's are taken as sequence lengths."""
    values = {}
    for info in inputs.values():
        shape = tf.TensorShape(info.tensor_shape).as_list()
        sizes = [_SEQUENCE_LENGTH if size is None else size for size in shape[1:]]
        values[info.name] = np.zeros([batch, *sizes], tf.as_dtype(info.dtype).as_numpy_dtype)
    return values
