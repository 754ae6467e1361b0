import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.training import distribution
from enas_tf.training.distribution import (
    compiles,
    cpu_name,
    device_name,
    distribute,
    make_strategy,
    on_gpu,
)
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


@pytest.fixture
def cards(monkeypatch):
    """Two cards' answers in place of this machine's; returns what they were split into."""
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(2)]
    parts = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", parts.__setitem__)
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", parts.get)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return parts


def limits(parts):
    return {device.name[-5:]: [one.memory_limit for one in of] for device, of in parts.items()}


def answer_for_nvidia_smi(monkeypatch, folder, script):
    """Puts a program of that name before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_splits_every_gpu_by_the_least_free_memory(cards, monkeypatch, tmp_path):
    answer_for_nvidia_smi(
        monkeypatch, tmp_path, f"echo $* >> {tmp_path}/asked; printf '900\\n700\\n'"
    )
    make_strategy("one", logical_devices=2)
    # Four fifths of 700 MiB, in two.
    assert limits(cards) == {"GPU:0": [280, 280], "GPU:1": [280, 280]}
    # A second strategy of the same process leaves them as they are, and asks for nothing.
    make_strategy("one", logical_devices=2)
    asked = (tmp_path / "asked").read_text()
    assert asked == "--query-gpu=memory.free --format=csv,noheader,nounits\n"


def test_asks_for_the_visible_gpus_alone(cards, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    answer_for_nvidia_smi(monkeypatch, tmp_path, '[ "$3" = --id=3,GPU-5f ] && echo 3001')
    make_strategy("one", logical_devices=3)
    assert limits(cards)["GPU:0"] == [800] * 3


@pytest.mark.parametrize("script", ["echo no driver; exit 9", "echo '[N/A]'", "exit 0"])
def test_a_gpu_of_unknown_memory_is_not_split(cards, monkeypatch, tmp_path, script):
    answer_for_nvidia_smi(monkeypatch, tmp_path, script)
    with pytest.raises(
        UserError, match="which nvidia-smi does not report here; leave the flag out"
    ):
        make_strategy("one", logical_devices=2)
    assert not cards


def test_a_gpu_is_not_split_without_nvidia_smi(cards, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES=-1"):
        make_strategy("one", logical_devices=2)


@pytest.mark.parametrize(("name", "devices", "replicas"), [("auto", 3, 3), ("one", 3, 1)])
def test_splits_the_cpu_in_a_fresh_process(name, devices, replicas):
    code = (
        "from enas_tf.training.distribution import make_strategy; "
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


def test_the_processes_of_a_job_read_without_asking_each_other(monkeypatch):
    nobody = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec({}))
    monkeypatch.setattr(distribution, "find_cluster", lambda: nobody)
    strategy = make_strategy("multiworker")
    # With others, TensorFlow would reduce over all before each batch whether they have one.
    monkeypatch.setattr(strategy.extended, "_in_multi_worker_mode", lambda: True)
    monkeypatch.setattr(strategy, "reduce", None)
    read = distribute(strategy, batches)
    shown = [int(strategy.experimental_local_results(batch)[0]) for batch in read]
    assert shown == [100, 110, 120]


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_steps_are_compiled_on_gpus_or_where_that_is_asked_for(device):
    # A strategy can be made for a device that is not there.
    strategy = tf.distribute.OneDeviceStrategy(f"{device}:0")
    assert on_gpu(strategy) == (device == "GPU")
    assert compiles("auto", strategy) == (device == "GPU")
    assert not compiles("auto", strategy, final=True)
    for final in (False, True):
        assert compiles("true", strategy, final)
        assert not compiles("false", strategy, final)


def test_without_a_strategy_of_ours_a_cpu_alone_is_no_gpu():
    assert not on_gpu(tf.distribute.get_strategy())


def test_names_the_cpu_without_a_gpu(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t: a b\n")
    assert cpu_name(info) == "Some CPU @ 3 GHz"
    info.write_text("processor\t: 0\nCPU part\t: 0xd40\n")
    fallback = platform.processor() or platform.machine()
    assert cpu_name(info) == cpu_name(tmp_path / "none") == fallback
    assert device_name() == cpu_name()
