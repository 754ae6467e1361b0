"""The rewards of architectures with the shared weights, all of which are computed here."""

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import tensorflow as tf

from enas_tf.tasks.base import REWARD_NOTE, Task
from enas_tf.training.child_trainer import Batches, ChildTrainer
from enas_tf.training.distribution import distribute
from enas_tf.training.progress import Progress
from enas_tf.training.run_folder import Run, json_line
from enas_tf.training.weight_average import WeightAverage

InPlace = Callable[[], AbstractContextManager]
"""Makes a context in which the shared weights are others."""


class Rewarder(Protocol):
    """What rewards architectures, for search, derivation and comparison.

    Attributes:
        note: what its rewards are, in words.
        task: whose metrics of a network trained alone compare with them.
    """

    note: str
    task: Task

    def shuffled_batches(self, seed: int, first: int, count: int) -> Iterator:
        """Makes the data that rewards number `first` to `first + count - 1` are computed on."""

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """Rewards each architecture, `(n, num_tokens)`, on its own part of the data."""

    def rewards_on_split(
        self, arcs: Mapping[str, tf.Tensor], num_batches: int, kept: "KeptRewards", label: str
    ) -> dict[str, float]:
        """Rewards architectures, tokens by text, on the same data; returns rewards by text."""


class Evaluator:
    """Rewards architectures on validation data, with the current shared weights.

    A search rewards each architecture on a batch of its own, which is cheap and good enough on
    average; to rank architectures, all of them are rewarded on the same data.

    Args:
        trainer: trains the shared weights; its child takes inputs, tokens and `training`.
        task: provides validation batches, and computes rewards from its metrics.
        batch_size: examples in a batch.
        batches_per_reward: on so many batches a search rewards each architecture.
        averaged: makes a context in which the shared weights are the averages to reward with.
        snapshots: of the shared weights, with all of which architectures are ranked.
    """

    note = REWARD_NOTE

    def __init__(
        self,
        trainer: ChildTrainer,
        task: Task,
        batch_size: int,
        batches_per_reward: int = 1,
        averaged: InPlace = nullcontext,
        snapshots: Sequence[WeightAverage] = (),
    ) -> None:
        self.task = task
        self._trainer = trainer
        self._batch_size = batch_size
        self._batches_per_reward = batches_per_reward
        self._averaged = averaged
        self._snapshots = snapshots
        self._strategy = trainer.strategy
        self._count = functools.cache(self._count)
        self._totals_by_replica = tf.function(self._totals_by_replica, autograph=False)

    def shuffled_batches(self, seed: int, first: int, count: int) -> Iterator:
        """Returns the validation batches of rewards `first` to `first + count - 1`."""
        each = self._batches_per_reward
        steps = range(first * each, (first + count) * each)
        batches = self.task.reward_batches(self._batch_size, seed=seed, steps=steps)

        def of_replica(shard: tuple[int, int]) -> tf.data.Dataset:
            index, replicas = shard
            mine = batches.enumerate().filter(lambda step, _: step // each % replicas == index)
            return mine.map(lambda _, batch: batch)

        return iter(distribute(self._strategy, of_replica))

    def rewards(self, tokens: tf.Tensor, batches: Iterator) -> list[float]:
        """Rewards each architecture on its own batches; each replica evaluates another one.

        Args:
            tokens: `(n, num_tokens)`, int32; `n` must be a multiple of the number of replicas.
            batches: batches that `shuffled_batches` has returned.
        """
        replicas, totals = self._strategy.num_replicas_in_sync, []
        with self._averaged():
            for first in range(0, len(tokens), replicas):
                mine = per_replica(self._strategy, tokens[first : first + replicas])
                some = itertools.islice(batches, self._batches_per_reward)
                parts = [self._totals_by_replica(batch, mine) for batch in some]
                totals.append({name: sum(part[name] for part in parts) for name in parts[0]})
        rewards = []
        # Converted only now, so that devices need not wait for the host between two architectures.
        for one in ({name: values.numpy() for name, values in t.items()} for t in totals):
            for replica in range(replicas):
                mine = {name: np.float64(values[replica]) for name, values in one.items()}
                rewards.append(self.task.reward(self.task.metrics(mine)))
        return rewards

    def reward_on_split(self, tokens: tf.Tensor, num_batches: int) -> float:
        """Rewards one architecture on the validation split; all replicas share each batch.

        With snapshots of the weights, each has a part of the batches, so that many of them take no
        longer than one. Where a state goes from batch to batch, each has all of them.

        Args:
            tokens: `(num_tokens,)`, int32.
            num_batches: number of batches to use, from the start of the split; 0 uses all.
        """
        batches = distribute(
            self._strategy,
            lambda shard: self.task.eval_batches("valid", self._batch_size, shard).take(
                num_batches or -1
            ),
        )
        self._trainer.trace_evaluation(batches, tokens)
        taken = [snapshot.in_place for snapshot in self._snapshots if snapshot.is_updated]
        totals = []
        for in_place, part in self._shared_out(taken or [self._averaged], batches, num_batches):
            with in_place():
                totals.append(self._trainer.totals_of_part(part, tokens))
        added = {name: sum(one[name] for one in totals) for name in totals[0]}
        return self.task.reward(self.task.metrics(added))

    def _shared_out(
        self, versions: Sequence[InPlace], batches: Batches, num_batches: int
    ) -> Iterator[tuple[InPlace, Iterable]]:
        """Yields versions of the weights, each with its part of the batches."""
        if len(versions) == 1 or self.task.carries_state:
            yield from ((version, batches) for version in versions)
            return
        rest, left = iter(batches), self._count(num_batches)
        for place, version in enumerate(versions):
            size = -(-left // (len(versions) - place))
            left -= size
            if size:
                yield version, itertools.islice(rest, size)

    def _count(self, at_most: int) -> int:
        """Returns how many batches the validation split has."""
        shard = 0, self._strategy.num_replicas_in_sync
        batches = self.task.eval_batches("valid", self._batch_size, shard)
        return int(batches.take(at_most or -1).cardinality())

    def rewards_on_split(
        self, arcs: Mapping[str, tf.Tensor], num_batches: int, kept: "KeptRewards", label: str
    ) -> dict[str, float]:
        """Rewards architectures on the same validation data; shows progress.

        Args:
            arcs: tokens, `(num_tokens,)`, int32, by the architecture's text.
            num_batches: as for `reward_on_split`.
            kept: rewards that are already known; each new one is added.
            label: first word of the progress line.

        Returns:
            The reward of each architecture, by its text, in the order of `arcs`.
        """
        with Progress(len(arcs), "architectures", label) as progress:
            for step, (text, tokens) in enumerate(arcs.items(), 1):
                if text not in kept.rewards:
                    kept.add(text, self.reward_on_split(tokens, num_batches))
                progress.update(step, epoch=0, num_examples=1, reward=kept.rewards[text])
        return {text: kept.rewards[text] for text in arcs}

    def _totals_by_replica(self, batch: tuple, tokens) -> dict[str, tf.Tensor]:
        """Computes the task's totals of each replica's batch and architecture, `(replicas,)`."""
        totals = self._strategy.run(self._trainer.totals, args=(*batch, tokens))
        return {name: self._strategy.gather(value, axis=0) for name, value in totals.items()}


class KeptRewards:
    """Rewards on the validation split, kept in a file of JSON lines in case a process is killed.

    Args:
        run: the run whose folder holds the file.
        name: name of the file.
        step: step of the search whose weights are used.
        num_batches: on so many batches each is computed; 0: on all.

    Attributes:
        rewards: the rewards with the weights of this step on these batches, by the architecture's
            text; the file may also hold others.
    """

    def __init__(self, run: Run, name: str, step: int, num_batches: int) -> None:
        self._run = run
        self._name = name
        self._computed = {"step": step, "num_batches": num_batches}
        self.rewards = {
            record["arc"]: record["reward"]
            for record in self._records()
            if self._computed.items() <= record.items()
        }

    def add(self, text: str, reward: float) -> None:
        """Adds the reward of an architecture and writes it to the file."""
        record = {**self._computed, "arc": text, "reward": reward}
        self._run.append_line(self._name, json_line(record))
        self.rewards[text] = reward

    def _records(self) -> list[dict]:
        """Reads the file; removes a line from it that a killed process left incomplete."""
        path = self._run.path(self._name)
        if not path.exists():
            return []
        whole = path.read_text().rpartition("\n")[0]
        self._run.write_text(self._name, whole + "\n" if whole else "")
        return [json.loads(line) for line in whole.splitlines()]


def per_replica(strategy: tf.distribute.Strategy, tokens: tf.Tensor):
    """Gives each replica its own row of `tokens`, `(replicas, num_tokens)`."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: tokens[context.replica_id_in_sync_group]
    )
