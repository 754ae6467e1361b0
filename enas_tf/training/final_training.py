"""The final training: trains one architecture, from scratch by default, and evaluates it.

Reference: Pham et al. 2018, sections 3.1 and 3.2.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import (
    CellChildConfig,
    ImageChildConfig,
    RnnChildConfig,
    StemKind,
)
from enas_tf.layers.dropout import StepRng
from enas_tf.tasks.base import Task
from enas_tf.tasks.images import ClassWeights
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from enas_tf.training.epochs import TrainingEpochs
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Schedule, Session, Stage
from enas_tf.training.weight_average import WeightAverage

_RESULT, _DETAILS, _INIT = "train/result.json", "train/classes.json", "train/init.json"

ChildConfig = TypeVar("ChildConfig", ImageChildConfig, RnnChildConfig)

BEST = "best"
"""The kind of the checkpoint that is evaluated and exported; in the end there is only one."""


@dataclass(frozen=True)
class TrainConfig:
    """The final training; its network is larger than the search's."""

    num_epochs: int = option(630, "epochs")
    batch_size: int = option(144, "examples in a batch")
    max_steps: int = option(0, "steps in an epoch, at most; 0: once through the training split")
    init: str | None = option(
        None,
        "what the final network's weights start from; unset: random numbers; shared: this run's "
        "search, where sizes agree with it; the folder of a run of the same space: its trained "
        "network, with its architecture and sizes unless flags say otherwise",
    )
    # Not options here: a subclass makes them options if its kind of data uses them.
    use_validation: bool = False
    average_after: int = 0

    def __post_init__(self) -> None:
        """Raises UserError for values with which no training is possible."""
        if self.init == "":
            raise UserError("train.init must be none, shared, or a run's folder, got nothing")
        for name in ("num_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_steps", "average_after"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name} must not be negative, got {getattr(self, name)}")

    def child(self, search_child: ChildConfig) -> ChildConfig:
        """Returns the final network's configuration: the search's, with the values set here.

        Raises:
            UserError: no network can have these values.
        """
        try:
            return self._final(search_child)
        except UserError as error:
            # The search's own values have been checked, so the wrong one belongs to the training.
            raise UserError("train." + str(error).removeprefix("child.")) from error

    @abstractmethod
    def _final(self, child: ChildConfig) -> ChildConfig:
        """Returns a child's configuration with the values of this one in place of its own."""


@dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
    """The final training on images."""

    out_filters: int = option(36, "as child.out_filters, of the final network", is_size=True)
    stem: StemKind | None = option(
        None, "of the final network, like child.stem; unset: the same", is_size=True
    )
    keep_prob: float = option(0.8, "as child.keep_prob, of the final network")
    drop_path_keep_prob: float = option(0.6, "as child.drop_path_keep_prob, of the final network")
    aux_head: bool = option(True, "as child.aux_head, of the final network", is_size=True)
    l2: float = option(2e-4, "as child.l2, of the final network")
    lr_max: float = option(0.05, "as child.lr_max, of the final training")
    lr_min: float = option(0.0001, "as child.lr_min, of the final training")
    lr_period: int = option(10, "as child.lr_period, of the final training")
    use_validation: bool = option(
        True, "train on the validation split too; there is then no best epoch, only the last"
    )
    class_weights: ClassWeights = option(
        "none", "balanced: weight each image's loss so that all classes weigh the same"
    )
    label_smoothing: float = option(0.0, "share of each label that is spread over all classes")
    mixup: float = option(
        0.0, "mix each image with another one, by a beta distribution of this parameter; 0: never"
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers with which no training is possible."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"train.label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            )
        if not (math.isfinite(self.mixup) and self.mixup >= 0):
            raise UserError(f"train.mixup must not be negative, got {self.mixup}")

    def _final(self, child: ImageChildConfig) -> ImageChildConfig:
        return replace(
            child,
            out_filters=self.out_filters,
            stem=self.stem or child.stem,
            keep_prob=self.keep_prob,
            drop_path_keep_prob=self.drop_path_keep_prob,
            aux_head=self.aux_head,
            l2=self.l2,
            decay_idle=True,
            lr_max=self.lr_max,
            lr_min=self.lr_min,
            lr_period=self.lr_period,
        )


@dataclass(frozen=True)
class CellTrainConfig(ImageTrainConfig):
    """The final training of a stack of cells; its network is larger than the search's."""

    num_layers: int = option(15, "as child.num_layers, of the final network", is_size=True)

    def _final(self, child: CellChildConfig) -> CellChildConfig:
        return replace(super()._final(child), num_layers=self.num_layers)


@dataclass(frozen=True)
class RnnTrainConfig(TrainConfig):
    """The final training on text; with averaged SGD where plain SGD gets no further."""

    num_epochs: int = option(3000, "epochs")
    batch_size: int = option(64, "rows of text in a batch")
    hidden_size: int = option(800, "as child.hidden_size, of the final network", is_size=True)
    drop_word: float = option(0.125, "as child.drop_word, of the final network")
    drop_embedding: float = option(0.175, "as child.drop_embedding, of the final network")
    drop_input: float = option(0.725, "as child.drop_input, of the final network")
    drop_node: float = option(0.225, "as child.drop_node, of the final network")
    drop_output: float = option(0.75, "as child.drop_output, of the final network")
    init_range: float = option(0.05, "as child.init_range, of the final network")
    activation_l2: float = option(0.7, "as child.activation_l2, of the final training")
    slowness: float = option(0.0, "as child.slowness, of the final training")
    learning_rate: float = option(20.0, "as child.learning_rate, of the final training")
    grad_clip: float = option(0.25, "as child.grad_clip, of the final training")
    average_after: int = option(
        10,
        "epochs without a better validation perplexity after which the weights' average over the "
        "steps from then on is what is evaluated; 0: never",
    )

    def _final(self, child: RnnChildConfig) -> RnnChildConfig:
        return replace(
            child,
            hidden_size=self.hidden_size,
            drop_word=self.drop_word,
            drop_embedding=self.drop_embedding,
            drop_input=self.drop_input,
            drop_node=self.drop_node,
            drop_output=self.drop_output,
            init_range=self.init_range,
            activation_l2=self.activation_l2,
            slowness=self.slowness,
            learning_rate=self.learning_rate,
            grad_clip=self.grad_clip,
        )


class Training:
    """A final training: its parts and its loop.

    Args:
        trainer: trains the network.
        task: defines data, losses and metrics; its training split is trained on.
        config: settings of the training.
        rng: random numbers of the network's dropout.
        seed: seed of all random numbers.
    """

    def __init__(
        self,
        trainer: ChildTrainer,
        task: Task,
        config: TrainConfig,
        rng: StepRng,
        seed: int,
    ) -> None:
        self.trainer = trainer
        self.task = task
        self.config = config
        self.epochs = TrainingEpochs(trainer, task, config, rng, seed)
        self.average = None
        if config.average_after:
            with trainer.strategy.scope():
                self.average = WeightAverage(trainer.trained)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""
        averages = self.average.variables if self.average else {}
        return {**self.trainer.variables, **averages}

    def run(
        self,
        run: Run,
        arc: str,
        params: int,
        tests: bool = True,
        initialize: Callable[[], dict] | None = None,
    ) -> dict:
        """Trains to the end, starting from the last checkpoint, then tests the network once.

        Does nothing if this has been done before.

        Args:
            run: the run that checkpoints, metrics and `train/result.json` are written to.
            arc: the architecture as text; checkpoints of another one are refused.
            params: number of weights of the network, for the result.
            tests: whether to use the test split at the end; otherwise the result has no `test`.
            initialize: gives the network its initial weights, if they are not random, and returns
                what they are; called before the first step, and not by a resume.

        Returns:
            The content of `train/result.json`.

        Raises:
            UserError: the run holds checkpoints of another architecture.
        """
        self._refuse_another(run, arc)
        if run.is_done("train", arc=arc):
            return run.read_json(_RESULT)
        schedule = Schedule(
            self.config.num_epochs,
            (Stage(self.epochs.steps_per_epoch, self._train),),
            self._end_epoch,
            self.epochs.start,
            self.task.max_rollbacks,
        )
        run.tracker.architecture(arc)
        folder, examples = run.path("train"), self.task.examples
        session = Session(folder, self.variables, schedule, examples, "train", run.tracker)
        try:
            init = self._initialize(session, run, initialize) if initialize else {}
            session.run()
            result = self._finish(session, run, arc, params, tests) | init
        finally:
            session.close()
        run.write_json(_RESULT, result)
        run.mark_done("train", outputs=[_RESULT], arc=arc)
        run.tracker.saved(folder)
        run.tracker.result(result)
        return result

    def _initialize(self, session: Session, run: Run, initialize: Callable[[], dict]) -> dict:
        """Gives the network its initial weights, once; returns what the result says of them."""
        if not session.checkpoints.exist():
            run.write_json(_INIT, initialize())
        init = run.read_json(_INIT)
        return {"init": {name: value for name, value in init.items() if name != "drawn"}}

    def evaluate(self, split: str) -> dict[str, float]:
        """Computes the task's metrics on a split, with the current weights."""
        return self.task.metrics(self._totals(split))

    def evaluate_in_detail(self, split: str) -> tuple[dict[str, float], dict]:
        """Computes the task's metrics on a split, and its details."""
        totals = self._totals(split)
        return self.task.metrics(totals), self.task.details(totals)

    def _totals(self, split: str) -> dict:
        batches = distribute(
            self.trainer.strategy,
            lambda shard: self.task.eval_batches(split, self.config.batch_size, shard),
        )
        return self.trainer.added_totals(batches)

    def restore_best(self, run: Run) -> dict:
        """Restores the weights to evaluate and export; returns the state of their checkpoint."""
        return Checkpoints(run.path("train/checkpoints"), self.variables).read_newest(BEST)

    def _refuse_another(self, run: Run, arc: str) -> None:
        """Raises UserError for checkpoints of another architecture.

        Otherwise they would be read, do not fit, and be reported as damaged.
        """
        path = run.path("train/arc.txt")
        trained = path.read_text().strip() if path.exists() else arc
        if trained != arc:
            raise UserError(
                f"the checkpoints in train/ are of another architecture ({trained[:40]}...); use "
                "another --workdir, or --overwrite to remove that run"
            )
        run.write_text("train/arc.txt", arc + "\n")

    def _train(self, session: Session, epoch: int, steps: range) -> None:
        """Trains for the remaining steps of an epoch; averages the weights if this has begun."""

        def after_step(_: int) -> None:
            if session.state.get("averaging"):
                self.average.update()

        self.epochs.run(session, "train", epoch, steps, after_step=after_step)

    def _end_epoch(self, session: Session, epoch: int) -> None:
        """Validates, unless the validation split is trained on, and keeps the best weights."""
        if self.config.use_validation:
            return
        self._keep_one_best(session)
        with self._evaluated_weights(session):
            metrics = self.evaluate("valid")
            session.record("valid", epoch, **metrics)
            best = session.state.get("best")
            if best is None or self.task.reward(metrics) > self.task.reward(best):
                session.state["best"] = {"epoch": epoch, **metrics}
                self._write_best(session)
        self._maybe_average(session, self.task.reward(metrics))

    def _write_best(self, session: Session) -> None:
        session.state["best_step"] = session.step
        session.checkpoints.write(BEST, session.step, session.state)

    def _keep_one_best(self, session: Session) -> None:
        """Removes all best checkpoints except the one that the last checkpoint refers to.

        This is not done as soon as a better one is written: after a kill, the epoch is done again
        from the last checkpoint, which still refers to the earlier one.
        """
        if "best_step" in session.state:
            session.checkpoints.keep_only(BEST, session.state["best_step"])

    def _evaluated_weights(self, session: Session) -> AbstractContextManager:
        """Puts the weights to evaluate in place: the average, once averaging has begun."""
        return self.average.in_place() if session.state.get("averaging") else nullcontext()

    def _maybe_average(self, session: Session, reward: float) -> None:
        """Starts averaging if this epoch is worse than the best of the earlier ones.

        Earlier epochs are those more than `average_after` before this one.
        """
        if not self.average or session.state.get("averaging"):
            return
        rewards = session.state.setdefault("rewards", [])
        earlier = rewards[: -self.config.average_after]
        rewards.append(reward)
        if earlier and reward < max(earlier):
            session.state["averaging"] = True
            session.note("no better validation lately: averaging the weights from now on")

    def _finish(self, session: Session, run: Run, arc: str, params: int, tests: bool) -> dict:
        """Puts the best weights in place, tests them if requested, and returns the result."""
        if self.config.use_validation:
            self._write_best(session)
        self._keep_one_best(session)
        session.checkpoints.read_newest(BEST)
        result: dict = {"arc": arc, "params": params}
        if tests:
            result["test"], details = self.evaluate_in_detail("test")
            if details:
                run.write_json(_DETAILS, details)
            session.record("test", self.config.num_epochs - 1, **result["test"])
        num_examples = self.task.num_examples(self.config.batch_size)
        return result | {
            "final": _last_metrics(run, self.task.examples),
            "best_valid": session.state.get("best"),
            "epochs": self.config.num_epochs,
            "seconds": round(session.metrics.seconds, 1),
            f"{self.task.examples}_seen": round(session.step * num_examples),
        }


def _last_metrics(run: Run, examples: str) -> dict[str, dict[str, float]]:
    """Returns the last metrics of training and, if there are any, of validation."""
    last = {record["phase"]: record for record in read_metrics(run.path("train"))}
    left_out = ("phase", "step", "seconds", f"{examples}_per_second")
    return {
        phase: {name: value for name, value in last[phase].items() if name not in left_out}
        for phase in ("train", "valid")
        if phase in last
    }
