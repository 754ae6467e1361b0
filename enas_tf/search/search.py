"""The search: shared weights and controller are trained in turns.

Reference: Pham et al. 2018, section 2.2.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Space
from enas_tf.layers.dropout import Clock, attempt_offset
from enas_tf.search import arcs_log
from enas_tf.search.controller import Draws
from enas_tf.search.monitor import Watch
from enas_tf.search.reinforce import Reinforce
from enas_tf.tasks.base import Task
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.child_trainer import Learner
from enas_tf.training.distribution import distribute
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Loop

# Draws after each epoch: so many are rewarded, and more, which cost nothing, are counted.
_REPORTED_ARCS = 10
_COUNTED_ARCS = 100

# Streams of random numbers; each is counted up by steps, so that a resumed run draws the same.
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
        """Raises UserError for numbers that make no search."""
        for name in ("num_epochs", "batch_size", "updates_per_epoch", "arcs_per_update"):
            if getattr(self, name) < 1:
                raise UserError(f"search.{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise UserError(f"search.max_steps must not be negative, got {self.max_steps}")

    def check_replicas(self, count: int) -> None:
        """Raises UserError where so many replicas cannot share the rewards of an update."""
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
        "what batch norm goes by in rewards: the batch's own statistics, or moving averages over "
        "all architectures, as in the authors' macro search",
    )
    cutout: int = option(0, "side of the cutout square in the search, in pixels; 0: none")

    def __post_init__(self) -> None:
        """Raises UserError for numbers that make no search."""
        super().__post_init__()
        if self.cutout < 0:
            raise UserError(f"search.cutout must not be negative, got {self.cutout}")


class Search:
    """A search's parts, and the loop that trains them.

    Its `steps_done` tell how far the search has come whose weights it holds.

    Args:
        learner: trains the shared weights; its child takes inputs, tokens and `training`.
        reinforce: trains the controller, which lives on the host and in no strategy.
        task: the data, losses and rewards.
        config: the search's.
        clock: the supernet's.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        learner: Learner,
        reinforce: Reinforce,
        task: Task,
        config: SearchConfig,
        clock: Clock,
        seed: int,
    ) -> None:
        self.learner = learner
        self.reinforce = reinforce
        self.task = task
        self.config = config
        self.clock = clock
        self.seed = seed
        self._strategy = learner.strategy
        self._replicas = self._strategy.num_replicas_in_sync
        config.check_replicas(self._replicas)
        self._start_attempt(0)
        # Tells of a validation split that is too small now, not after an epoch.
        self.reward_batches(0, 1)
        self._sample = tf.function(reinforce.controller.sample, autograph=False)
        self._sums_by_replica = tf.function(self._sums_by_replica, autograph=False)
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size, config.max_steps)
        self.steps_done = 0

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name."""
        return {**self.learner.variables, **self.reinforce.variables}

    def run(self, run: Run) -> None:
        """Searches to the end, from the last checkpoint on; leaves all in `search/`."""
        per_epoch = self.steps_per_epoch + self.config.updates_per_epoch
        total = self.config.num_epochs * per_epoch
        loop = Loop(run.path("search"), self.variables, total, self.task.unit, "search")
        # Before a checkpoint is restored: what the controller draws that knows nothing yet.
        start = self._draw(_COUNTED_ARCS, _REPORT_DRAWS, 0)
        watch = Watch(self.reinforce.controller, start, self.config.num_epochs)

        def search() -> None:
            self._start_attempt(loop.attempt)
            for epoch in range(loop.step // per_epoch, self.config.num_epochs):
                done = loop.step - epoch * per_epoch
                self._train_child(loop, epoch, range(done, self.steps_per_epoch))
                done = max(0, done - self.steps_per_epoch)
                self._train_controller(loop, epoch, range(done, self.config.updates_per_epoch))
                self._report(loop, epoch, run, watch)
                loop.save()

        try:
            loop.run(search, self.task.max_rollbacks)
        finally:
            loop.close()
        self.steps_done = loop.step

    def restore(self, run: Run) -> None:
        """Restores the newest checkpoint of a search.

        Raises:
            UserError: there is none.
        """
        stored = Checkpoints(run.path("search/checkpoints"), self.variables).restore()
        if stored is None:
            raise UserError(f"{run.folder} holds no search; run the verb search first")
        self._start_attempt(stored["state"].get("rollbacks", 0))
        self.steps_done = stored["step"]

    def _start_attempt(self, attempt: int) -> None:
        self.clock.attempt.assign(attempt)
        self._attempt_seed = self.seed + attempt_offset(attempt)

    def sample_to_derive(self, n: int, block: int) -> tf.Tensor:
        """Tokens of `n` architectures that the search has not drawn, `(n, num_tokens)`."""
        return self._draw(n, _DERIVE_DRAWS, block).tokens

    def _draw(self, n: int, stream: int, count: int) -> Draws:
        """Draws `n` architectures on the host, where switch_case asks for their tokens."""
        seed = [4 * self._attempt_seed + stream, count]
        with tf.device("CPU:0"):
            # The number is a tensor, so that the function is traced once.
            return self._sample(tf.constant(n), tf.constant(seed))

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """The rewards of architectures, each on the next validation batch.

        Args:
            tokens: `(n, num_tokens)`; `n` must be a multiple of the number of replicas.
            batches: of `reward_batches`.
        """
        sums = []
        for first in range(0, len(tokens), self._replicas):
            mine = self._per_replica(tokens[first : first + self._replicas])
            sums.append(self._sums_by_replica(next(batches), mine))
        rewards = []
        # Only now: devices need not wait for the host between two architectures.
        for one in ({name: values.numpy() for name, values in s.items()} for s in sums):
            for replica in range(self._replicas):
                mine = {name: float(values[replica]) for name, values in one.items()}
                rewards.append(self.task.reward(self.task.metrics(mine)))
        return rewards

    def reward_batches(self, first: int, count: int) -> Iterator:
        """Shuffled validation batches number `first` to `first + count - 1`, for `rewards`."""
        batches = self.task.reward_batches(
            self.config.batch_size, seed=self._attempt_seed, steps=range(first, first + count)
        )
        return iter(distribute(self._strategy, lambda shard: batches.shard(shard[1], shard[0])))

    def _train_child(self, loop: Loop, epoch: int, steps: range) -> None:
        """Trains the shared weights for the steps of an epoch that are left."""
        if not steps:
            return
        rate = self.learner.config.rate(epoch)
        self.learner.optimizer.learning_rate = rate
        first = epoch * self.steps_per_epoch
        arcs = self._replicas if self.config.arcs_per_step == "replica" else 1
        tokens = self._draw(self.steps_per_epoch * arcs, _CHILD_DRAWS, epoch).tokens

        def of_step(step: int):
            mine = tokens[step * arcs : (step + 1) * arcs]
            return mine[0] if arcs == 1 else self._per_replica(mine)

        batches = self._train_batches(first, steps)
        self.learner.trace(batches, of_step(steps[0]))
        for step, batch in zip(steps, batches, strict=True):
            self.clock.step.assign(first + step)
            numbers = self.learner.train_step(batch, of_step(step))
            last = step == steps[-1]
            amount = self.task.units_per_step(self.config.batch_size)
            loop.advance("child", epoch, amount, numbers, last, learning_rate=rate)

    def _train_batches(self, first: int, steps: range):
        wanted = range(first + steps.start, first + steps.stop)
        return distribute(
            self._strategy,
            lambda shard: self.task.train_batches(
                self.config.batch_size, seed=self._attempt_seed, steps=wanted, shard=shard
            ),
        )

    def _train_controller(self, loop: Loop, epoch: int, updates: range) -> None:
        """Makes the controller's updates of an epoch that are left."""
        n = self.config.arcs_per_update
        # The report at each epoch's end takes batches of its own.
        first = (epoch * self.config.updates_per_epoch + updates.start) * n
        batches = self.reward_batches(first + epoch * _REPORTED_ARCS, n * len(updates))
        for number in updates:
            count = epoch * self.config.updates_per_epoch + number
            tokens = self._draw(n, _UPDATE_DRAWS, count).tokens
            rewards = self.rewards(tokens, batches)
            with tf.device("CPU:0"):
                numbers = self.reinforce.learn(tokens, tf.constant(rewards))
            amount = n * self.task.units_per_step(self.config.batch_size)
            last = number == updates[-1]
            rate = self.reinforce.controller.config.learning_rate
            loop.advance("controller", epoch, amount, numbers, last, learning_rate=rate)

    def _report(self, loop: Loop, epoch: int, run: Run, watch: Watch) -> None:
        """Tells how the controller does, beside uniform draws.

        Adds ten of its architectures and their rewards to `search/arcs.jsonl`.
        """
        n = -(-_REPORTED_ARCS // self._replicas) * self._replicas
        tokens = self._draw(max(n, _COUNTED_ARCS), _REPORT_DRAWS, epoch).tokens
        updates = (epoch + 1) * self.config.updates_per_epoch
        first = updates * self.config.arcs_per_update + epoch * _REPORTED_ARCS
        space, rng = self.reinforce.controller.space, random.Random(f"{self._attempt_seed} {epoch}")
        # Both on the same batches, so that the gap does not depend on how hard these are.
        rewards, uniform = (
            self.rewards(some, self.reward_batches(first, n))[:_REPORTED_ARCS]
            for some in (tokens[:n], draw_uniformly(space, n, rng))
        )
        arcs = [space.parse(one) for one in tokens.numpy().tolist()]
        watch.tell(loop, epoch, arcs, rewards, uniform)
        arcs_log.write_epoch(run, epoch, arcs, rewards)

    def _sums_by_replica(self, batch: tuple, tokens) -> dict[str, tf.Tensor]:
        """The task's sums of each replica's batch and architecture, `(replicas,)`."""
        sums = self._strategy.run(self.learner.sums, args=(*batch, tokens))
        return {name: self._strategy.gather(value, axis=0) for name, value in sums.items()}

    def _per_replica(self, tokens: tf.Tensor):
        """One architecture for each replica."""
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tokens[context.replica_id_in_sync_group]
        )


def draw_uniformly(space: Space, n: int, rng: random.Random) -> tf.Tensor:
    """Tokens of `n` architectures of a space, all equally likely, `(n, num_tokens)`, int32."""
    with tf.device("CPU:0"):
        return tf.constant([space.random(rng).tokens for _ in range(n)], tf.int32)


def is_finished(run: Run, config: SearchConfig) -> bool:
    """Whether a run's folder holds all epochs of a search."""
    return arcs_log.last_epoch(run) == config.num_epochs - 1
