"""How well a table of blocks' latencies ranks whole networks on this device.

    python -m benchmarks.latency_table CIFAR_MICRO --networks=30 --output=FOLDER [--threads=1] \
        [flags]

Measures the table of a space as a search with `--search.cost=latency` does, builds the networks of
uniform draws and times them too. Prints their rank correlation with the table, and for comparison
that with their multiply-adds; the folder gets `latency.json`, which has all numbers and is read
where it is there. The flags are those of the recipe's launcher; with `--dataset=cifar10` no data
are needed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

import enas_tf
from enas_tf.experiment.costs import Costs
from enas_tf.experiment.latency import FILE
from enas_tf.experiment.timing import Clock
from enas_tf.search.statistics import spearman
from enas_tf.training.distribution import compiles, make_strategy
from enas_tf.training.run_folder import Run
from launchers.cli import read_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; None takes the process's own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="CIFAR_MACRO, CIFAR_MICRO or NASBENCH201")
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0, help="of each op and between ops; 0: all")
    given, flags = parser.parse_known_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    recipe = getattr(enas_tf, given.recipe)
    settings, _ = read_command(recipe, __doc__, [given.recipe, *flags])
    common = settings.common
    strategy = make_strategy(common.strategy)
    keras.mixed_precision.set_dtype_policy(common.precision)
    domain = recipe.domain
    sizes = domain.known_sizes(settings) or domain.sizes(domain.load(settings))
    run, costs = Run(given.output), Costs(settings, domain, lambda: sizes)
    clock = Clock(settings.search.latency_batch, compiles(common.jit_compile, strategy, final=True))
    costs.measure_latencies(run, clock, given.networks)
    networks = run.read_json(FILE)["check"]["networks"]
    times = [one["network_ms"] for one in networks]
    counts = [costs(settings.space.parse(one["arc"]).tokens)["madds"] for one in networks]
    print(
        f"{len(times)} networks of {min(times):.2f} to {max(times):.2f} ms; Spearman's rho with "
        f"the table {run.read_json(FILE)['check']['spearman']:.3f}, with multiply-adds "
        f"{spearman(counts, times):.3f}"
    )


if __name__ == "__main__":
    main()
