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
from enas_tf.layers.dropout import retry_offset
from enas_tf.search import arcs_log
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.controller import Draws
from enas_tf.search.cost_rewards import CostEvaluator, CostKind, CostOf, CostReward
from enas_tf.search.monitor import ControllerMonitor
from enas_tf.search.sampling import SAMPLERS, draw_uniformly
from enas_tf.search.searched import Searched
from enas_tf.search.truth import Truth
from enas_tf.search.weights import Weights
from enas_tf.tasks.images import RewardMetric
from enas_tf.training.checkpoints import Checkpoints
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
    sampling: Literal["controller", "uniform", "fair"] = option(
        "controller",
        "which architectures the shared weights are trained on: what the controller draws, as in "
        "the paper; uniform draws; or fair ones, in which all ops take turns",
    )
    warmup_epochs: int = option(
        0,
        "epochs at the start in which the controller rests and the shared weights are trained on "
        "uniform draws, or on fair ones if search.sampling says so",
    )
    reward_batches: int = option(1, "validation batches in each reward of the controller")
    average_decay: float = option(
        0.0,
        "reward with a moving average of the shared weights, of which each step keeps this part, "
        "such as 0.999; 0: with the weights themselves",
    )
    snapshots: int = option(
        1,
        "keep the shared weights, or their moving average, at the ends of so many of the last "
        "epochs, and rank architectures with all of these, each on its part of the validation "
        "batches; 1: with the last",
    )
    cost: CostKind = option(
        "none",
        "lower the reward of architectures whose final network costs more than cost_target: "
        "params, its parameters; madds, its multiply-adds for one image or word; latency, its "
        "milliseconds for latency_batch images on this device, by a table that is measured first",
    )
    latency_batch: int = option(1, "images in a batch where latencies are measured")
    cost_target: float = option(0.0, "the cost that an architecture should have, at most")
    cost_weight: float = option(
        -0.07, "how much costs count: the exponent of the soft form, the factor of the absolute"
    )
    cost_form: Literal["soft", "absolute"] = option(
        "soft",
        "soft: reward * (cost / target) ** weight above the target (MnasNet); absolute: reward + "
        "weight * |cost / target - 1| (TuNAS)",
    )
    reward: Literal["weights", "truth"] = option(
        "weights",
        "weights: architectures are rewarded with shared weights, which are trained; truth: by the "
        "table of --truth, in parts of 1, and only the controller is trained",
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no search is possible."""
        positive = "num_epochs", "batch_size", "updates_per_epoch", "arcs_per_update"
        for name in (*positive, "reward_batches", "snapshots", "latency_batch"):
            if getattr(self, name) < 1:
                raise UserError(f"search.{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise UserError(f"search.max_steps must not be negative, got {self.max_steps}")
        if not 0 <= self.average_decay < 1:
            raise UserError(
                f"search.average_decay must be at least 0 and below 1, got {self.average_decay}"
            )
        _ = self.cost_reward
        if not 0 <= self.warmup_epochs < self.num_epochs:
            raise UserError(
                "search.warmup_epochs must be at least 0 and below search.num_epochs, "
                f"{self.num_epochs}, got {self.warmup_epochs}"
            )

    @property
    def cost_reward(self) -> CostReward:
        """How costs change rewards; raises UserError for numbers with which they cannot."""
        return CostReward(self.cost, self.cost_target, self.cost_weight, self.cost_form)

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
    metric: RewardMetric = option(
        "accuracy",
        "what rewards an architecture, and picks the best epoch of its training: accuracy, or "
        "balanced_accuracy, the mean over the classes, for classes of unequal sizes",
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no search is possible."""
        super().__post_init__()
        if self.cutout < 0:
            raise UserError(f"search.cutout must not be negative, got {self.cutout}")


class Search:
    """A search: its parts, and what they do in each epoch.

    Args:
        weights: the shared weights, or what rewards in their place.
        algorithm: proposes architectures and learns from their rewards.
        config: the search's.
        seed: of all that is drawn.
        truth: true accuracies, to report those of what is drawn.
        cost_of: of an architecture, needed where the search has a cost.
    """

    def __init__(
        self,
        weights: Weights,
        algorithm: Algorithm,
        config: SearchConfig,
        seed: int,
        truth: Truth | None = None,
        cost_of: CostOf | None = None,
    ) -> None:
        config.check_replicas(weights.replicas)
        self.weights = weights
        self.algorithm = algorithm
        self.config = config
        self.evaluator = weights.evaluator
        if config.cost != "none":
            self.evaluator = CostEvaluator(weights.evaluator, config.cost_reward, cost_of)
        self._truth = truth
        self._first_seed = self._seed = seed
        self._steps_done = 0

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name."""
        return {**self.weights.variables, **self.algorithm.variables}

    def run(self, run: Run) -> None:
        """Searches to the end, starting from the last checkpoint; writes its files to `search/`."""
        # Drawn before a checkpoint is restored, when the algorithm has learnt nothing yet.
        start = self._draw(_COUNTED_ARCS, _REPORT_DRAWS, 0)
        # Where a table rewards, there are no weights to warm up.
        first = self.config.warmup_epochs if self.weights.steps_per_epoch else 0
        epochs = range(first, self.config.num_epochs)
        monitor = ControllerMonitor(self.algorithm, start, epochs, self._truth)
        schedule = Schedule(
            self.config.num_epochs,
            (
                Stage(self.weights.steps_per_epoch, self._train_child),
                Stage(
                    self.config.updates_per_epoch,
                    self._train_controller,
                    first_epoch=first,
                ),
            ),
            partial(self._report, run=run, monitor=monitor),
            self._start,
            self.weights.max_rollbacks,
        )
        folder, examples = run.path("search"), self.weights.examples
        session = Session(folder, self.variables, schedule, examples, "search", run.tracker)
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
        self._start(stored["state"].get("rollbacks", 0))
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

    def _start(self, retries: int) -> None:
        """Has all that follows draw the numbers of a retry, counted from 0."""
        self._seed = self._first_seed + retry_offset(retries)
        self.weights.start(retries)

    def _draw(self, n: int, stream: int, count: int) -> Draws:
        """Proposes `n` architectures, others for each stream and count."""
        return self.algorithm.propose(n, [4 * self._seed + stream, count])

    def _train_child(self, session: Session, epoch: int, steps: range) -> None:
        """Trains the shared weights for the steps of an epoch that are left."""

        def draw(n: int) -> tf.Tensor:
            sampling = self.config.sampling
            if sampling == "controller" and epoch >= self.config.warmup_epochs:
                return self._draw(n, _CHILD_DRAWS, epoch).tokens
            sampler = SAMPLERS.get(sampling, draw_uniformly)
            return sampler(self.algorithm.space, n, random.Random(f"{self._seed} child {epoch}"))

        self.weights.train(session, epoch, steps, draw)

    def _train_controller(self, session: Session, epoch: int, updates: range) -> None:
        """Makes the remaining updates of the controller in an epoch."""
        n = self.config.arcs_per_update
        # The report at the end of each epoch uses batches of its own, which are left out here.
        first = (epoch * self.config.updates_per_epoch + updates.start) * n
        first += epoch * _REPORTED_ARCS
        batches = self.evaluator.shuffled_batches(self._seed, first, n * len(updates))
        num_examples = n * self.weights.examples_per_reward
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
        replicas = self.weights.replicas
        n = -(-_REPORTED_ARCS // replicas) * replicas
        seed, space = self._seed, self.algorithm.space
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
