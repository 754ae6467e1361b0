"""Measures the parts of a run on one device, compiled by XLA and not, in one stretch.

    python -m benchmarks.one_device --output=FILE [--cases=NAME,...] [--limit=SECONDS] \
        [--budget=SECONDS] [--precisions=float32,mixed_bfloat16] [--warm=NAME,...]

Each measurement is a process of `launchers.benchmark` with a time limit of its own. Its result is a
line of the output file as soon as it is there: one JSON object with what the benchmark tells
(docs/performance.md), `case`, `precision` and `how`; where it failed or did not end, `error` says
so. What the file holds already is not measured again, so that the same command goes on where the
last one was stopped; to measure something again, remove its line. A table is printed at the end.

`how` is one of
  plain     without XLA
  compiled  with XLA, whose programs are kept in a folder beside the output file
  warm      the same once more, which finds these programs; for the cases of --warm
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enas_tf.benchmark.base import CASES, SPACES, table

KINDS = ("search", "held", "static", "reward", "controller", "final")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DEFAULT_CASES = (*(f"{space}_{kind}" for space in SPACES for kind in KINDS), "input_pipeline")
COLUMNS = {
    "ms a step": ("step_seconds", 1000),
    "CPU ms": ("step_cpu_seconds", 1000),
    "first step, s": ("first_step_seconds", 1),
    "compile, s": ("compile_seconds", 1),
    "GPU MiB": ("peak_gpu_mb", 1),
}


def wanted(given: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Yields the measurements to make, in order, each as `case`, `precision` and `how`."""
    for case in given.cases:
        if case == "input_pipeline":  # without a network
            yield {"case": case, "precision": "float32", "how": "plain"}
            continue
        for precision in given.precisions:
            for how in ("plain", "compiled", *["warm"] * (case in given.warm)):
                yield {"case": case, "precision": precision, "how": how}


def command(one: dict[str, str], given: argparse.Namespace) -> list[str]:
    """Returns the benchmark's command line for one measurement."""
    compiled = "false" if one["how"] == "plain" else "true"
    options = [f"--case={one['case']}", f"--precision={one['precision']}", "--json"]
    options += [f"--jit_compile={compiled}", f"--batch={given.batch}", f"--steps={given.steps}"]
    return [sys.executable, "-m", "launchers.benchmark", *options]


def measure(one: dict[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """Runs a measurement; returns what the benchmark reports, or an `error`."""
    environment = dict(os.environ)
    if one["how"] != "plain":
        cache = Path(f"{given.output}.programs", one["precision"], one["case"]).absolute()
        if one["how"] == "compiled":
            # Programs of an earlier try would make the compiling look quick.
            shutil.rmtree(cache, ignore_errors=True)
        elif not cache.is_dir() or not any(cache.iterdir()):
            return {"error": "XLA kept no program of the first time"}
        environment["ENAS_TF_XLA_CACHE"] = str(cache)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        command(one, given), env=environment, start_new_session=True, **pipes
    )
    try:
        output, errors = process.communicate(timeout=given.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"did not end within {given.limit:g} s"}
    finally:
        # Kills the whole group: the benchmark runs its case in a process that would outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        last = (errors.strip().splitlines() or ["no word"])[-1]
        return {"error": f"status {process.returncode}: {last}"}
    return json.loads(output)


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record as a row of the table."""
    head = {name: record[name] for name in ("case", "precision", "how")}
    numbers = {title: scale * record[f] for title, (f, scale) in COLUMNS.items() if f in record}
    shown = head | dict.fromkeys(COLUMNS) | numbers
    return shown | {"device": record.get("device"), "error": record.get("error")}


def name_of(one: dict[str, Any]) -> tuple[str, ...]:
    """Returns what identifies a measurement: its case, its precision and its `how`."""
    return one["case"], one["precision"], one["how"]


def run(given: argparse.Namespace) -> None:
    """Measures what the output file lacks, within the budget, and prints the table."""
    end = time.monotonic() + given.budget
    lines = given.output.read_text().splitlines() if given.output.exists() else []
    records = {name_of(record): record for record in map(json.loads, lines)}
    for one in wanted(given):
        if name_of(one) in records:
            continue
        if time.monotonic() + given.limit > end:
            print("the budget is spent; the same command goes on", file=sys.stderr)
            break
        print(f"measuring {' '.join(name_of(one))}", file=sys.stderr, flush=True)
        records[name_of(one)] = one | measure(one, given)
        with given.output.open("a") as file:
            file.write(json.dumps(records[name_of(one)]) + "\n")
    rows = [row(records[name_of(one)]) for one in wanted(given) if name_of(one) in records]
    print(table(rows) if rows else "nothing is measured yet")


def read(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the parsed command line."""

    def cases(text: str, known: tuple[str, ...] = CASES) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(known)}")
        return names

    def precisions(text: str) -> list[str]:
        return cases(text, PRECISIONS)

    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    defaults = ",".join(DEFAULT_CASES)
    add("--output", type=Path, required=True, help="the JSON-lines file, made or gone on with")
    add("--cases", type=cases, default=DEFAULT_CASES, help=f"default: {defaults}")
    add("--limit", type=float, default=240, help="seconds of one measurement at most (240)")
    add("--budget", type=float, default=float("inf"), help="seconds of this call at most (no end)")
    add("--precisions", type=precisions, default=["float32"], help="default: float32")
    add("--warm", type=cases, default=["micro_search"], help="default: micro_search")
    add("--steps", type=int, default=20, help="measured steps of each (20)")
    add("--batch", type=int, default=0, help="examples in a batch; 0: the paper's (0)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    # Exits by an exception, as Ctrl-C does, so that `measure` kills the process that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run(read())
