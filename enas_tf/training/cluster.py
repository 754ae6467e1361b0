"""Finds the processes of a job by what its scheduler has put into the environment."""

import json
import os
from typing import Any

import tensorflow as tf

from enas_tf.core.errors import UserError

Resolver = tf.distribute.cluster_resolver.ClusterResolver

_SLURM = [
    f"SLURM_{name}"
    for name in (
        "JOB_ID",
        "STEP_NODELIST",
        "STEP_NUM_TASKS",
        "STEP_TASKS_PER_NODE",
        "PROCID",
        "NODEID",
        "LOCALID",
    )
]

_EXAMPLE = (
    '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}'
)

# Slurm jobs use ports from here on, below those that systems hand out; each job its own ones, so
# that two may share a node.
_FIRST_PORT, _PORTS_OF_A_JOB, _JOBS = 12_000, 16, 1_000


def find_cluster() -> Resolver:
    """Finds this process's place among the processes of its job.

    `TF_CONFIG` says it, which Kubernetes' training operator or a user sets; else the variables that
    Slurm's `srun` sets. Where several Slurm tasks see the same GPUs, each takes its share of them.

    Raises:
        UserError: none of them is set, or what is set names no cluster with this process in it.
    """
    if "TF_CONFIG" in os.environ:
        return _by_tf_config(os.environ["TF_CONFIG"])
    missing = [name for name in _SLURM if name not in os.environ]
    if not missing:
        return _by_slurm()
    if "SLURM_JOB_ID" in os.environ:
        raise UserError(
            f"--strategy=multiworker runs in a Slurm job, but {missing[0]} is not set: start the "
            "processes by srun"
        )
    raise UserError(
        "--strategy=multiworker finds the processes of its job by the environment variable "
        f"TF_CONFIG, such as {_EXAMPLE}, or by those that Slurm's srun sets; it has neither"
    )


class SlurmResolver(tf.distribute.cluster_resolver.SlurmClusterResolver):
    """The tasks of a Slurm job step, with Slurm's own numbers.

    TensorFlow's resolver sorts the nodes by name, which puts n10 before n9, but numbers tasks as
    Slurm does, by its list of nodes. It also fails on nodes without GPUs, and hands out GPUs that
    Slurm has handed out already.

    Args:
        first_port: of the first task of each node; further tasks take the next ones.

    Raises:
        RuntimeError, ValueError: Slurm's variables are missing or malformed.
    """

    def __init__(self, first_port: int) -> None:
        super().__init__(port_base=first_port, gpus_per_node=0, gpus_per_task=0, auto_set_gpu=False)
        self.tasks = [
            (node, place)
            for node, count in enumerate(self._task_configuration.values())
            for place in range(count)
        ]
        """The node of each task, and its place on the node."""
        self.task_type, self.task_id = "worker", self._rank

    def cluster_spec(self) -> tf.train.ClusterSpec:
        """Returns the address of each task."""
        hosts = list(self._task_configuration)
        return tf.train.ClusterSpec(
            {"worker": [f"{hosts[node]}:{self._port_base + place}" for node, place in self.tasks]}
        )

    def num_accelerators(self, *_: Any, **__: Any) -> dict[str, int]:
        """Returns the number of GPUs that this task uses."""
        return {"GPU": len(tf.config.list_logical_devices("GPU"))}


def _by_tf_config(text: str) -> Resolver:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error})") from error
    if not _names_this_process(config):
        raise UserError(
            "TF_CONFIG must name all processes of the job and which of them this one is, as in "
            f"{_EXAMPLE}, got {' '.join(text.split())[:200]}"
        )
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _names_this_process(config: Any) -> bool:
    try:
        task = config["task"]
        return int(task["index"]) in range(len(config["cluster"][task["type"]]))
    except (LookupError, TypeError, ValueError):
        return False


def _by_slurm() -> Resolver:
    try:
        job, rank, node, place = (
            int(os.environ[f"SLURM_{name}"]) for name in ("JOB_ID", "PROCID", "NODEID", "LOCALID")
        )
        resolver = SlurmResolver(_FIRST_PORT + job % _JOBS * _PORTS_OF_A_JOB)
        expected = resolver.tasks[rank]
    except (LookupError, RuntimeError, ValueError) as error:
        given = ", ".join(f"{name}={os.environ[name]}" for name in _SLURM)
        raise UserError(f"Slurm's variables name no cluster with this task: {given}") from error
    if (node, place) != expected:
        raise UserError(
            f"Slurm runs task {rank} on node {node} of the job, where node {expected[0]} was "
            "expected; have it number tasks node by node: srun --distribution=block"
        )
    _take_gpus(place, sum(other == node for other, _ in resolver.tasks))
    return resolver


def _take_gpus(place: int, tasks: int) -> None:
    """Takes a task's share of the GPUs that all tasks of its node see."""
    gpus = tf.config.list_physical_devices("GPU")
    is_given_own = {"SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"} & set(os.environ)
    if is_given_own or len(gpus) < tasks:
        return
    share = len(gpus) // tasks
    tf.config.set_visible_devices(gpus[place * share : (place + 1) * share], "GPU")
