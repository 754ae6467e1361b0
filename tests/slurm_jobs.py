"""Runs jobs of several processes as Slurm's srun starts them, all on this machine.

    python -m tests.slurm_jobs [--launcher=cifar_micro] [--processes=2] [flags of the launcher]

This takes minutes; of the tests, the long ones run it. It searches with one process, then with one
process on as many logical devices as the job has processes, then with the job: the last two must
record the same figures. It prints how long a step of the shared weights took in each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.launching import ROOT, Result, command, environment

_WANTED = ("loss", "accuracy", "perplexity", "reward", "baseline", "uniform_reward")


def start_job(
    launcher: str, arguments: Sequence[str], folder: Path, count: int
) -> list[subprocess.Popen]:
    """Starts the processes of a job.

    Args:
        launcher: the name of the launcher.
        arguments: its flags and verb.
        folder: of the run.
        count: the number of processes.
    """
    step = {
        # Of the job comes the port, which must be free.
        "JOB_ID": os.getpid(),
        "STEP_NODELIST": "127.0.0.1",
        "STEP_NUM_TASKS": count,
        "STEP_TASKS_PER_NODE": count,
        "NODEID": 0,
    }
    return [
        subprocess.Popen(
            command(*arguments, f"--workdir={folder}", "--strategy=multiworker", launcher=launcher),
            cwd=ROOT,
            # gRPC would look for this machine behind the proxy.
            env=environment()
            | {"no_proxy": "127.0.0.1"}
            | {f"SLURM_{name}": str(value) for name, value in step.items()}
            | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: Sequence[subprocess.Popen]) -> list[Result]:
    """Waits for the processes of a job."""
    outputs = [process.communicate(timeout=600) for process in processes]
    return [Result(p.returncode, *texts) for p, texts in zip(processes, outputs, strict=True)]


def figures(folder: Path, phase: str = "search") -> np.ndarray:
    """Returns losses, accuracies or perplexities, and rewards of all records, in order."""
    lines = (folder / phase / "metrics.jsonl").read_text().splitlines()
    return np.array([[json.loads(line).get(name, 0) for name in _WANTED] for line in lines])


def seconds_per_step(folder: Path, batch_size: int) -> float:
    """Returns how long a step of the shared weights took in the last epoch, at best."""
    lines = map(json.loads, (folder / "search/metrics.jsonl").read_text().splitlines())
    speeds = [
        line.get("images_per_second") or line["tokens_per_second"]
        for line in lines
        if line["phase"] == "child"
    ]
    return batch_size / max(speeds)


def main() -> int:
    """Prints what differs; returns the exit status, 1 if too much does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launcher", default="cifar_micro")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    options, flags = parser.parse_known_args()
    count, root = options.processes, Path(tempfile.mkdtemp(prefix="slurm_jobs_"))
    flags += [f"--search.batch_size={options.batch}", f"--search.arcs_per_update={count}", "search"]
    ways = {
        "one": lambda folder: [_start_one(options.launcher, flags, folder, 1)],
        "devices": lambda folder: [_start_one(options.launcher, flags, folder, count)],
        "processes": lambda folder: start_job(options.launcher, flags, folder, count),
    }
    for way, start in ways.items():
        for result in ended(start(root / way)):
            if result.status:
                print(result.stderr)
                return 1
        seconds = seconds_per_step(root / way, options.batch)
        print(f"{way}: {1000 * seconds:.1f} ms a step", flush=True)
    wanted, found = figures(root / "devices"), figures(root / "processes")
    largest = np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1e-3))
    print(f"largest difference of processes from devices, of each figure: {largest:.1e}")
    return int(largest > 1e-3)


def _start_one(launcher: str, flags: Sequence[str], folder: Path, devices: int) -> subprocess.Popen:
    split = [f"--logical_devices={devices}"] if devices > 1 else []
    return subprocess.Popen(
        command(*flags, *split, f"--workdir={folder}", launcher=launcher),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main())
