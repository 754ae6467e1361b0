import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from enas_tf.errors import UserError
from enas_tf.strategies import distribute, make_strategy
from tests import tiny


def one():
    return make_strategy("one")


@pytest.mark.parametrize(
    ("strategy", "replicas"), [(one, 1), (tiny.two_devices, 2)], ids=["one", "mirrored"]
)
def test_replicas(strategy, replicas):
    assert strategy().num_replicas_in_sync == replicas


def test_auto_takes_all_devices():
    assert make_strategy("auto").num_replicas_in_sync == 2


def test_graphs_are_not_remapped_without_a_gpu():
    make_strategy("one")
    assert tf.config.optimizer.get_experimental_options()["remapping"] is False


def test_devices_cannot_be_split_once_tensorflow_has_started():
    tf.zeros([])
    with pytest.raises(UserError, match="must be set before TensorFlow starts"):
        make_strategy("mirrored", logical_devices=3)


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        '{"cluster": []}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": 0}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "one"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_cluster_without_this_machine_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="needs the environment variable TF_CONFIG, which names"):
        make_strategy("multiworker")


@pytest.mark.parametrize(("name", "devices", "replicas"), [("auto", 3, 3), ("one", 3, 1)])
def test_splits_the_cpu_in_a_fresh_process(name, devices, replicas):
    code = (
        "from enas_tf.strategies import make_strategy; "
        f"print(make_strategy({name!r}, {devices}).num_replicas_in_sync)"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[1]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert json.loads(shown.splitlines()[-1]) == replicas


def batches(shard):
    """Batches 0, 10, 20 of one element a shard, which says whose it is."""
    index, count = shard
    return tf.data.Dataset.from_tensor_slices([100 * count + 10 * n + index for n in range(3)])


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [(one, [[100], [110], [120]]), (tiny.two_devices, [[200, 201], [210, 211], [220, 221]])],
    ids=["one", "mirrored"],
)
def test_every_replica_gets_its_own_shard_of_each_batch(strategy, wanted):
    strategy = strategy()
    shown = [
        [int(value) for value in strategy.experimental_local_results(batch)]
        for batch in distribute(strategy, batches)
    ]
    assert shown == wanted
