"""Epochs of a child's training; search and final training share them."""

from collections.abc import Callable
from typing import Protocol

from enas_tf.layers.dropout import StepRng, retry_offset
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from enas_tf.training.session import Session


class EpochConfig(Protocol):
    """What an epoch is made of.

    Attributes:
        batch_size: examples in a batch.
        max_steps: in an epoch, at most; 0: once through the training split.
    """

    batch_size: int
    max_steps: int


class TrainingEpochs:
    """Trains a child's weights epoch by epoch, from any step on.

    All that is drawn depends on the seed, the step and the number of retries, so that a resumed run
    draws what an unbroken one draws.

    Args:
        trainer: of the weights.
        task: gives training batches.
        config: of the epochs.
        rng: of the child's dropout.
        seed: of all that is drawn.

    Attributes:
        steps_per_epoch: in each epoch.
        seed: of all that is drawn in the current retry.
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
        """Has all that follows draw the numbers of a retry, counted from 0."""
        self._rng.retry.assign(retries)
        self.seed = self._first_seed + retry_offset(retries)

    def run(
        self,
        session: Session,
        phase: str,
        epoch: int,
        steps: range,
        extra: Callable[[int], tuple] = lambda step: (),
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Trains for some steps of an epoch.

        Args:
            session: counts the steps.
            phase: as in `metrics.jsonl`.
            epoch: counted from 0.
            steps: counted from 0 at the epoch's start; not empty, and the last one ends the epoch.
            extra: from a step, what the child takes beside a batch, such as tokens.
            after_step: called after each step, before it is counted.
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
            after_step()
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
