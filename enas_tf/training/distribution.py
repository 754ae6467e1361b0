"""Devices: the strategies that spread work over them, and the distribution of batches."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import tensorflow as tf

from enas_tf.core.errors import UserError, raised_in_pipelines
from enas_tf.training.cluster import find_cluster

StrategyName = Literal["auto", "one", "mirrored", "multiworker"]
JitCompile = Literal["auto", "true", "false"]
ShardedBatches = Callable[[tuple[int, int]], tf.data.Dataset]
"""A function that returns the part of all batches that belongs to shard `(index, count)`."""

# The share of a GPU's free memory for logical devices; CUDA, cuDNN and cuBLAS need some as well.
_SHARED_MEMORY = 0.8


def make_strategy(name: StrategyName, logical_devices: int = 0) -> tf.distribute.Strategy:
    """Returns the strategy with a name.

    Without a GPU, this turns TensorFlow's remapping of graphs off for the whole process.

    Args:
        name: `auto` uses all GPUs, or all logical devices, if there are several, otherwise one
            device; `one` the first device; `mirrored` all devices of this machine; `multiworker`
            those of all processes that `find_cluster` finds.
        logical_devices: number of devices to split each GPU into, or the CPU if there is no GPU;
            0 leaves them whole.

    Raises:
        UserError: devices cannot be split, because TensorFlow has started or because nothing
            reports a GPU's free memory; or there is no cluster.
    """
    if not tf.config.list_physical_devices("GPU"):
        # TensorFlow would fuse batch norm and relu, which makes CPUs slower (docs/performance.md).
        tf.config.optimizer.set_experimental_options({"remapping": False})
    if logical_devices > 1:
        _split_devices(logical_devices)
    if name == "multiworker":
        # Before the next lines, which start TensorFlow's devices.
        strategy = tf.distribute.MultiWorkerMirroredStrategy(find_cluster())
        # All shards have equally many batches. Otherwise the processes would tell one another
        # before each batch whether they have one, in a thread pool of its own that TensorFlow
        # leaves open when a process is lost.
        strategy.extended.experimental_enable_get_next_as_optional = False
        return strategy
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if name == "mirrored" or (name == "auto" and len(names) > 1):
        return tf.distribute.MirroredStrategy(names)
    return tf.distribute.OneDeviceStrategy(names[0])


def is_mirrored(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a strategy keeps a copy of each variable per replica, even if only one."""
    mirrored = tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy
    return isinstance(strategy, mirrored)


def on_gpu(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a strategy's replicas run on GPUs."""
    try:
        devices = strategy.extended.worker_devices
    except RuntimeError:
        # TensorFlow's default strategy names no devices; it uses a GPU if there is one.
        return bool(tf.config.list_logical_devices("GPU"))
    return tf.DeviceSpec.from_string(devices[0]).device_type == "GPU"


def compiles(
    jit_compile: JitCompile, strategy: tf.distribute.Strategy, final: bool = False
) -> bool:
    """Returns whether XLA compiles the steps under a strategy.

    Args:
        jit_compile: `auto` compiles the steps of the search on GPUs, but not those of a final
            network, which take minutes to compile.
        strategy: the strategy that the steps run under.
        final: whether the steps are those of a final network.
    """
    if jit_compile == "auto":
        return on_gpu(strategy) and not final
    return jit_compile == "true"


def device_name() -> str:
    """Returns the name of the first GPU, or of the CPU if there is no GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    return cpu_name()


def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the CPU's model, or its architecture if the system does not report the model.

    Args:
        info: the file in which Linux describes the CPU.
    """
    found = info.exists() and re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _split_devices(count: int) -> None:
    """Splits each GPU, or the CPU if there is no GPU, into `count` logical devices."""
    gpus = tf.config.list_physical_devices("GPU")
    # All GPUs, not just one: TensorFlow uses NCCL, which refuses two devices on one card, unless
    # there are more logical GPUs than cards.
    devices = gpus or tf.config.list_physical_devices("CPU")[:1]
    parts_of = tf.config.get_logical_device_configuration
    # Devices that are split already are left alone: a second split would ask for less memory than
    # the first one, when more of it was free.
    devices = [device for device in devices if len(parts_of(device) or ()) != count]
    if not devices:
        return
    limit = int(_SHARED_MEMORY * _free_gpu_mib() / count) if gpus else None
    parts = [tf.config.LogicalDeviceConfiguration(memory_limit=limit)] * count
    try:
        for device in devices:
            tf.config.set_logical_device_configuration(device, parts)
    except RuntimeError as error:
        raise UserError("logical_devices must be set before TensorFlow starts") from error


def _free_gpu_mib() -> int:
    """Returns the free memory of the GPU that has the least, in MiB."""
    # From nvidia-smi, since TensorFlow reports it too late: once its devices have started.
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        command.append(f"--id={visible}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return min(int(line) for line in done.stdout.splitlines())
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UserError(
            "--logical_devices splits a GPU by its free memory, which nvidia-smi does not report "
            "here; leave the flag out, or hide the GPUs by CUDA_VISIBLE_DEVICES=-1 to split the CPU"
        ) from error


class DistributedBatches:
    """Batches of a data set, on one device or distributed.

    Attributes:
        element_spec: what a batch consists of.
    """

    def __init__(self, batches) -> None:
        self.element_spec = batches.element_spec
        self._batches = batches

    def __iter__(self) -> Iterator:
        """Starts reading; yields the batches.

        Raises:
            UserError: an image can no longer be read.
        """
        return self._read(iter(self._batches))

    def _read(self, batches: Iterator) -> Iterator:
        while True:
            with raised_in_pipelines():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def distribute(strategy: tf.distribute.Strategy, batches: ShardedBatches) -> DistributedBatches:
    """Distributes batches; each replica of the strategy gets its own shard of every batch."""

    def worker_batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shards = [batches((first + place, replicas)) for place in range(local)]
        if local == 1:
            return shards[0]
        # TensorFlow gives the replicas of a worker one element after another, in turn.
        turns = tf.data.Dataset.range(local).repeat()
        return tf.data.Dataset.choose_from_datasets(shards, turns)

    return DistributedBatches(strategy.distribute_datasets_from_function(worker_batches))
