"""How well rewards by shared weights rank architectures, epoch by epoch, without a controller.

    python -m benchmarks.rank_correlation NASBENCH201 --truth=nasbench201.csv \
        [--draws=200] [--batches=8] [flags of a search]

Trains the shared weights as a search does that draws architectures uniformly, or fairly with
`--search.sampling=fair`. After each epoch from `--search.warmup_epochs` on, rewards the same
uniform draws on the same validation batches, and prints Kendall's tau to the true accuracies: of
the epoch's own rewards, and of the mean rewards so far; of all draws, and of the truly better half.
"""

import argparse
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import kendalltau

import enas_tf
from benchmarks.command import run
from enas_tf.experiment.parts import make_shared_weights
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.search.sampling import SAMPLERS, draw_uniformly
from enas_tf.search.truth import Truth, read_truth
from enas_tf.search.truth_report import uniform_draws
from launchers.cli import read_command


class _NoSession:
    """Stands for a search's session, whose steps need neither a record nor a checkpoint."""

    def advance(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""


def measure(
    recipe: Recipe, settings: Settings, truth: Truth, num_draws: int, num_batches: int
) -> None:
    """Trains the shared weights, and prints a line of a table after each epoch.

    Args:
        recipe: of the space.
        settings: of the shared weights' training.
        truth: of all that may be drawn.
        num_draws: on so many uniform draws rewards are held against the truth.
        num_batches: each is rewarded on so many validation batches; 0: on all.
    """
    data, seed, config = recipe.domain.load(settings), settings.common.seed, settings.search
    keras.utils.set_random_seed(seed)
    strategy = tf.distribute.get_strategy()
    weights = make_shared_weights(settings, recipe.domain, data, strategy, compiled=False)
    sampler = SAMPLERS.get(config.sampling, draw_uniformly)
    draws = list(uniform_draws(settings.space, seed, num_draws).values())[:num_draws]
    true = np.array([truth.accuracy(tokens) for tokens in draws])
    better, rewards = true >= np.median(true), []
    print("| epoch | steps | tau | better half | tau, mean rewards | better half |")
    print("|---|---|---|---|---|---|", flush=True)
    for epoch in range(config.num_epochs):
        rng = random.Random(f"{seed} child {epoch}")
        weights.train(
            _NoSession(),
            epoch,
            range(weights.steps_per_epoch),
            lambda n, rng=rng: sampler(settings.space, n, rng),
        )
        if epoch < config.warmup_epochs:
            continue
        rewards.append([weights.evaluator.reward_on_split(one, num_batches) for one in draws])
        print(row(epoch, weights.steps_per_epoch, true, better, np.array(rewards)), flush=True)


def row(
    epoch: int, steps_per_epoch: int, true: np.ndarray, better: np.ndarray, rewards: np.ndarray
) -> str:
    """Returns a line of the table; rewards are `(epochs so far, draws)`."""
    values = []
    for of_draws in (rewards[-1], rewards.mean(axis=0)):
        values += [kendalltau(of_draws, true), kendalltau(of_draws[better], true[better])]
    taus = " | ".join(f"{value.statistic:.2f}" for value in values)
    return f"| {epoch} | {(epoch + 1) * steps_per_epoch:,} | {taus} |"


def read(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    """Reads the command line, and the settings that its flags make; None takes the process's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--batches", type=int, default=8)
    given, flags = parser.parse_known_args(arguments)
    command = read_command(getattr(enas_tf, given.recipe), __doc__, [given.recipe, *flags])
    if command.settings.common.truth is None:
        parser.error("give the table of true accuracies by --truth")
    # Each epoch's rewards are by its own weights; their mean is computed here.
    return given, command.settings.changed({"search.snapshots": 1})


def main() -> None:
    """Reads the command line, and prints the table."""
    given, settings = read(None)
    truth = read_truth(settings.common.truth, settings.common.truth_column, settings.space)
    measure(getattr(enas_tf, given.recipe), settings, truth, given.draws, given.batches)


if __name__ == "__main__":
    run(main)
