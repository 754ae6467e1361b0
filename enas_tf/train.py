"""Training one architecture from scratch, and evaluating it.

Reference: Pham et al. 2018, sections 3.1 and 3.2.
"""

import time
from dataclasses import dataclass, fields, replace

from enas_tf.checkpoints import Checkpoints
from enas_tf.child import ImageChildConfig
from enas_tf.errors import UserError
from enas_tf.layers.dropout import Clock
from enas_tf.learner import Learner
from enas_tf.loop import Loop
from enas_tf.options import option
from enas_tf.runs import Run
from enas_tf.schedules import CosineRestarts
from enas_tf.strategies import distribute
from enas_tf.tasks.images import ImageTask

BEST = "best"
"""The name of the checkpoint that is evaluated and exported."""


@dataclass(frozen=True)
class ImageTrainConfig:
    """The final training; its network is larger than the search's."""

    num_epochs: int = option(630, "epochs")
    batch_size: int = option(144, "examples in a batch")
    max_steps: int = option(0, "steps in an epoch, at most; 0: once through the training split")
    out_filters: int = option(36, "as child.out_filters, of the final network")
    keep_prob: float = option(0.8, "as child.keep_prob, of the final network")
    drop_path_keep_prob: float = option(0.6, "as child.drop_path_keep_prob, of the final network")
    aux_head: bool = option(True, "as child.aux_head, of the final network")
    l2: float = option(2e-4, "as child.l2, of the final network")
    lr_max: float = option(0.05, "as child.lr_max, of the final training")
    lr_min: float = option(0.0001, "as child.lr_min, of the final training")
    lr_period: int = option(10, "as child.lr_period, of the final training")
    use_validation: bool = option(
        True, "train on the validation split too; there is then no best epoch, only the last"
    )

    def __post_init__(self) -> None:
        """Raises UserError for numbers that make no training."""
        for name in ("num_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise UserError(f"train.max_steps must not be negative, got {self.max_steps}")

    def child(self, search_child: ImageChildConfig) -> ImageChildConfig:
        """The final network's configuration: the search's, but for the fields that both have."""
        own, inherited = ({field.name for field in fields(c)} for c in (self, search_child))
        return replace(search_child, **{name: getattr(self, name) for name in own & inherited})


@dataclass(frozen=True)
class TrainConfig(ImageTrainConfig):
    """The final training of a stack of cells; its network is larger than the search's."""

    num_layers: int = option(15, "as child.num_layers, of the final network")


class Training:
    """A final training's parts, and its loop.

    Args:
        learner: trains the network.
        task: the data, losses and metrics; its training split is what is trained on.
        config: the training's.
        clock: the network's.
        seed: of order and augmentation.
        cutout: side of the cutout square, in pixels; 0 for none.
    """

    def __init__(
        self,
        learner: Learner,
        task: ImageTask,
        config: ImageTrainConfig,
        clock: Clock,
        seed: int,
        cutout: int,
    ) -> None:
        self.learner = learner
        self.task = task
        self.config = config
        self.clock = clock
        self.seed = seed
        self.cutout = cutout
        self.learning_rate = CosineRestarts.of(learner.config)
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size, config.max_steps)

    def run(self, run: Run, arc: str, params: int) -> dict:
        """Trains to the end, from the last checkpoint on, then tests once.

        Args:
            run: where checkpoints, metrics and `train/result.json` go.
            arc: the architecture's text, which a checkpoint of another one does not fit.
            params: of the network, for the result.

        Returns:
            What `train/result.json` holds.
        """
        self._refuse_another(run, arc)
        total = self.config.num_epochs * self.steps_per_epoch
        loop = Loop(run.path("train"), self.learner.variables, total, self.task.unit, "train")
        try:
            loop.resume()
            for epoch in range(loop.step // self.steps_per_epoch, self.config.num_epochs):
                started = time.monotonic()
                done = loop.step - epoch * self.steps_per_epoch
                self._train_epoch(loop, epoch, range(done, self.steps_per_epoch))
                self._end_epoch(loop, epoch, time.monotonic() - started)
            return self._finish(loop, run, arc, params)
        finally:
            loop.close()

    def evaluate(self, split: str) -> dict[str, float]:
        """The task's metrics on a split, with the weights as they are."""
        batches = distribute(
            self.learner.strategy,
            lambda shard: self.task.eval_batches(split, self.config.batch_size, shard),
        )
        return self.learner.evaluate(batches)

    def restore_best(self, run: Run) -> dict:
        """Restores the weights that are evaluated and exported; returns their state."""
        return Checkpoints(run.path("train/checkpoints"), self.learner.variables).read(BEST)

    def _refuse_another(self, run: Run, arc: str) -> None:
        """Tells another architecture's checkpoints from damaged ones, before they are read."""
        path = run.path("train/arc.txt")
        trained = path.read_text().strip() if path.exists() else arc
        if trained != arc:
            raise UserError(
                f"the checkpoints in train/ are of another architecture ({trained[:40]}...); use "
                "another --workdir, or --overwrite to remove that run"
            )
        run.write_text("train/arc.txt", arc + "\n")

    def _train_epoch(self, loop: Loop, epoch: int, steps: range) -> None:
        rate = self.learning_rate(epoch)
        self.learner.optimizer.learning_rate = rate
        first = epoch * self.steps_per_epoch
        wanted = range(first + steps.start, first + steps.stop)
        batches = distribute(
            self.learner.strategy,
            lambda shard: self.task.train_batches(
                self.config.batch_size,
                seed=self.seed,
                steps=wanted,
                cutout=self.cutout,
                shard=shard,
            ),
        )
        for step, batch in zip(wanted, batches, strict=True):
            self.clock.step.assign(step)
            numbers = self.learner.train_step(batch)
            last = step == wanted[-1]
            loop.advance("train", epoch, self.config.batch_size, numbers, last, learning_rate=rate)

    def _end_epoch(self, loop: Loop, epoch: int, seconds: float) -> None:
        """Validates, where the split is held out; keeps the best; writes a checkpoint."""
        loop.state["seconds"] = loop.state.get("seconds", 0.0) + seconds
        best = loop.state.get("best")
        if not self.config.use_validation:
            metrics = self.evaluate("valid")
            loop.record("valid", epoch, **metrics)
            if best is None or self.task.reward(metrics) > self.task.reward(best):
                loop.state["best"] = {"epoch": epoch, **metrics}
                loop.checkpoints.write(BEST, loop.state)
        loop.save()

    def _finish(self, loop: Loop, run: Run, arc: str, params: int) -> dict:
        """Tests the best weights and writes the result."""
        if self.config.use_validation:
            loop.checkpoints.write(BEST, loop.state)
        else:
            loop.checkpoints.read(BEST)
        test = self.evaluate("test")
        epoch = self.config.num_epochs - 1
        loop.record("test", epoch, **test)
        result = {
            "arc": arc,
            "params": params,
            "test": test,
            "best_valid": loop.state.get("best"),
            "epochs": self.config.num_epochs,
            "seconds": round(loop.state["seconds"], 1),
            f"{self.task.unit}_seen": loop.step * self.config.batch_size,
        }
        run.write_json("train/result.json", result)
        return result
