import os
import subprocess

import pytest

from enas_tf.training import shares
from enas_tf.training.shares import Share, split_machine, visible_gpus

TWO = """GPU 0: NVIDIA H100 (UUID: GPU-aa)
GPU 1: NVIDIA H100 (UUID: GPU-bb)
"""
SPLIT = """GPU 0: NVIDIA A100 (UUID: GPU-aa)
  MIG 1g.5gb      Device  0: (UUID: MIG-1)
  MIG 1g.5gb      Device  1: (UUID: MIG-2)
GPU 1: NVIDIA A100 (UUID: GPU-bb)
"""


@pytest.fixture
def listed(monkeypatch):
    """Has `nvidia-smi` list what is put in."""
    text = []

    def run(command, **_):
        if not text:
            raise FileNotFoundError
        assert command == ["nvidia-smi", "-L"]
        return subprocess.CompletedProcess(command, 0, stdout=text[0])

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    return text


@pytest.mark.parametrize(
    ("text", "names"),
    [(TWO, ["GPU-aa", "GPU-bb"]), (SPLIT, ["MIG-1", "MIG-2", "GPU-bb"]), ("No devices\n", [])],
)
def test_gpus_are_those_that_nvidia_smi_lists(listed, text, names):
    assert visible_gpus() == []
    listed.append(text)
    assert visible_gpus() == names


@pytest.mark.parametrize(
    ("given", "names"),
    [("", []), ("-1", []), ("2, 0", ["2", "0"]), ("1,-1,0", ["1"]), ("MIG-1,GPU-b", None)],
)
def test_those_that_are_visible_already_are_the_only_ones(listed, monkeypatch, given, names):
    listed.append(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == (given.split(",") if names is None else names)


@pytest.mark.parametrize(
    ("gpus", "cores", "count", "wanted", "words"),
    [
        ("ab", range(4), 2, ["a01", "b23"], "1 of 2 GPUs and 2 of 4 CPU cores"),
        ("abcde", range(3), 2, ["ab0", "cd1"], "2 of 5 GPUs and 1 of 3 CPU cores"),
        ("a", [6], 2, ["a6", "a6"], "1 of 1 GPUs (shared) and 1 of 1 CPU cores (shared)"),
        ("ab", range(2), 3, ["a0", "b1", "a0"], None),
        ("", range(2), 2, ["0", "1"], "1 of 2 CPU cores"),
        ("", [], 2, ["", ""], ""),
    ],
)
def test_shares_are_equal(monkeypatch, gpus, cores, count, wanted, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(gpus))
    monkeypatch.setattr(shares, "_usable_cores", lambda: list(cores))
    found, told = split_machine(count)
    assert ["".join(one.gpus) + "".join(map(str, one.cores)) for one in found] == wanted
    # An op must be split as without shares, or its sums would be rounded differently.
    assert {one.threads for one in found} == {len(cores)}
    assert words is None or told == words


def test_what_the_user_has_set_stays():
    environment = {"TF_NUM_INTRAOP_THREADS": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    Share(("a", "b"), (0,), 8).set_in(environment)
    assert environment.pop("CUDA_VISIBLE_DEVICES") == "a,b"
    assert environment == {"TF_NUM_INTRAOP_THREADS": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    environment = {}
    Share((), (0,), 8).set_in(environment)
    assert environment == {"TF_NUM_INTRAOP_THREADS": "8", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def test_the_cores_are_those_that_this_process_may_use():
    assert shares._usable_cores() == sorted(os.sched_getaffinity(0))
