"""A table of true accuracies in the place of shared weights: the controller alone is trained."""

from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.truth import Truth
from enas_tf.tasks.base import Task


class TruthEvaluator:
    """Rewards architectures with what a table says; see `enas_tf.search.evaluator.Rewarder`.

    Args:
        truth: the table.
        make_task: of what is trained alone, for a comparison; makes it only where there is one,
            since it takes data.
    """

    def __init__(self, truth: Truth, make_task: Callable[[], Task]) -> None:
        self.note = (
            f"These rewards are true accuracies, of {truth.source} as fractions of 1: no shared "
            "weights were trained."
        )
        self._truth = truth
        self._make_task = make_task

    @property
    def task(self) -> Task:
        """The task of the final training."""
        return self._make_task()

    def shuffled_batches(self, seed: int, first: int, count: int) -> Iterator:
        """Returns none: a table needs no data."""
        return iter(())

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """Looks up the accuracy of each architecture, as a part of 1.

        Args:
            tokens: `(n, num_tokens)`, int32.
            batches: of `shuffled_batches`.

        Raises:
            UserError: the table does not have one of them.
        """
        return [self._truth.accuracy(one) / 100 for one in tokens.numpy().tolist()]

    def rewards_on_split(
        self, arcs: Mapping[str, tf.Tensor], num_batches: int, kept: KeptRewards, label: str
    ) -> dict[str, float]:
        """Looks up the accuracy of each architecture; nothing needs to be kept."""
        return {text: self._truth.accuracy(tokens) / 100 for text, tokens in arcs.items()}


class NoWeights:
    """Nothing to train, where a table rewards; see `enas_tf.search.weights.Weights`.

    Args:
        evaluator: that rewards without weights.
    """

    replicas = 1
    examples = "architectures"
    examples_per_reward = 1
    max_rollbacks = 0
    steps_per_epoch = 0
    variables: Mapping[str, tf.Variable] = {}

    def __init__(self, evaluator: TruthEvaluator) -> None:
        self.evaluator = evaluator

    def start(self, retries: int) -> None:
        """Does nothing: nothing is drawn here."""

    def train(self, *_: object) -> None:
        """Is never called, since there are no steps."""
