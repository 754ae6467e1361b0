"""The shared weights of a search: how they are trained, and what rewards with them."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Protocol

import tensorflow as tf

from enas_tf.layers.dropout import StepRng
from enas_tf.search.evaluator import Evaluator, Rewarder, per_replica
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.epochs import EpochConfig, TrainingEpochs
from enas_tf.training.session import Session
from enas_tf.training.weight_average import WeightAverage


class WeightsConfig(EpochConfig, Protocol):
    """What the training of shared weights needs of a search's configuration.

    Attributes:
        arcs_per_step: whether all replicas train the same architecture, `"one"`, or each its own,
            `"replica"`.
        reward_batches: on so many batches each architecture is rewarded.
        average_decay: of the moving average of the weights that rewards are computed with; 0: with
            the weights themselves.
        snapshots: on the weights at the ends of so many epochs architectures are ranked.
    """

    arcs_per_step: str
    reward_batches: int
    average_decay: float
    snapshots: int


class Weights(Protocol):
    """What a search asks of that which rewards its architectures.

    Attributes:
        evaluator: rewards architectures.
        replicas: that share the rewards of an update.
        examples: what is counted a second, such as `images`.
        examples_per_reward: so many are in a reward.
        max_rollbacks: as of `enas_tf.tasks.base.Task`.
        steps_per_epoch: of the weights' training.
    """

    evaluator: Rewarder
    replicas: int
    examples: str
    examples_per_reward: int
    max_rollbacks: int
    steps_per_epoch: int

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name."""

    def start(self, retries: int) -> None:
        """Has all that follows draw the numbers of a retry, counted from 0."""

    def train(
        self, session: Session, epoch: int, steps: range, draw: Callable[[int], tf.Tensor]
    ) -> None:
        """Trains the weights for the steps of an epoch that are left.

        Args:
            session: counts the steps.
            epoch: counted from 0.
            steps: counted from 0 at the epoch's start.
            draw: from a number, the tokens of as many of this epoch's architectures.
        """


class SharedWeights:
    """Shared weights with what trains them; see `Weights`.

    Args:
        trainer: of the weights; its child takes inputs, tokens and `training`.
        task: the data, losses and rewards.
        config: of the search.
        rng: of the supernet's dropout.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        trainer: ChildTrainer,
        task: Task,
        config: WeightsConfig,
        rng: StepRng,
        seed: int,
    ) -> None:
        self.trainer = trainer
        self.task = task
        self.average, self.snapshots = None, []
        with trainer.strategy.scope():
            if config.average_decay:
                self.average = WeightAverage(trainer.trained, config.average_decay)
            if config.snapshots > 1:
                self.snapshots = [
                    WeightAverage(trainer.trained, decay=0, name=f"snapshot_{number}")
                    for number in range(config.snapshots)
                ]
        self._averaged = self.average.in_place if self.average else nullcontext
        self.evaluator = Evaluator(
            trainer, task, config.batch_size, config.reward_batches, self._averaged, self.snapshots
        )
        self.replicas = trainer.strategy.num_replicas_in_sync
        self.examples = task.examples
        self.examples_per_reward = config.reward_batches * task.num_examples(config.batch_size)
        self.max_rollbacks = task.max_rollbacks
        self._epochs = TrainingEpochs(trainer, task, config, rng, seed)
        self.steps_per_epoch = self._epochs.steps_per_epoch
        self._arcs_per_step = self.replicas if config.arcs_per_step == "replica" else 1
        # Raises now, not after an epoch, where the validation split is too small.
        self.evaluator.shuffled_batches(seed, 0, 1)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """Those of the weights, of their averages and of their optimizer."""
        variables = dict(self.trainer.variables)
        for average in (*filter(None, [self.average]), *self.snapshots):
            variables |= average.variables
        return variables

    def start(self, retries: int) -> None:
        """Has dropout and batches draw the numbers of a retry."""
        self._epochs.start(retries)

    def train(
        self, session: Session, epoch: int, steps: range, draw: Callable[[int], tf.Tensor]
    ) -> None:
        """Trains the weights, on another architecture in each step."""
        arcs = self._arcs_per_step
        tokens = draw(self.steps_per_epoch * arcs)

        def of_step(step: int) -> tuple:
            mine = tokens[step * arcs : (step + 1) * arcs]
            return (mine[0] if arcs == 1 else per_replica(self.trainer.strategy, mine),)

        def after_step(step: int) -> None:
            if self.average:
                self.average.update()
            if self.snapshots and step == steps[-1]:
                with self._averaged():
                    self.snapshots[epoch % len(self.snapshots)].update()

        self._epochs.run(session, "child", epoch, steps, of_step, after_step)
