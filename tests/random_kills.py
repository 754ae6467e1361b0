"""Kills runs at random moments, and holds what they leave to what an unbroken run leaves.

    python -m tests.random_kills [--launcher=cifar_micro] [--kills=10] [--seed=0]

This takes minutes, so it is not a test of the suite. Each phase gets the requested number of
SIGKILLs, each at a random moment after the first step that a process takes. A checkpoint is
written every few steps, so that some kills hit the writing of one. A run that reaches its end must
have left the same metrics, architectures and weights as an unbroken run, to the last bit; the next
kills go to a new run.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.launching import ROOT, command, environment

_EPOCHS = 20
_VERBS = {"search": ["search"], "train": ["derive", "train"]}
_KILLS_A_RUN = 3


def run(launcher: str, verb: str, folder: Path, seconds: float | None) -> tuple[bool, float]:
    """Runs a verb, and kills it some seconds after its first step.

    Args:
        launcher: the name of the launcher.
        verb: the verb.
        folder: the folder of the run.
        seconds: the seconds from the first step to the kill; None does not kill.

    Returns:
        Whether the verb reached its end; and the seconds that it ran from its first step on.

    Raises:
        RuntimeError: if the verb failed.
    """
    flags = [f"--{phase}.num_epochs={_EPOCHS}" for phase in _VERBS]
    process = subprocess.Popen(
        command(verb, *flags, f"--workdir={folder}", launcher=launcher),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    # The first line on an epoch says that steps are being taken.
    while (line := process.stdout.readline()) and ": epoch " not in line:
        pass
    started = time.monotonic()
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False, time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{verb} in {folder} ended with status {process.returncode}")
    return True, time.monotonic() - started


def last_checkpoint(folder: Path) -> Path | None:
    """Returns the newest checkpoint in a phase's folder, or None."""
    return max(folder.glob("checkpoints/step_?????????"), default=None)


def contents(path: Path) -> list:
    """Returns the records of a JSON file, without what depends on the machine's speed."""
    text = path.read_text()
    records = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else None
    records = records or json.loads(text)
    return [
        {name: value for name, value in record.items() if "second" not in name}
        for record in (records if isinstance(records, list) else [records])
    ]


def differences(whole: Path, killed: Path, phase: str) -> list[str]:
    """Returns the names of what differs between two folders after a phase."""
    names = {"search": ["metrics.jsonl", "arcs.jsonl"], "train": ["metrics.jsonl", "result.json"]}
    found = [
        name
        for name in names[phase]
        if contents(whole / phase / name) != contents(killed / phase / name)
    ]
    return found + weights_that_differ(whole / phase, killed / phase)


def weights_that_differ(whole: Path, killed: Path) -> list[str]:
    """Returns the names of variables that differ in any bit between two last checkpoints."""
    import tensorflow as tf

    first, second = (
        tf.train.load_checkpoint(str(last_checkpoint(folder) / "variables"))
        for folder in (whole, killed)
    )
    names = first.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return [n for n in names if not np.array_equal(first.get_tensor(n), second.get_tensor(n))]


def kill(launcher: str, phase: str, root: Path, kills: int, moments: random.Random) -> list[str]:
    """Kills runs of a phase `kills` times; returns what differs at their ends."""
    before, whole, verb = root / f"before_{phase}", root / "whole", _VERBS[phase][-1]
    shutil.copytree(whole, before)
    _, lasts = run(launcher, verb, whole, None)
    found, behind, folders = [], [], itertools.count()
    while len(behind) < kills:
        folder = root / f"{phase}_{next(folders)}"
        shutil.copytree(before, folder)
        has_ended = False
        while not has_ended:
            may_kill = len(behind) < kills
            seconds = moments.uniform(0, 2 * lasts / _KILLS_A_RUN) if may_kill else None
            has_ended, _ = run(launcher, verb, folder, seconds)
            if not has_ended:
                newest = last_checkpoint(folder / phase)
                behind.append(int(newest.name.removeprefix("step_")) if newest else None)
        found += differences(whole, folder, phase)
    print(f"{launcher} {phase}: killed behind the checkpoints {behind}", flush=True)
    return found


def main() -> int:
    """Prints the result of each phase; returns the exit status, 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launcher", default="cifar_micro")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments, status = random.Random(options.seed), 0
    root = Path(tempfile.mkdtemp(prefix="random_kills_"))
    (root / "whole").mkdir()
    for phase, verbs in _VERBS.items():
        for verb in verbs[:-1]:
            run(options.launcher, verb, root / "whole", None)
        found = kill(options.launcher, phase, root, options.kills, moments)
        print(f"  {', '.join(found)} differ" if found else "  the same bits", flush=True)
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
