"""Digests of all weights after eight steps of each space's search, and of its final training.

    python -m tests.eight_steps > before.json

A change that only moves code must not change them, whatever files, classes and variables are
called. Digests can be compared only on one machine, with one version of TensorFlow.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

from tests.launching import launch
from tests.random_kills import contents, last_checkpoint

_STEPS = [
    *("--search.num_epochs=1", "--search.max_steps=8", "--search.updates_per_epoch=8"),
    *("--train.num_epochs=1", "--train.max_steps=8"),
]

VARIANTS = {
    "micro": ("cifar_micro", []),
    "micro, averages and drop path": (
        "cifar_micro",
        ["--search.reward_bn=moving", "--child.drop_path_keep_prob=0.7", "--space.num_nodes=3"],
    ),
    "macro": ("cifar_macro", []),
    "macro, averages, drop path, auxiliary head and seven ops": (
        "cifar_macro",
        [
            *("--search.reward_bn=moving", "--child.drop_path_keep_prob=0.7", "--space.ops=7"),
            *("--child.aux_head", "--train.aux_head", "--train.drop_path_keep_prob=0.7"),
        ],
    ),
    "macro, chosen channels": ("cifar_macro", ["--space.search_channels"]),
    "nasbench201": ("nasbench201", []),
    "rnn": ("ptb_rnn", []),
    "rnn, loose ends": ("ptb_rnn", ["--child.output=loose_ends", "--space.num_nodes=4"]),
}
"""The launcher of each variant, and its flags besides those of `tests.launching`."""


def digests(variant: str, folder: Path) -> dict[str, list]:
    """Runs a variant in a folder; returns digests of its weights, and its metrics, by phase.

    Raises:
        RuntimeError: if a command failed.
    """
    launcher, flags = VARIANTS[variant]
    for verb in ("search", "derive", "train"):
        done = launch(verb, *_STEPS, *flags, f"--workdir={folder}", launcher=launcher)
        if done.status:
            raise RuntimeError(f"{verb} of {variant}: {done.stderr}")
    return {
        phase: [weights_digest(folder / phase), *contents(folder / phase / "metrics.jsonl")]
        for phase in ("search", "train")
    }


def weights_digest(phase_folder: Path) -> str:
    """Returns the digest of all float32 arrays in the last checkpoint, whatever their names."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(last_checkpoint(phase_folder) / "variables"))
    kinds = reader.get_variable_to_dtype_map()
    arrays = [reader.get_tensor(name) for name, kind in kinds.items() if kind == tf.float32]
    found = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()


def main() -> None:
    """Prints all digests as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="only this one")
    chosen = parser.parse_args().variant or list(VARIANTS)
    found = {}
    for variant in chosen:
        with tempfile.TemporaryDirectory() as folder:
            found[variant] = digests(variant, Path(folder) / "run")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
