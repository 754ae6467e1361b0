"""The search: shared weights and controller are trained in turns.

Reference: Pham et al. 2018, section 2.2.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from enas_tf.checkpoints import Checkpoints
from enas_tf.errors import UserError
from enas_tf.layers.dropout import Clock, attempt_offset
from enas_tf.learner import Learner
from enas_tf.loop import Loop
from enas_tf.options import option
from enas_tf.reinforce import Reinforce
from enas_tf.runs import Run
from enas_tf.strategies import distribute
from enas_tf.tasks.base import Task

_REPORTED_ARCS = 10

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


@dataclass(frozen=True)
class ImageSearchConfig(SearchConfig):
    """The search of networks for images."""

    reward_bn: Literal["batch", "moving"] = option(
        "batch",
        "what batch norm goes by in rewards: the batch's own statistics, or moving averages over "
        "all architectures, as in the authors' macro search",
    )
    cutout: int = option(0, "side of the cutout square in the search, in pixels; 0: none")


class Search:
    """A search's parts, and the loop that trains them.

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
        if self.config.arcs_per_update % self._replicas:
            raise UserError(
                f"search.arcs_per_update must be a multiple of {self._replicas}, the number of "
                f"replicas that share the rewards, got {self.config.arcs_per_update}"
            )
        self._start_attempt(0)
        # Tells of a validation split that is too small now, not after an epoch.
        self.reward_batches(0, 1)
        self._sample = tf.function(reinforce.controller.sample, autograph=False)
        self._sums_by_replica = tf.function(self._sums_by_replica, autograph=False)
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size, config.max_steps)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name."""
        of_controller = {f"controller_{n:04d}": v for n, v in enumerate(self.reinforce.variables)}
        return {**self.learner.variables, **of_controller}

    def run(self, run: Run) -> None:
        """Searches to the end, from the last checkpoint on; leaves all in `search/`."""
        per_epoch = self.steps_per_epoch + self.config.updates_per_epoch
        total = self.config.num_epochs * per_epoch
        loop = Loop(run.path("search"), self.variables, total, self.task.unit, "search")

        def search() -> None:
            self._start_attempt(loop.attempt)
            for epoch in range(loop.step // per_epoch, self.config.num_epochs):
                done = loop.step - epoch * per_epoch
                self._train_child(loop, epoch, range(done, self.steps_per_epoch))
                done = max(0, done - self.steps_per_epoch)
                self._train_controller(loop, epoch, range(done, self.config.updates_per_epoch))
                self._report(loop, epoch, run)
                loop.save()

        try:
            loop.run(search, self.task.max_rollbacks)
        finally:
            loop.close()

    def restore(self, run: Run) -> None:
        """Restores the newest checkpoint of a search.

        Raises:
            UserError: there is none.
        """
        stored = Checkpoints(run.path("search/checkpoints"), self.variables).restore()
        if stored is None:
            raise UserError(f"{run.folder} holds no search; run the verb search first")
        self._start_attempt(stored["state"].get("rollbacks", 0))

    def _start_attempt(self, attempt: int) -> None:
        self.clock.attempt.assign(attempt)
        self._attempt_seed = self.seed + attempt_offset(attempt)

    def sample_to_derive(self, n: int, block: int) -> tf.Tensor:
        """Tokens of `n` architectures that the search has not drawn, `(n, num_tokens)`."""
        return self._draw(n, _DERIVE_DRAWS, block)

    def _draw(self, n: int, stream: int, count: int) -> tf.Tensor:
        """Tokens of `n` drawn architectures, `(n, num_tokens)`, int32.

        They are drawn on the host, where switch_case asks for them.
        """
        with tf.device("CPU:0"):
            return self._sample(n, tf.constant([4 * self._attempt_seed + stream, count])).tokens

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """The rewards of architectures, each on the next validation batch.

        Args:
            tokens: `(n, num_tokens)`; `n` must be a multiple of the number of replicas.
            batches: of `reward_batches`.
        """
        rewards = []
        for first in range(0, len(tokens), self._replicas):
            mine = self._per_replica(tokens[first : first + self._replicas])
            sums = self._sums_by_replica(next(batches), mine)
            for replica in range(self._replicas):
                one = {name: float(values[replica]) for name, values in sums.items()}
                rewards.append(self.task.reward(self.task.metrics(one)))
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
        tokens = self._draw(self.steps_per_epoch * arcs, _CHILD_DRAWS, epoch)

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
                self.config.batch_size,
                seed=self._attempt_seed,
                steps=wanted,
                shard=shard,
            ),
        )

    def _train_controller(self, loop: Loop, epoch: int, updates: range) -> None:
        """Makes the controller's updates of an epoch that are left."""
        n = self.config.arcs_per_update
        # The report at each epoch's end takes batches of its own.
        first = (epoch * self.config.updates_per_epoch + updates.start) * n
        batches = self.reward_batches(first + epoch * _REPORTED_ARCS, n * len(updates))
        for number in updates:
            tokens = self._draw(n, _UPDATE_DRAWS, epoch * self.config.updates_per_epoch + number)
            rewards = self.rewards(tokens, batches)
            with tf.device("CPU:0"):
                numbers = self.reinforce.learn(tokens, tf.constant(rewards))
            amount = n * self.task.units_per_step(self.config.batch_size)
            last = number == updates[-1]
            rate = self.reinforce.controller.config.learning_rate
            loop.advance("controller", epoch, amount, numbers, last, learning_rate=rate)

    def _report(self, loop: Loop, epoch: int, run: Run) -> None:
        """Adds ten drawn architectures and their rewards to `search/arcs.jsonl`."""
        n = -(-_REPORTED_ARCS // self._replicas) * self._replicas
        tokens = self._draw(n, _REPORT_DRAWS, epoch)
        updates = (epoch + 1) * self.config.updates_per_epoch
        first = updates * self.config.arcs_per_update + epoch * _REPORTED_ARCS
        rewards = self.rewards(tokens, self.reward_batches(first, n))[:_REPORTED_ARCS]
        loop.record("valid", epoch, reward=sum(rewards) / len(rewards), best_reward=max(rewards))
        lines = [line for line in _read_lines(run) if json.loads(line)["epoch"] < epoch]
        for one, reward in zip(tokens.numpy().tolist(), rewards, strict=False):
            record = {"epoch": epoch, "arc": " ".join(map(str, one)), "reward": reward}
            lines.append(json.dumps(record))
        run.write_text("search/arcs.jsonl", "\n".join(lines) + "\n")

    def _sums_by_replica(self, batch: tuple, tokens) -> dict[str, tf.Tensor]:
        """The task's sums of each replica's batch and architecture, `(replicas,)`."""
        sums = self._strategy.run(self.learner.sums, args=(*batch, tokens))
        return {name: self._strategy.gather(value, axis=0) for name, value in sums.items()}

    def _per_replica(self, tokens: tf.Tensor):
        """One architecture for each replica."""
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tokens[context.replica_id_in_sync_group]
        )


def is_finished(run: Run, config: SearchConfig) -> bool:
    """Whether a run's folder holds all epochs of a search."""
    lines = _read_lines(run)
    return bool(lines) and json.loads(lines[-1])["epoch"] == config.num_epochs - 1


def _read_lines(run: Run) -> list[str]:
    path = run.path("search/arcs.jsonl")
    return path.read_text().splitlines() if path.exists() else []
