"""Devices: which strategy spreads the work over them, and how batches reach them."""

import json
import os
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from enas_tf.errors import UserError

StrategyName = Literal["auto", "one", "mirrored", "multiworker"]
JitCompile = Literal["auto", "true", "false"]
ShardedBatches = Callable[[tuple[int, int]], tf.data.Dataset]
"""Makes the part of all batches that belongs to shard `(index, count)`."""


def make_strategy(name: StrategyName, logical_devices: int = 0) -> tf.distribute.Strategy:
    """The strategy of a name.

    Args:
        name: `auto` takes all GPUs, or all logical devices, where there are several, else one
            device; `one` the first device; `mirrored` all devices of this machine; `multiworker`
            those of all machines that TF_CONFIG names.
        logical_devices: how many devices to split the CPU into; 0 leaves it whole. Has no effect
            once TensorFlow has started.

    Without a GPU, TensorFlow's remapping of graphs is turned off for the whole process.
    """
    if not tf.config.list_physical_devices("GPU"):
        # TensorFlow would fuse batch norm and relu, which makes CPUs slower (docs/performance.md).
        tf.config.optimizer.set_experimental_options({"remapping": False})
    if logical_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * logical_devices
        try:
            tf.config.set_logical_device_configuration(cpu, parts)
        except RuntimeError as error:
            raise UserError("logical_devices must be set before TensorFlow starts") from error
    if name == "multiworker":
        # Before anything starts TensorFlow's devices.
        return _make_multiworker()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if name == "mirrored" or (name == "auto" and len(names) > 1):
        return tf.distribute.MirroredStrategy(names)
    return tf.distribute.OneDeviceStrategy(names[0])


def is_mirrored(strategy: tf.distribute.Strategy) -> bool:
    """Whether it keeps a copy of each variable for each of its replicas, if only for one."""
    mirrored = tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy
    return isinstance(strategy, mirrored)


def on_gpu(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether a strategy's replicas run on GPUs."""
    try:
        devices = strategy.extended.worker_devices
    except RuntimeError:
        # TensorFlow's own default names no devices: it takes a GPU where there is one.
        return bool(tf.config.list_logical_devices("GPU"))
    return tf.DeviceSpec.from_string(devices[0]).device_type == "GPU"


def compiles(jit_compile: JitCompile, strategy: tf.distribute.Strategy) -> bool:
    """Tells whether XLA compiles the steps under a strategy: `auto` compiles on GPUs."""
    return on_gpu(strategy) if jit_compile == "auto" else jit_compile == "true"


def _make_multiworker() -> tf.distribute.MultiWorkerMirroredStrategy:
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error})") from error
    if not _names_this_machine(config):
        raise UserError(
            "--strategy=multiworker needs the environment variable TF_CONFIG, which names all "
            'machines and this one: {"cluster": {"worker": ["host1:port", "host2:port"]}, '
            '"task": {"type": "worker", "index": 0}}, got ' + " ".join(text.split())[:200]
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _names_this_machine(config: Any) -> bool:
    """Whether what TF_CONFIG holds has a task, and the task a place in the cluster."""
    try:
        task = config["task"]
        return int(task["index"]) in range(len(config["cluster"][task["type"]]))
    except (LookupError, TypeError, ValueError):
        return False


def distribute(strategy: tf.distribute.Strategy, batches: ShardedBatches):
    """Batches for the strategy's replicas, each of which gets its own shard of every batch."""

    def worker_batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shards = [batches((first + place, replicas)) for place in range(local)]
        if local == 1:
            return shards[0]
        # A worker with several replicas hands out one element after the other to them.
        turns = tf.data.Dataset.range(local).repeat()
        return tf.data.Dataset.choose_from_datasets(shards, turns)

    return strategy.distribute_datasets_from_function(worker_batches)
