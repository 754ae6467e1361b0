"""A run from data to export: makes the parts of a recipe and runs its phases."""

from dataclasses import fields
from functools import cached_property
from pathlib import Path

import keras
import tensorflow as tf

from enas_tf.data.images import load_images
from enas_tf.derive import derive
from enas_tf.drawing import draw
from enas_tf.errors import UserError
from enas_tf.export import export_images, predict, versions
from enas_tf.layers.dropout import Clock
from enas_tf.learner import Learner
from enas_tf.networks.cost import count_multiply_adds, count_params
from enas_tf.recipes import Recipe, Settings, run_config
from enas_tf.reinforce import Reinforce
from enas_tf.runs import Run
from enas_tf.search import Search
from enas_tf.spaces.base import Arc, Space
from enas_tf.spaces.zoo import resolve
from enas_tf.strategies import make_strategy
from enas_tf.tasks.images import ImageTask, NetworkForward
from enas_tf.train import Training


class Experiment:
    """One run of a recipe, in a folder.

    Made once in a process, before TensorFlow has started its devices.

    Args:
        recipe: what goes with what.
        settings: of the run.
    """

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.recipe = recipe
        self.settings = settings
        common = settings.common
        self.strategy = make_strategy(common.strategy, common.logical_devices)
        keras.utils.set_random_seed(common.seed)
        if common.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.mixed_precision.set_dtype_policy(common.precision)

    @property
    def workdir(self) -> Path:
        """Where the run's folder is."""
        return Path(self.settings.common.workdir or Path("runs") / self.recipe.name)

    @cached_property
    def run(self) -> Run:
        """The run's folder; opened at first use."""
        overwrite = self.settings.common.overwrite
        return Run.open(self.workdir, run_config(self.settings), overwrite)

    @cached_property
    def data(self):
        """The data set, in memory."""
        common = self.settings.common
        return load_images(common.dataset, common.data_dir, self.settings.data)

    def pipeline(self) -> None:
        """Search, derive, train and export, in turn; skips what is done."""
        # What would stop the training is told now, not after the search.
        run = self.run
        self.data.steps_per_epoch("train", self.settings.train.batch_size)
        if not run.path("arc.txt").exists() and not self.settings.common.arc:
            search = self._make_search()
            search.run(run)
            self._derive(search)
        if not run.path("train/result.json").exists() or self._is_another_arc():
            self.train()
        if not versions(self._export_folder):
            self.export()

    def _is_another_arc(self) -> bool:
        """Whether --arc asks for another architecture than the trained one, which train refuses."""
        trained = self.run.read_json("train/result.json")["arc"]
        return self.settings.common.arc is not None and str(self._arc()[1]) != trained

    def search(self) -> None:
        """Trains shared weights and controller."""
        run = self.run
        self._make_search().run(run)

    def derive(self) -> Arc:
        """Ranks architectures that the trained controller draws; returns the best one."""
        if not (self.workdir / "search").exists():
            raise UserError(f"{self.workdir} holds no search; run the verb search first")
        run = self.run
        search = self._make_search()
        search.restore(run)
        return self._derive(search)

    def train(self) -> dict:
        """Trains one architecture from scratch; returns `train/result.json`'s content."""
        run, (_, arc) = self.run, self._arc()
        training, network = self._make_training(arc)
        result = training.run(run, str(arc), count_params(network))
        test = ", ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
        print(f"train: test {test} (params {result['params']:,}, {result['seconds']:.0f} s)")
        return result

    def evaluate(self) -> dict[str, float]:
        """The trained network's metrics on the split that the settings name."""
        training, _, _ = self._trained()
        split = self.settings.common.split
        return {"split": split, **training.evaluate(split)}

    def export(self) -> Path:
        """Writes the trained network as the next version of its SavedModel."""
        training, network, arc = self._trained()
        card = {"result": self.run.read_json("train/result.json")}
        card |= self.run.read_json("config.json")
        data = training.task.data
        version = export_images(network, data, self._export_folder, str(arc), card)
        print(f"export: {version}")
        self._show_predictions(version)
        return version

    def describe(self) -> str:
        """An architecture in words, with what its final network costs; draws it if asked to."""
        space, arc = self._arc()
        config = self.settings.train.child(self.settings.child)
        shape, classes = self._images()
        network = self.recipe.build_network(arc, config, shape, classes, Clock(1, 0))
        if self.settings.common.output:
            draw(space.graphs(arc), Path(self.settings.common.output))
        lines = [
            space.explain(arc),
            "",
            f"final network ({config.size}, images {'x'.join(map(str, shape))}): "
            f"{count_params(network):,} parameters, {count_multiply_adds(network):,} multiply-adds",
            f"the space holds {space.count():,} architectures",
        ]
        if space.paper_count():
            lines[-1] += f" as the controller draws them, {space.paper_count():,} by the paper"
        return "\n".join(lines)

    @property
    def _export_folder(self) -> Path:
        return self.run.path("export", self.recipe.name)

    def _arc(self) -> tuple[Space, Arc]:
        """The architecture given, else the derived one; its text fixes its size."""
        text = self.settings.common.arc
        if text is None:
            path = self.workdir / "arc.txt"
            if not path.exists():
                raise UserError(
                    f"no architecture: {path} is missing; run the verbs search and derive first, "
                    "or give one by --arc"
                )
            text = str(path)
        return self._read(resolve(text))

    def _read(self, text: str) -> tuple[Space, Arc]:
        """An architecture of any size, of a space with the settings' other options."""
        space = self.settings.space
        options = {field.name: getattr(space, field.name) for field in fields(space)[1:]}
        return space.of(text, **options)

    def _images(self) -> tuple[tuple[int, int, int], int]:
        """Shape of the images and number of classes; those of CIFAR-10 without reading it."""
        if self.settings.common.dataset == "cifar10" and not self.settings.data.image_size:
            return (32, 32, 3), 10
        return self.data.image_shape, self.data.num_classes

    def _make_search(self) -> Search:
        settings, recipe = self.settings, self.recipe
        task = ImageTask(self.data, settings.data, settings.child)
        config = settings.search
        steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
        # The controller lives on the host and in no strategy.
        with tf.device("CPU:0"):
            reinforce = Reinforce(recipe.controller(settings.space, settings.controller))
        with self.strategy.scope():
            clock = Clock(steps, settings.common.seed)
            supernet = recipe.supernet(
                settings.space,
                settings.child,
                self.data.image_shape,
                self.data.num_classes,
                clock,
                config.reward_bn == "moving",
            )
            learner = Learner(supernet, supernet, task, settings.child)
        return Search(learner, reinforce, task, config, clock, settings.common.seed)

    def _derive(self, search: Search) -> Arc:
        settings, data = self.settings, self.data
        child = settings.train.child(settings.child)

        def params(arc: Arc) -> int:
            return self.recipe.count_params(arc, child, data.image_shape, data.num_classes)

        return derive(search, settings.space, settings.derive, self.run, params)

    def _make_training(self, arc: Arc) -> tuple[Training, keras.Model]:
        settings, config = self.settings, self.settings.train
        child = config.child(settings.child)
        data = self.data.with_validation() if config.use_validation else self.data
        task = ImageTask(data, settings.data, child)
        steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
        with self.strategy.scope():
            clock = Clock(steps, settings.common.seed)
            network = self.recipe.build_network(
                arc, child, data.image_shape, data.num_classes, clock
            )
            learner = Learner(
                network, NetworkForward(network), task, child, settings.common.jit_compile
            )
        seed, cutout = settings.common.seed, settings.data.cutout
        return Training(learner, task, config, clock, seed, cutout), network

    def _trained(self) -> tuple[Training, keras.Model, Arc]:
        """The training with its best weights restored."""
        if not (self.workdir / "train/result.json").exists():
            raise UserError(f"{self.workdir} holds no trained network; run the verb train first")
        run = self.run
        arc = self._read(run.read_json("train/result.json")["arc"])[1]
        training, network = self._make_training(arc)
        training.restore_best(run)
        return training, network, arc

    def _show_predictions(self, version: Path, count: int = 3) -> None:
        """Prints what the export says of the first test images, as a first sign of life."""
        test = self.data.splits["test"]
        predictions = predict(version, test.images[:count])
        for number, (label, probability) in enumerate(predictions):
            truth = self.data.class_names[test.labels[number]]
            print(
                f"prediction: test image {number} is {label!r} with probability "
                f"{probability:.3f} (its label is {truth!r})"
            )
