"""The final training: trains one architecture, from scratch by default, and evaluates it.

Reference: Pham et al. 2018, sections 3.1 and 3.2.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.layers.dropout import StepRng
from enas_tf.tasks.base import Task
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from enas_tf.training.epochs import TrainingEpochs
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Schedule, Session, Stage
from enas_tf.training.train_config import TrainConfig
from enas_tf.training.weight_average import WeightAverage

_RESULT, _DETAILS, _INIT = "train/result.json", "train/classes.json", "train/init.json"

BEST = "best"
"""The kind of the checkpoint that is evaluated and exported; in the end there is only one."""


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
