"""The epochs of a child's training, for search and final training."""

from collections.abc import Callable
from typing import Protocol

from enas_tf.layers.dropout import StepRng, retry_offset
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from enas_tf.training.session import Session


class EpochConfig(Protocol):
    """The settings of an epoch.

    Attributes:
        batch_size: examples in a batch.
        max_steps: maximum number of steps in an epoch; 0: once through the training split.
    """

    batch_size: int
    max_steps: int


class TrainingEpochs:
    """Trains a child's weights epoch by epoch, starting at any step.

    All random numbers depend on the seed, the step and the number of retries alone, so that a
    resumed run draws the same ones as an unbroken run.

    Args:
        trainer: trains the weights.
        task: provides training batches.
        config: settings of the epochs.
        rng: random numbers of the child's dropout.
        seed: seed of all random numbers.

    Attributes:
        steps_per_epoch: number of steps in each epoch.
        seed: seed of all random numbers in the current retry.
    """

    def __init__(
        self, trainer: ChildTrainer, task: Task, config: EpochConfig, rng: StepRng, seed: int
    ) -> None:
        self._trainer = trainer
        self._task = task
        self._batch_size = config.batch_size
        self._rng = rng
        self._first_seed = seed
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size, config.max_steps)
        self.start(0)

    def start(self, retries: int) -> None:
        """Makes all that follows use the random numbers of a retry, counted from 0."""
        self._rng.retry.assign(retries)
        self.seed = self._first_seed + retry_offset(retries)

    def run(
        self,
        session: Session,
        phase: str,
        epoch: int,
        steps: range,
        extra: Callable[[int], tuple] = lambda step: (),
        after_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Trains for some steps of an epoch.

        Args:
            session: counts the steps and records their metrics.
            phase: name of the phase in `metrics.jsonl`.
            epoch: the epoch, counted from 0.
            steps: the steps, counted from 0 at the start of the epoch; not empty, and the last one
                ends the epoch.
            extra: returns the child's arguments besides the batch, such as tokens, for a step.
            after_step: called with each step after it, before it is counted.
        """
        learning_rate = self._trainer.config.learning_rate_at(epoch)
        self._trainer.optimizer.learning_rate = learning_rate
        first = epoch * self.steps_per_epoch
        batches = self._batches(range(first + steps.start, first + steps.stop))
        self._trainer.trace(batches, *extra(steps[0]))
        num_examples = self._task.num_examples(self._batch_size)
        for step, batch in zip(steps, batches, strict=True):
            self._rng.step.assign(first + step)
            metrics = self._trainer.train_step(batch, *extra(step))
            after_step(step)
            is_last = step == steps[-1]
            session.advance(
                phase, epoch, num_examples, metrics, is_last, learning_rate=learning_rate
            )

    def _batches(self, steps: range):
        return distribute(
            self._trainer.strategy,
            lambda shard: self._task.train_batches(
                self._batch_size, seed=self.seed, steps=steps, shard=shard
            ),
        )
