"""The search, which trains shared weights and controller in turns.

Reference: Pham et al. 2018, section 2.2.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.layers.dropout import StepRng
from enas_tf.search import arcs_log
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.controller import Draws
from enas_tf.search.evaluator import Evaluator, per_replica
from enas_tf.search.monitor import ControllerMonitor
from enas_tf.search.searched import Searched, draw_uniformly
from enas_tf.tasks.base import Task
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.epochs import TrainingEpochs
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Schedule, Session, Stage

# Draws after each epoch: these many are rewarded; more are counted, which costs next to nothing.
_REPORTED_ARCS = 10
_COUNTED_ARCS = 100

# Streams of random numbers. The numbers of a stream depend on a counter alone, so that a resumed
# run draws the same ones with no state but its step.
_CHILD_DRAWS, _UPDATE_DRAWS, _REPORT_DRAWS, _DERIVE_DRAWS = range(4)


@dataclass(frozen=True)
class SearchConfig:
    """The search: how long, and in which portions."""

    num_epochs: int = option(150, "epochs; in each, shared weights first, then the controller")
    batch_size: int = option(160, "examples in a batch, of training and of each reward")
    max_steps: int = option(
        0, "steps of the shared weights in an epoch, at most; 0: once through the training split"
    )
    updates_per_epoch: int = option(30, "updates of the controller in an epoch")
    arcs_per_update: int = option(10, "architectures whose gradients an update averages")
    arcs_per_step: Literal["one", "replica"] = option(
        "one", "whether all replicas train the same architecture in a step, or each its own"
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no search is possible."""
        for name in ("num_epochs", "batch_size", "updates_per_epoch", "arcs_per_update"):
            if getattr(self, name) < 1:
                raise UserError(f"search.{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise UserError(f"search.max_steps must not be negative, got {self.max_steps}")

    def check_replicas(self, count: int) -> None:
        """Raises UserError if `count` replicas cannot share the rewards of an update equally."""
        if self.arcs_per_update % count:
            more = -(-self.arcs_per_update // count) * count
            raise UserError(
                f"search.arcs_per_update must be a multiple of {count}, the number of replicas "
                f"that share the rewards, got {self.arcs_per_update}; try {more}"
            )


@dataclass(frozen=True)
class ImageSearchConfig(SearchConfig):
    """The search of networks for images."""

    reward_bn: Literal["batch", "moving"] = option(
        "batch",
        "what batch norm uses in rewards: the batch's own statistics, or moving averages over "
        "all architectures, as in the authors' macro search",
    )
    cutout: int = option(0, "side of the cutout square in the search, in pixels; 0: none")

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no search is possible."""
        super().__post_init__()
        if self.cutout < 0:
            raise UserError(f"search.cutout must not be negative, got {self.cutout}")


class Search:
    """A search: its parts, and what they do in each epoch.

    Args:
        trainer: trains the shared weights; its child takes inputs, tokens and `training`.
        algorithm: proposes architectures and learns from their rewards.
        task: defines data, losses and rewards.
        config: settings of the search.
        rng: random numbers of the supernet's dropout.
        seed: seed of all random numbers.
    """

    def __init__(
        self,
        trainer: ChildTrainer,
        algorithm: Algorithm,
        task: Task,
        config: SearchConfig,
        rng: StepRng,
        seed: int,
    ) -> None:
        self.trainer = trainer
        self.algorithm = algorithm
        self.task = task
        self.config = config
        self._strategy = trainer.strategy
        self._replicas = self._strategy.num_replicas_in_sync
        config.check_replicas(self._replicas)
        self._first_seed = seed
        self.epochs = TrainingEpochs(trainer, task, config, rng, seed)
        self.evaluator = Evaluator(trainer, task, config.batch_size)
        # If the validation split is too small, this raises now and not after an epoch.
        self.evaluator.shuffled_batches(self.epochs.seed, 0, 1)
        self._steps_done = 0

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""
        return {**self.trainer.variables, **self.algorithm.variables}

    def run(self, run: Run) -> None:
        """Searches to the end, starting from the last checkpoint; writes its files to `search/`."""
        # Drawn before a checkpoint is restored, when the algorithm has learnt nothing yet.
        start = self._draw(_COUNTED_ARCS, _REPORT_DRAWS, 0)
        monitor = ControllerMonitor(self.algorithm, start, self.config.num_epochs)
        schedule = Schedule(
            self.config.num_epochs,
            (
                Stage(self.epochs.steps_per_epoch, self._train_child),
                Stage(self.config.updates_per_epoch, self._train_controller),
            ),
            partial(self._report, run=run, monitor=monitor),
            self.epochs.start,
            self.task.max_rollbacks,
        )
        session = Session(
            run.path("search"), self.variables, schedule, self.task.examples, "search"
        )
        try:
            session.run()
        finally:
            session.close()
        self._steps_done = session.step
        run.mark_done("search", outputs=["search/arcs.jsonl"], step=session.step)

    def restore(self, run: Run) -> None:
        """Restores the newest checkpoint of a search.

        Raises:
            UserError: there is no checkpoint.
        """
        stored = Checkpoints(run.path("search/checkpoints"), self.variables).restore()
        if stored is None:
            raise UserError(f"{run.folder} holds no search; run the verb search first")
        self.epochs.start(stored["state"].get("rollbacks", 0))
        self._steps_done = stored["step"]

    def searched(self) -> Searched:
        """Returns the result of the search, after `run` or `restore`."""
        return Searched(
            self.algorithm,
            self.evaluator,
            lambda n, block: self._draw(n, _DERIVE_DRAWS, block).tokens,
            self._steps_done,
            self._first_seed,
        )

    def _draw(self, n: int, stream: int, count: int) -> Draws:
        """Proposes `n` architectures, different ones for each stream and count."""
        # There are four streams, so that no two pairs of seed and stream share a number.
        return self.algorithm.propose(n, [4 * self.epochs.seed + stream, count])

    def _train_child(self, session: Session, epoch: int, steps: range) -> None:
        """Trains the shared weights for the remaining steps of an epoch."""
        # Drawn for the whole epoch, even if steps are done already, so that a resumed run gets the
        # same architectures.
        arcs = self._replicas if self.config.arcs_per_step == "replica" else 1
        tokens = self._draw(self.epochs.steps_per_epoch * arcs, _CHILD_DRAWS, epoch).tokens

        def of_step(step: int) -> tuple:
            mine = tokens[step * arcs : (step + 1) * arcs]
            return (mine[0] if arcs == 1 else per_replica(self._strategy, mine),)

        self.epochs.run(session, "child", epoch, steps, of_step)

    def _train_controller(self, session: Session, epoch: int, updates: range) -> None:
        """Makes the remaining updates of the controller in an epoch."""
        n = self.config.arcs_per_update
        # The report at the end of each epoch uses batches of its own, which are left out here.
        first = (epoch * self.config.updates_per_epoch + updates.start) * n
        first += epoch * _REPORTED_ARCS
        batches = self.evaluator.shuffled_batches(self.epochs.seed, first, n * len(updates))
        num_examples = n * self.task.num_examples(self.config.batch_size)
        learning_rate = self.algorithm.config.learning_rate
        for update in updates:
            count = epoch * self.config.updates_per_epoch + update
            tokens = self._draw(n, _UPDATE_DRAWS, count).tokens
            metrics = self.algorithm.feedback(tokens, self.evaluator.rewards(tokens, batches))
            is_last = update == updates[-1]
            session.advance(
                "controller", epoch, num_examples, metrics, is_last, learning_rate=learning_rate
            )

    def _report(self, session: Session, epoch: int, run: Run, monitor: ControllerMonitor) -> None:
        """Reports how the controller does, compared with uniform draws.

        Adds ten of its architectures and their rewards to `search/arcs.jsonl`.
        """
        n = -(-_REPORTED_ARCS // self._replicas) * self._replicas
        seed, space = self.epochs.seed, self.algorithm.space
        tokens = self._draw(max(n, _COUNTED_ARCS), _REPORT_DRAWS, epoch).tokens
        updates = (epoch + 1) * self.config.updates_per_epoch
        first = updates * self.config.arcs_per_update + epoch * _REPORTED_ARCS
        # Both are rewarded on the same batches, so that the gap does not depend on how hard these
        # are.
        rewards, uniform = (
            self.evaluator.rewards(some, self.evaluator.shuffled_batches(seed, first, n))
            for some in (tokens[:n], draw_uniformly(space, n, random.Random(f"{seed} {epoch}")))
        )
        arcs = [space.parse(one) for one in tokens.numpy().tolist()]
        reported = slice(_REPORTED_ARCS)
        monitor.report(session, epoch, arcs, rewards[reported], uniform[reported])
        arcs_log.write_epoch(run, epoch, arcs, rewards[reported])
