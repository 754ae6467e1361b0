"""How soon a controller finds a good architecture, where a table rewards it.

    python -m benchmarks.controller_alone --truth=nasbench201.csv [--truth_column=cifar10-test] \
        [--recipe=NASBENCH201] [--seeds=100] [--max_draws=3000] [--within=0.5] \
        [--output=alone.svg]

Searches with each preset of a recipe as its controller would with `--search.reward=truth`, and
once more by uniform draws, and counts the draws until one of them is within some points of the
table's best. Prints a table of the seeds' medians and means with their 95 % bootstrap intervals. A
search that has not found one by then counts with all its draws, so that a mean is too low where the
last column shows that some have not. With `--output`, draws how many seeds have found one by so
many draws.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

import enas_tf
from benchmarks.command import run
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.algorithms import make_algorithm
from enas_tf.search.truth import Truth, read_truth

_UNIFORM = "uniform draws"

_STYLES = [{"color": c, "ls": s} for s, c in (("-", "0"), ("--", "0.3"), ("-.", "0"), (":", "0.3"))]


class Searches:
    """Searches with one setting, one seed after the other; the functions are traced once.

    Args:
        recipe: whose controller searches.
        settings: of controller and search.
        truth: rewards.
    """

    def __init__(self, recipe: Recipe, settings: Settings, truth: Truth) -> None:
        self._make = lambda: make_algorithm(recipe.controller, settings.space, settings.controller)
        self._algorithm: Algorithm = self._make()
        self._draws_per_update = settings.search.arcs_per_update
        self._truth = truth

    def draws_until(self, threshold: float, seed: int, max_draws: int) -> int:
        """Searches until a draw's accuracy reaches a threshold.

        Returns:
            How many draws that took; `max_draws` where none of so many has reached it.
        """
        keras.utils.set_random_seed(seed)
        fresh = self._make().variables
        for name, variable in self._algorithm.variables.items():
            variable.assign(fresh[name])
        for update in range(-(-max_draws // self._draws_per_update)):
            tokens = self._algorithm.propose(self._draws_per_update, [seed, update]).tokens
            accuracies = [self._truth.accuracy(one) for one in tokens.numpy().tolist()]
            for place, accuracy in enumerate(accuracies, 1):
                if accuracy >= threshold:
                    return min(max_draws, update * self._draws_per_update + place)
            self._algorithm.feedback(tokens, [accuracy / 100 for accuracy in accuracies])
        return max_draws


def variants(recipe: Recipe) -> Iterator[tuple[str, Settings]]:
    """Each preset's settings by its name, and uniform draws."""
    yield from recipe.presets.items()
    settings = next(iter(recipe.presets.values()))
    yield _UNIFORM, replace(settings, controller=replace(settings.controller, kind="random"))


def interval(values: Sequence[int], seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean (percentiles)."""
    drawn = np.random.default_rng(seed).choice(values, (10_000, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def row(name: str, draws: Sequence[int], max_draws: int, seconds: float) -> str:
    """A line of the table."""
    low, high = interval(draws)
    found = sum(one < max_draws for one in draws)
    return (
        f"| {name} | {statistics.median(draws):,.0f} | {statistics.fmean(draws):,.0f} | "
        f"{low:,.0f} to {high:,.0f} | {found} of {len(draws)} | {seconds:.0f} |"
    )


def picture(draws: Mapping[str, Sequence[int]], max_draws: int) -> Figure:
    """Draws the part of the seeds that have found a good architecture by so many draws."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, counts), style in zip(draws.items(), itertools.cycle(_STYLES), strict=False):
        found = sorted(count for count in counts if count < max_draws)
        shares = [100 * number / len(counts) for number in range(1, len(found) + 1)]
        axes.step([0, *found], [0, *shares], where="post", label=name, **style)
    axes.set(xlabel="draws", ylabel="seeds that have found one, %", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def read(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; None takes the process's own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truth", required=True)
    parser.add_argument("--truth_column")
    parser.add_argument("--recipe", default="NASBENCH201")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--max_draws", type=int, default=3000)
    parser.add_argument("--within", type=float, default=0.5)
    parser.add_argument("--output", help="the picture's file, such as alone.svg")
    return parser.parse_args(arguments)


def main() -> None:
    """Reads the command line, and prints the table."""
    given = read(None)
    # Updates are small: threads that wait for each other cost more than they bring.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    recipe = getattr(enas_tf, given.recipe)
    space = next(iter(recipe.presets.values())).space
    truth = read_truth(given.truth, given.truth_column, space)
    truth.check_complete(space)
    threshold = truth.best - given.within
    good = sum(accuracy >= threshold for accuracy in truth.accuracies.values())
    print(f"{good} of {len(truth.accuracies):,} architectures are within {given.within} points of")
    print(f"the best, {truth.best}; draws until one of them, at most {given.max_draws:,}:\n")
    print("| setting | median | mean | 95 % interval of the mean | found by | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    found = {}
    for name, settings in variants(recipe):
        settings = replace(settings, space=space)
        started, searches = time.monotonic(), Searches(recipe, settings, truth)
        draws = [
            searches.draws_until(threshold, seed, given.max_draws) for seed in range(given.seeds)
        ]
        print(row(name, draws, given.max_draws, time.monotonic() - started), flush=True)
        found[name] = draws
    if given.output:
        with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
            picture(found, given.max_draws).savefig(given.output, metadata={"Date": None})


if __name__ == "__main__":
    run(main)
