"""Runs launchers as a user does, with settings for runs of seconds, without TensorFlow here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]

_IMAGE_FLAGS = [
    "--preset=tiny",
    "--deterministic",
    "--child.out_filters=4",
    "--child.keep_prob=0.9",
    "--search.num_epochs=2",
    "--search.max_steps=3",
    "--search.batch_size=16",
    "--search.updates_per_epoch=2",
    "--search.arcs_per_update=2",
    "--derive.num_samples=4",
    "--derive.num_batches=1",
    "--train.num_epochs=2",
    "--train.max_steps=3",
    "--train.batch_size=16",
    "--train.out_filters=4",
]

FLAGS = [*_IMAGE_FLAGS, "--space.num_nodes=1", "--child.num_layers=3"]

_MACRO_FLAGS = [*_IMAGE_FLAGS, "--space.num_layers=4"]

_RNN_FLAGS = [
    "--preset=tiny",
    "--deterministic",
    "--space.num_nodes=2",
    "--child.hidden_size=8",
    "--search.num_epochs=2",
    "--search.max_steps=3",
    "--search.batch_size=16",
    "--search.updates_per_epoch=2",
    "--search.arcs_per_update=2",
    "--derive.num_samples=4",
    "--derive.num_batches=1",
    "--train.num_epochs=2",
    "--train.max_steps=3",
    "--train.batch_size=16",
    "--train.hidden_size=8",
]

_FLAGS_OF = {
    "cifar_micro": FLAGS,
    "cifar_macro": _MACRO_FLAGS,
    "ptb_rnn": _RNN_FLAGS,
    "nasbench201": _IMAGE_FLAGS,
}

# Runs several commands in one process, so that TensorFlow is imported only once. Output is
# redirected by file descriptors, to catch what C++ writes too.
_IN_TURN = """
import importlib, json, os, sys, tempfile, traceback
from launchers.cli import launch

name = sys.argv[3]
usage = importlib.import_module(f"launchers.{name}").__doc__

def run(arguments):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        try:
            status = launch(name.upper(), usage, [name, *arguments])
        except SystemExit as exit:
            status = exit.code
        except BaseException:
            status = 1
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return status, *texts

with open(sys.argv[1], "w") as file:
    json.dump([run(arguments) for arguments in json.loads(sys.argv[2])], file)
"""


class Result(NamedTuple):
    """The result of a command."""

    status: int
    stdout: str
    stderr: str


def command(*arguments: str, launcher: str = "cifar_micro") -> list[str]:
    """Returns a launcher's command line with the smallest settings."""
    return [sys.executable, "-m", f"launchers.{launcher}", *_FLAGS_OF[launcher], *arguments]


def environment() -> dict[str, str]:
    """Returns a user's environment, in which no data set can be downloaded."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TF_")}
    # Without cached programs, so that tests do not depend on earlier runs.
    kept["ENAS_TF_XLA_CACHE"] = ""
    return kept | dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


def launch(*arguments: str, launcher: str = "cifar_micro") -> Result:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        command(*arguments, launcher=launcher),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def launch_in_turn(
    folder: Path, commands: dict[str, list[str]], launcher: str = "cifar_micro"
) -> dict[str, Result]:
    """Runs commands in turn in one process; returns their results by the same names."""
    arguments = json.dumps([[*_FLAGS_OF[launcher], *given] for given in commands.values()])
    results = folder / "results.json"
    script = [sys.executable, "-c", _IN_TURN, str(results), arguments, launcher]
    subprocess.run(script, cwd=ROOT, env=environment(), check=True)
    return {
        name: Result(*result)
        for name, result in zip(commands, json.loads(results.read_text()), strict=True)
    }


def write_images(folder: Path, height: int, width: int, channels: int, per_class: int = 20) -> str:
    """Writes images of two classes, dark and light ones; returns the flag that selects them."""
    generator = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
        low = 128 if name == "light" else 0
        for number in range(per_class):
            image = generator.integers(low, low + 128, (height, width, channels)).astype(np.uint8)
            picture = Image.fromarray(image[..., 0] if channels == 1 else image)
            picture.save(folder / name / f"{number}.png")
    return f"--dataset=folder:{folder}"
