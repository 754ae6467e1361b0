"""How well a table of blocks' latencies ranks whole networks on this device.

    python -m benchmarks.latency_table CIFAR_MICRO --networks=30 --output=FOLDER [--threads=1] \
        [--cpu_time] [flags]

Measures the table of a space as a search with `--search.cost=latency` does, then times the whole
networks of uniform draws. Prints how well the table ranks them, and for comparison how well their
multiply-adds do. All numbers are in the folder's `latency.json`, and what it has is not measured
again; `latency.svg` draws the networks' times against the table's. The flags are those of the
recipe's launcher; with `--dataset=cifar10` no data are needed.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import matplotlib
import tensorflow as tf
from matplotlib.figure import Figure

import enas_tf
from benchmarks.command import run
from enas_tf.experiment.costs import Costs
from enas_tf.experiment.latency import FILE
from enas_tf.experiment.settings import Settings
from enas_tf.experiment.timing import Clock
from enas_tf.search.statistics import spearman
from enas_tf.training.distribution import compiles, make_strategy
from enas_tf.training.run_folder import Run
from launchers.cli import read_command


def read(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    """Reads the command line, and the settings that its flags make; None takes the process's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", choices=("CIFAR_MACRO", "CIFAR_MICRO", "NASBENCH201"))
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0, help="of each op and between ops; 0: all")
    parser.add_argument(
        "--cpu_time", action="store_true", help="CPU seconds, for a machine that is busy"
    )
    given, flags = parser.parse_known_args(arguments)
    command = read_command(getattr(enas_tf, given.recipe), __doc__, [given.recipe, *flags])
    return given, command.settings


def measure(given: argparse.Namespace, settings: Settings) -> str:
    """Measures what the folder lacks; returns a line that says what came of it."""
    domain, common = getattr(enas_tf, given.recipe).domain, settings.common
    strategy = make_strategy(common.strategy)
    keras.mixed_precision.set_dtype_policy(common.precision)
    sizes = domain.known_sizes(settings) or domain.sizes(domain.load(settings))
    run, costs = Run(given.output), Costs(settings, domain, lambda: sizes)
    compiled = compiles(common.jit_compile, strategy, final=True)
    now = time.process_time if given.cpu_time else time.perf_counter
    clock = Clock(settings.search.latency_batch, compiled, now)
    costs.measure_latencies(run, clock, given.networks)
    check = run.read_json(FILE)["check"]
    with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
        picture(check).savefig(given.output / "latency.svg", metadata={"Date": None})
    times = [one["network_ms"] for one in check["networks"]]
    tokens = [settings.space.parse(one["arc"]).tokens for one in check["networks"]]
    by_multiply_adds = spearman([costs(one)["madds"] for one in tokens], times)
    return (
        f"{len(times)} networks of {min(times):.2f} to {max(times):.2f} ms; Spearman's rho with "
        f"the table {check['spearman']:.3f}, with multiply-adds {by_multiply_adds:.3f}"
    )


def picture(check: Mapping) -> Figure:
    """Draws the time of each network against what the table says, of the check in the file."""
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes, networks = figure.subplots(), check["networks"]
    said = [check["ratio"] * one["sum_ms"] for one in networks]
    axes.scatter(said, [one["network_ms"] for one in networks], s=14, color="0.1", lw=0)
    axes.axline((said[0], said[0]), slope=1, color="0.6", lw=0.8)
    axes.set(xlabel="by the table, ms", ylabel="the whole network, ms")
    return figure


def main() -> None:
    """Runs the command line."""
    given, settings = read(None)
    if given.threads:
        tf.config.threading.set_intra_op_parallelism_threads(given.threads)
        tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    print(measure(given, settings))


if __name__ == "__main__":
    run(main)
