"""Flags in combination: any two of them meet, in all of their values, in a whole pipeline.

    python -m tests.flag_pairs --launcher=cifar_micro

runs all of a launcher's pipelines, and ends with an error if one fails. XLA takes a minute for each
that it compiles, so that the tests run fewer of them.
"""

import argparse
import itertools
import json
import math
import random
import tempfile
from pathlib import Path

from tests.launching import launch, launch_in_turn, write_images

BOTH = ("false", "true")
ALL_SPACES = {
    # Rows without it run first: TensorFlow cannot turn it off once it was on.
    "--deterministic": BOTH,
    "--jit_compile": BOTH,
    "--precision": ("float32", "mixed_bfloat16", "mixed_float16"),
    "--strategy": ("one", "mirrored"),
    "--search.arcs_per_step": ("one", "replica"),
    "--search.snapshots": ("1", "2"),
    "--controller.kind": ("lstm", "ppo", "random"),
    "--controller.entropy": ("source", "true_entropy"),
    "--train.init": ("none", "shared"),
}
IMAGES = ALL_SPACES | {
    "--dataset": ("digits", "folder:odd"),
    "--child.aux_head": BOTH,
    "--child.decay_idle": BOTH,
    "--child.drop_path_keep_prob": ("1.0", "0.6"),
    "--child.grad_clip": ("0", "0.5"),
    "--search.reward_bn": ("batch", "moving"),
    "--train.aux_head": BOTH,
    "--train.drop_path_keep_prob": ("1.0", "0.6"),
    "--train.use_validation": BOTH,
}
FLAGS = {
    "cifar_micro": IMAGES | {"--space.ops": ("5", "separable_conv_3x3,max_pool_3x3,identity")},
    "cifar_macro": IMAGES | {"--space.ops": ("6", "7", "average_pool_3x3,conv_5x5")},
    "nasbench201": IMAGES | {"--space.ops": ("5", "none,nor_conv_3x3")},
    "ptb_rnn": ALL_SPACES
    | {
        "--child.drop_weight": ("0", "0.5"),
        "--child.grad_clip": ("0", "0.1"),
        "--child.output": ("all", "loose_ends"),
        "--space.ops": ("4", "tanh,sigmoid"),
        "--train.average_after": ("0", "1"),
    },
}


_SHORT = ("--search.num_epochs=2", "--search.max_steps=2", "--train.num_epochs=1")


def rows_of(flags):
    """Returns rows of values for all flags, such that any two values of two flags meet in a row.

    Takes the cheapest of many lists. Each is made greedily, row by row, with the values that add
    the most new pairs.
    """
    lists = (_greedy_rows(flags, random.Random(seed)) for seed in range(60))
    return sorted(min(lists, key=_cost), key=lambda row: row["--deterministic"])


def _cost(rows):
    # A compiled pipeline takes three times as long as another.
    return len(rows) + 2 * sum(row["--jit_compile"] == "true" for row in rows)


def _greedy_rows(flags, generator):
    missing = {
        frozenset({(one, value), (other, another)})
        for one, other in itertools.combinations(flags, 2)
        for value in flags[one]
        for another in flags[other]
    }
    rows = []
    while missing:
        row = dict(generator.choice(sorted(map(sorted, missing))))
        for name in generator.sample(list(flags), len(flags)):
            if name not in row:
                new = {
                    v: sum({(name, v), one} in missing for one in row.items()) for v in flags[name]
                }
                row[name] = max(flags[name], key=lambda v: (new[v], generator.random()))
        missing -= set(map(frozenset, itertools.combinations(row.items(), 2)))
        rows.append({name: row[name] for name in flags})
    return rows


def check(folder, launcher, rows):
    """Runs a pipeline with the flags of each row, and checks what it leaves in its folder."""
    odd = write_images(folder / "odd", 9, 7, 3, per_class=100).removeprefix("--dataset=")
    commands = {}
    for number, row in enumerate(rows):
        values = [(name, odd if value == "folder:odd" else value) for name, value in row.items()]
        given = [f"{name}={value}" for name, value in values]
        workdir = f"--workdir={folder / str(number)}"
        commands[number] = [*given, *_SHORT, "--logical_devices=2", workdir]
    # The collective operations of two mirrored strategies of a process get mixed up.
    alone = {n for n, row in enumerate(rows) if row["--strategy"] == "mirrored"}
    results = launch_in_turn(
        folder, {n: c for n, c in commands.items() if n not in alone}, launcher
    )
    results |= {number: launch(*commands[number], launcher=launcher) for number in alone}
    for number, done in results.items():
        assert (done.status, done.stderr) == (0, ""), (commands[number], done.stderr)
        run = folder / str(number)
        result = json.loads((run / "train" / "result.json").read_text())
        assert all(map(math.isfinite, result["test"].values())), commands[number]
        assert list((run / "export").rglob("saved_model.pb")), commands[number]


def main():
    """Runs the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--launcher", choices=FLAGS, required=True)
    launcher = parser.parse_args().launcher
    rows = rows_of(FLAGS[launcher])
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), launcher, rows)
    print(f"{launcher}: {len(rows)} pipelines ran")


if __name__ == "__main__":
    main()
