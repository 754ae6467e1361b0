"""A run from data to export: makes the parts of a recipe and runs its phases."""

import hashlib
from dataclasses import fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.experiment.describe import describe
from enas_tf.experiment.preflight import check_networks, check_search, check_training
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings, flags_of, free_settings, run_config
from enas_tf.layers.cost import count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.search.algorithms import make_algorithm
from enas_tf.search.compare import compare
from enas_tf.search.derive import derive
from enas_tf.search.search import Search
from enas_tf.search.truth import Truth, read_truth
from enas_tf.search.truth_rewards import NoWeights, TruthEvaluator
from enas_tf.search.truth_told import tell_truth
from enas_tf.search.weights import SharedWeights, Weights
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import compiles, make_strategy
from enas_tf.training.final_training import Training
from enas_tf.training.run_folder import Run
from enas_tf.training.workers import is_chief, scratch_copy, wait_for_copies
from enas_tf.zoo import resolve


class Experiment:
    """One run of a recipe, in a folder.

    To be made before TensorFlow has started its devices, where the settings split the CPU or name
    several machines.

    Args:
        recipe: what goes with what.
        settings: of the run.
        data: `ImageData` or `TextData`; None loads the data set that the settings name.
        strategy: that of an earlier run of this process on several devices; there can be no other.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        data: Any = None,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        if data is not None:
            settings = settings.changed({"dataset": data.name})
            self.data = data
        self.recipe = recipe
        self.domain = recipe.domain
        self.settings = settings
        common = settings.common
        self.strategy = strategy or make_strategy(common.strategy, common.logical_devices)
        if common.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.mixed_precision.set_dtype_policy(common.precision)
        self._compiles = partial(compiles, common.jit_compile, self.strategy)

    @property
    def workdir(self) -> Path:
        """Where the run's folder is."""
        return Path(self.settings.common.workdir or Path("runs") / self.recipe.name)

    @property
    def _folder(self) -> Path:
        """Where to read the run's files; a worker that is not the chief has a copy of its own."""
        return self.run.folder if "run" in self.__dict__ else self.workdir

    @cached_property
    def run(self) -> Run:
        """The run's folder; opened at first use, by all workers of a job at the same point."""
        common, config = self.settings.common, run_config(self.settings)
        # Before --overwrite may remove the file that it is in.
        _ = self._given_arc
        if not is_chief(self.strategy):
            return scratch_copy(self.strategy, self.workdir)
        flags = flags_of(self.settings, self.recipe.presets, self.workdir)
        free = free_settings(self.settings)
        run = Run.open(self.workdir, config, flags, common.overwrite, free)
        if common.strategy == "multiworker":
            wait_for_copies(self.strategy, self.workdir)
        return run

    @cached_property
    def data(self):
        """The data set, in memory."""
        return self.domain.load(self.settings)

    @cached_property
    def truth(self) -> Truth | None:
        """The table of true accuracies that the settings name."""
        common = self.settings.common
        if common.truth is None:
            return None
        return read_truth(common.truth, common.truth_column, self.settings.space)

    @cached_property
    def _sizes(self) -> tuple:
        """Those of the data, which are loaded only where they must be."""
        known = None if "data" in self.__dict__ else self.domain.known_sizes(self.settings)
        return known or self.domain.sizes(self.data)

    def _keep_labels(self) -> None:
        """Writes what the outputs stand for into the run's folder, once.

        Raises:
            UserError: the data have other labels than when the run began.
        """
        text = "\n".join(self.domain.labels(self.data)) + "\n"
        path = self.run.path("labels.txt")
        if not path.exists():
            self.run.write_text("labels.txt", text)
        elif path.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{self.settings.common.dataset} has other classes or words than when the run in "
                f"{self.workdir} began ({path}); use another --workdir for the new data"
            )

    def pipeline(self) -> None:
        """Search, derive, train and export, in turn; skips what is done."""
        given = self._given_arc
        # What would stop the training is raised now, not after the search.
        self._check_training(given and given[1])
        if not given:
            self.search_and_derive()
        # Also where another architecture was trained, which train refuses.
        if not self.run.is_done("train", arc=str(self._arc()[1])):
            self.train()
        if not self.run.is_done("export", result=self._result_digest()):
            self._report()
            self.export()

    def search_and_derive(self) -> None:
        """Search and derivation, in turn; skips what is done."""
        self._check_search()
        if not self._is_derived():
            self._refuse_a_training()
            search = self._make_search()
            search.run(self.run)
            self._derive(search)

    def _is_derived(self) -> bool:
        """Whether an architecture was derived from a search that had ended."""
        search = self.run.done_facts("search")
        return search is not None and self.run.is_done("derive", **search)

    def _refuse_a_training(self) -> None:
        """Raises UserError where the search could not be followed by a training of its result."""
        trained = self.run.path("train/arc.txt")
        if trained.exists():
            raise UserError(
                f"{self.workdir} holds the training of an architecture that no finished search "
                f"has derived; go on with it by --arc={trained}, or search in another --workdir"
            )

    def _check_search(self) -> None:
        # A table that cannot be read is told before the folder is made.
        _ = self.truth
        if self._is_rewarded_by_truth:
            self.truth.check_complete(self.settings.space)
        else:
            check_search(self.settings, self.domain, self.data, self.strategy)
        check_networks(self.settings, self.domain, self._sizes)

    def _check_training(self, arc: Arc | None) -> None:
        check_training(self.settings, self.domain, self.data, self.strategy, arc)

    def search(self) -> None:
        """Trains shared weights and controller."""
        self._check_search()
        self._make_search().run(self.run)

    def derive(self) -> Arc:
        """Ranks architectures that the trained controller draws; returns the best one."""
        return self._derive(self._searched())

    def compare(self) -> dict:
        """Compares the trained controller with chance; returns `compare.json`'s content."""
        search, settings = self._searched(), self.settings
        train = replace(settings.train, num_epochs=settings.compare.epochs, use_validation=False)
        short = replace(settings, train=train)

        def train_alone(arc: Arc, run: Run) -> dict:
            training, _ = self._make_training(arc, short)
            params = self.domain.count_cost(arc, short, self.domain.sizes(self.data)).params
            return training.run(run, str(arc), params, tests=False)

        searched, truth = search.searched(), self.truth
        result = compare(searched, settings.compare, settings.derive, self.run, train_alone, truth)
        self._report()
        return result

    def train(self) -> dict:
        """Trains one architecture from scratch; returns `train/result.json`'s content."""
        _, arc = self._arc()
        self._check_training(arc)
        training, network = self._make_training(arc, self.settings)
        result = training.run(self.run, str(arc), count_params(network))
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
        version = self.domain.export(network, training.task, self._export_folder, str(arc), card)
        output = str(version.relative_to(self.run.folder))
        self.run.mark_done("export", outputs=[output], result=self._result_digest())
        print(f"export: {version}")
        self.domain.show(version, self.data)
        return version

    def describe(self) -> str:
        """An architecture in words, with what its final network costs; draws it if asked to."""
        space, arc = self._arc()
        return describe(space, arc, self.settings, self.domain, self._sizes)

    def _result_digest(self) -> str:
        """Identifies a trained network: by its result, with the seconds that it took."""
        return hashlib.sha256(self.run.path("train/result.json").read_bytes()).hexdigest()

    @property
    def _export_folder(self) -> Path:
        return self.run.path("export", self.recipe.name)

    @cached_property
    def _given_arc(self) -> tuple[Space, Arc] | None:
        """The architecture that --arc gives; its text fixes its size."""
        text = self.settings.common.arc
        return None if text is None else self._read(*resolve(text))

    def _arc(self) -> tuple[Space, Arc]:
        """The architecture given, else the derived one."""
        path = self._folder / "arc.txt"
        if not self._given_arc and not path.exists():
            raise UserError(
                f"no architecture: {path} is missing; run the verbs search and derive first, or "
                "give one by --arc"
            )
        return self._given_arc or self._read(*resolve(str(path)))

    def _read(self, text: str, op_set: str | None = None) -> tuple[Space, Arc]:
        """An architecture of any size, of a space with the settings' other options."""
        space = self.settings.space
        options = {field.name: getattr(space, field.name) for field in fields(space)[1:]}
        own = options.get("op_set", "")
        if op_set and own not in ("", op_set) and not own.isdecimal():
            raise UserError(
                f"this architecture needs --space.ops={op_set}, since its numbers stand for other "
                f"ops with --space.ops={own}"
            )
        return space.of(text, **options)

    @property
    def _is_rewarded_by_truth(self) -> bool:
        return self.settings.search.reward == "truth"

    def _make_search(self) -> Search:
        settings = self.settings
        if not self._is_rewarded_by_truth:
            self._keep_labels()
        # Whatever this process has made before, the weights start the same.
        keras.utils.set_random_seed(settings.common.seed)
        algorithm = make_algorithm(self.recipe.controller, settings.space, settings.controller)
        weights = self._no_weights() if self._is_rewarded_by_truth else self._shared_weights()
        return Search(weights, algorithm, settings.search, settings.common.seed, self.truth)

    def _shared_weights(self) -> Weights:
        settings, config = self.settings, self.settings.search
        task = self.domain.search_task(settings, self.data)
        steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
        with self.strategy.scope():
            rng = StepRng(steps, settings.common.seed)
            supernet = self.domain.supernet(settings, self.domain.sizes(self.data), rng)
            trainer = ChildTrainer(supernet, supernet, task, settings.child, self._compiles())
        return SharedWeights(trainer, task, config, rng, settings.common.seed)

    def _no_weights(self) -> Weights:
        """Nothing to train; neither is the data set needed."""

        def make_task() -> Task:
            return self.domain.train_task(self.settings, self.data)

        return NoWeights(TruthEvaluator(self.truth, make_task))

    def _searched(self) -> Search:
        """The search as its newest checkpoint holds it."""
        if not (self.workdir / "search").exists():
            raise UserError(f"{self.workdir} holds no search; run the verb search first")
        run = self.run
        search = self._make_search()
        search.restore(run)
        return search

    def _derive(self, search: Search) -> Arc:
        def params(arc: Arc) -> int:
            return self.domain.count_cost(arc, self.settings, self._sizes).params

        searched, config, truth = search.searched(), self.settings.derive, self.truth
        best = derive(searched, config, self.run, params)
        if truth:
            tell_truth(searched, best.tokens, config, self.run, truth)
        return best

    def _make_training(self, arc: Arc, settings: Settings) -> tuple[Training, keras.Model]:
        self._keep_labels()
        keras.utils.set_random_seed(settings.common.seed)
        config, task = settings.train, self.domain.train_task(settings, self.data)
        steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
        # XLA refuses the gradient of Keras' max pooling where a run is to be deterministic.
        compiled = self._compiles(final=True) and not settings.common.deterministic
        with self.strategy.scope():
            rng = StepRng(steps, settings.common.seed)
            network = self.domain.network(arc, settings, self.domain.sizes(self.data), rng)
            forward, child = self.domain.forward(network), config.child(settings.child)
            trainer = ChildTrainer(network, forward, task, child, compiled)
        return Training(trainer, task, config, rng, settings.common.seed), network

    def _report(self) -> None:
        """Writes `report.html`, of what the run's folder holds by now."""
        from enas_tf.reporting.report import (
            write_report,  # matplotlib, which a search does not need
        )

        flags = flags_of(self.settings, self.recipe.presets, self.workdir)
        write_report(self.run, self.recipe.name, flags, self._read)
        print(f"report: {self.run.path('report.html')}")

    def _trained(self) -> tuple[Training, keras.Model, Arc]:
        """The training with its best weights restored."""
        if not Run(self._folder).is_done("train"):
            raise UserError(f"{self.workdir} holds no trained network; run the verb train first")
        run = self.run
        arc = self._read(run.read_json("train/result.json")["arc"])[1]
        training, network = self._make_training(arc, self.settings)
        training.restore_best(run)
        return training, network, arc
