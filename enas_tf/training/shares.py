"""The share of a machine that each of several processes gets."""

import itertools
import os
import re
import subprocess
from collections.abc import MutableMapping
from dataclasses import dataclass

_GPUS, _GROWTH = "CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH"
_THREADS = "TF_NUM_INTRAOP_THREADS"


@dataclass(frozen=True)
class Share:
    """What one process may use.

    Attributes:
        gpus: their names, as CUDA_VISIBLE_DEVICES takes them; none where the machine has none.
        cores: the numbers of CPU cores; none where the system does not bind processes to cores.
        threads: how many threads share an op. As many as without a share: how an op is split
            decides how its sums are rounded.
    """

    gpus: tuple[str, ...]
    cores: tuple[int, ...]
    threads: int

    def set_in(self, environment: MutableMapping[str, str]) -> None:
        """Sets what TensorFlow and CUDA read from the environment; the cores are not among it."""
        if self.gpus:
            environment[_GPUS] = ",".join(self.gpus)
        if self.cores:
            environment.setdefault(_THREADS, str(self.threads))
        leave_memory_to_others(environment)


def split_machine(count: int) -> tuple[list[Share], str]:
    """Splits the GPUs and the CPU cores that this process may use into equal shares.

    Where there are fewer of them than shares, several shares have the same one. What an equal split
    leaves over is in no share, so that runs do not differ by their number of devices.

    Returns:
        The shares; and what each of them is, in words.
    """
    gpus, cores = visible_gpus(), _usable_cores()
    shares = [
        Share(_part(gpus, place, count), _part(cores, place, count), len(cores))
        for place in range(count)
    ]
    words = [_in_words(gpus, count, "GPUs"), _in_words(cores, count, "CPU cores")]
    return shares, " and ".join(filter(None, words))


def leave_memory_to_others(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has TensorFlow take a GPU's memory as it needs it, for processes that share a GPU.

    Works only before TensorFlow starts its devices.
    """
    environment.setdefault(_GROWTH, "true")


def visible_gpus() -> list[str]:
    """Names the GPUs that TensorFlow would see, without starting them.

    Returns:
        Names as CUDA_VISIBLE_DEVICES takes them: those that it holds; where it is not set, the
        UUIDs that `nvidia-smi` lists. For a GPU that is split (MIG), its parts are listed.
    """
    given = os.environ.get(_GPUS)
    if given is not None:
        names = (name.strip() for name in given.split(","))
        # CUDA leaves out the first name that is none, and all after it.
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return []
    groups: list[list[str]] = []
    for uuid in re.findall(r"\(UUID: ([^)]+)\)", done.stdout):
        if uuid.startswith("MIG-"):
            groups[-1].append(uuid)
        else:
            groups.append([uuid])
    return [name for group in groups for name in (group[1:] or group)]


def _usable_cores() -> list[int]:
    """Returns the numbers of the cores that this process may use; none where that is not known."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _part(things: list, place: int, count: int) -> tuple:
    """Returns the part at a place of `count` equal ones."""
    each = len(things) // count
    if not each:
        return (things[place % len(things)],) if things else ()
    return tuple(things[place * each : (place + 1) * each])


def _in_words(things: list, count: int, kind: str) -> str:
    if not things:
        return ""
    shared = " (shared)" if count > len(things) else ""
    return f"{max(1, len(things) // count)} of {len(things)} {kind}{shared}"
