"""A run from data to export: builds the parts of a recipe and runs its phases."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.experiment.alone import train_at_once, train_in_turn
from enas_tf.experiment.architectures import derived_arc, given_arc, read_arc
from enas_tf.experiment.costs import Costs
from enas_tf.experiment.describe import describe
from enas_tf.experiment.initial_weights import Origin, make_origin
from enas_tf.experiment.parts import make_shared_weights, make_training
from enas_tf.experiment.phases import is_derived, mark_derived, refuse_a_training, result_digest
from enas_tf.experiment.preflight import check_networks, check_search, check_training, keep_labels
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings, flags_of
from enas_tf.experiment.timing import Clock
from enas_tf.experiment.workdir import Workdir
from enas_tf.export.exporters import choose_formats
from enas_tf.layers.cost import count_params
from enas_tf.search.algorithms import make_algorithm
from enas_tf.search.compare import compare
from enas_tf.search.derive import derive
from enas_tf.search.search import Search
from enas_tf.search.truth import Truth, read_truth
from enas_tf.search.truth_report import report_truth
from enas_tf.search.truth_rewards import NoWeights, TruthEvaluator
from enas_tf.search.weights import Weights
from enas_tf.training.distribution import compiles, make_strategy
from enas_tf.training.final_training import Training
from enas_tf.training.metric_writer import metric_text
from enas_tf.training.run_folder import Run
from enas_tf.training.run_lock import locked
from enas_tf.training.shares import leave_memory_to_others
from enas_tf.training.tracking import make_tracker
from enas_tf.training.workers import is_chief


class Experiment:
    """One run of a recipe, in its own folder.

    If the settings split devices or name several machines, create the experiment before TensorFlow
    initialises its devices. Where one asks for determinism, TensorFlow keeps it for all others of
    the process.

    Args:
        recipe: the recipe to run.
        settings: the settings of the run.
        data: `ImageData` or `TextData`; None loads the data set that the settings name.
        beside: an earlier run in this process, on the same data. All runs of a process on several
            devices must share its strategy; None makes one.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        data: Any = None,
        beside: "Experiment | None" = None,
    ) -> None:
        if data is not None:
            data.check()
            settings = settings.changed({"dataset": data.name})
            # Fills the cached property below, which would load a data set instead.
            self.data = data
        elif beside and "data" in vars(beside):
            self.data = beside.data
        self._given_data = data
        self.recipe, self.settings = recipe.chosen_by(settings)
        self.domain = self.recipe.domain
        common = settings.common
        if common.parallel > 1:
            leave_memory_to_others()
        self.strategy = (
            beside.strategy if beside else make_strategy(common.strategy, common.logical_devices)
        )
        if common.deterministic:
            tf.config.experimental.enable_op_determinism()
        self._compiles = partial(compiles, common.jit_compile, self.strategy)
        address = settings.workdir(self.recipe.name)
        tracker = make_tracker(common.metrics_format, common.track)
        self.place = Workdir(address, self.strategy, common, tracker)
        self.lock = self.place.lock
        self.costs = Costs(self.settings, self.domain, lambda: self._sizes)

    @property
    def workdir(self) -> Path:
        """The path of the run's folder; of a run in a store, that of its local copy."""
        return self.place.folder

    @property
    def _folder(self) -> Path:
        """The folder to read the run's files from; on workers other than the chief, a copy."""
        # Looked up in __dict__, where a cached property keeps its value: accessing it would open
        # the folder.
        return self._opened.folder if "_opened" in self.__dict__ else self.workdir

    @property
    def run(self) -> Run:
        """The run's folder, opened at first use.

        All workers of a job must access it at the same point.

        Raises:
            UserError: another process writes it, and this one is about to.
        """
        if is_chief(self.strategy):
            self.lock.before_a_write()
        if self.lock.is_held:
            self._opened.tracker.begin(self._opened)
        return self._opened

    @cached_property
    def _opened(self) -> Run:
        # Reads --arc now, since --overwrite may remove the file that holds the architecture.
        _ = self._given_arc
        flags = flags_of(self.settings, self.recipe.presets, self.place.address)
        return self.place.open(self.settings, flags)

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

    @locked
    def pipeline(self) -> None:
        """Searches, derives, trains and exports, in turn; skips phases that are done."""
        given, _ = self._given_arc, self._formats
        # Errors that would stop the training are raised now, not after a long search.
        self._check_training(given and given[1])
        if not given:
            self.search_and_derive()
        self.train_once()
        if self.run.is_done("export", result=result_digest(self.run), formats=self._formats):
            print(f"all phases are done; {self.place.address} holds report.html and export/")
            return
        self._report()
        self.export()

    @locked
    def search_and_derive(self) -> None:
        """Searches and derives, in turn; skips phases that are done."""
        self._check_search()
        if not is_derived(self.run, self.settings.derive):
            refuse_a_training(self.run, self.settings.derive)
            search = self._make_search()
            search.run(self.run)
            self._derive(search)

    def _check_search(self) -> None:
        # A table that cannot be read is told before the folder is made.
        _ = self.truth
        if self._is_rewarded_by_truth:
            self.truth.check_complete(self.settings.space)
        else:
            check_search(self.settings, self.domain, self.data, self.strategy)
        check_networks(self.settings, self.domain, self._sizes)

    def check_training(self) -> None:
        """Raises UserError for what would stop `train`, without making the run's folder."""
        self._check_training(self._arc()[1])

    def _check_training(self, arc: Arc | None) -> None:
        if arc and self._origin:
            self._origin.check(arc)
        check_training(self.settings, self.domain, self.data, self.strategy, arc)

    @locked
    def search(self) -> None:
        """Trains the shared weights and the controller."""
        self._check_search()
        self._make_search().run(self.run)

    @locked
    def derive(self) -> Arc:
        """Ranks architectures drawn by the trained controller; returns the best one."""
        return self._derive(self._searched())

    @locked
    def compare(self) -> dict:
        """Compares the trained controller with uniform draws; returns what `compare.json` holds."""
        configs, searched = (self.settings.compare, self.settings.derive), self._searched()
        result = compare(searched.searched(), *configs, self.run, self._train_each, self.truth)
        self._report()
        return result

    @locked
    def train(self) -> dict:
        """Trains one architecture; returns what `train/result.json` holds."""
        _, arc = self._arc()
        self._check_training(arc)
        keep_labels(self.run, self.settings, self.domain, self.data)
        training, network = self._make_training(arc, self.settings)
        init = self._origin and partial(self._origin.initialize, network, arc)
        result = training.run(self.run, str(arc), count_params(network), initialize=init)
        test = ", ".join(f"{name} {metric_text(value)}" for name, value in result["test"].items())
        print(f"train: test {test} (params {result['params']:,}, {result['seconds']:.0f} s)")
        return result

    @locked
    def train_once(self) -> None:
        """Trains as `train` does, unless that has been done."""
        # Another architecture's training does not count as done, so that `train` can refuse it.
        if not self.run.is_done("train", arc=str(self._arc()[1])):
            self.train()

    def evaluate(self) -> dict:
        """Returns the trained network's metrics on the split that the settings name.

        For images also what `enas_tf.tasks.images.ImageTask.details` tells by class.
        """
        training, _, _ = self._trained()
        split = self.settings.common.split
        metrics, details = training.evaluate_in_detail(split)
        return {"split": split, **metrics, **details}

    @locked
    def export(self) -> Path:
        """Exports the trained network as the next version; returns the version's folder."""
        _ = self._formats
        training, network, arc = self._trained()
        card = {"result": self.run.read_json("train/result.json")}
        card |= self.run.read_json("config.json")
        folder = self.run.path("export", self.recipe.name)
        self.place.write_server_configs(folder)
        version = self.domain.export(
            network, training.task, folder, arc.portable, card, self._formats
        )
        output = str(version.relative_to(self.run.folder))
        facts = {"result": result_digest(self.run), "formats": self._formats}
        self.run.mark_done("export", outputs=[output], **facts)
        self.run.tracker.exported(version)
        print(f"export: {self.place.shown(version)}")
        self.domain.show(version, self.data)
        return version

    def describe(self) -> str:
        """Returns an architecture in words, with its cost; draws it if the settings say where."""
        if not self._given_arc and (self.workdir / "arc.txt").exists():
            # Raises UserError if the run has other settings than those to describe it with.
            _ = self.run
        space, arc = self._arc()
        return describe(space, arc, self.settings, self.domain, self._sizes)

    @cached_property
    def _formats(self) -> list[str]:
        """The formats to export."""
        return choose_formats(self.settings.common.formats, self.domain.formats)

    @cached_property
    def _given_arc(self) -> tuple[Space, Arc] | None:
        """The one given by --arc, or, unless one was derived, by the run that train.init names."""
        common = self.settings.common
        if common.arc is not None:
            return given_arc(common.arc, self.settings.space)
        derived = (self._folder / "arc.txt").exists() and not common.overwrite
        return self._origin.arc if self._origin and not derived else None

    @cached_property
    def _origin(self) -> Origin | None:
        """What the final training starts from, if not from scratch."""
        return make_origin(
            self.settings,
            self.workdir,
            self.domain,
            lambda: self.domain.labels(self.data),
            lambda: self._searched().weights.trainer.child,
        )

    def _arc(self) -> tuple[Space, Arc]:
        """Returns the architecture given by --arc, else the derived one, with its space."""
        return self._given_arc or derived_arc(self._folder, self.settings.space)

    @property
    def _is_rewarded_by_truth(self) -> bool:
        return self.settings.search.reward == "truth"

    def _make_search(self) -> Search:
        settings = self.settings
        # Of the process, in which there may be other experiments.
        keras.mixed_precision.set_dtype_policy(settings.common.precision)
        if not self._is_rewarded_by_truth:
            keep_labels(self.run, self.settings, self.domain, self.data)
        if settings.needs_latency:
            clock = Clock(settings.search.latency_batch, self._compiles(final=True))
            self.costs.measure_latencies(self.run, clock)
        # Whatever this process has made before, the weights start the same.
        keras.utils.set_random_seed(settings.common.seed)
        algorithm = make_algorithm(self.recipe.controller, settings.space, settings.controller)
        weights = self._no_weights() if self._is_rewarded_by_truth else self._shared_weights()
        seed = settings.common.seed
        return Search(weights, algorithm, settings.search, seed, self.truth, self.costs)

    def _shared_weights(self) -> Weights:
        given = self.settings, self.domain, self.data, self.strategy
        return make_shared_weights(*given, self._compiles())

    def _no_weights(self) -> Weights:
        """Makes what stands for shared weights where a table rewards: it needs no data."""
        return NoWeights(
            TruthEvaluator(self.truth, lambda: self.domain.train_task(self.settings, self.data))
        )

    def _searched(self) -> Search:
        """Returns the search, restored from its newest checkpoint."""
        if not (self.workdir / "search").exists():
            raise UserError(f"{self.workdir} holds no search; run the verb search first")
        run = self.run
        search = self._make_search()
        search.restore(run)
        return search

    def _derive(self, search: Search) -> Arc:
        searched, config = search.searched(), self.settings.derive
        best = derive(searched, config, self.run, self.costs, self._train_each)
        if self.truth:
            report_truth(searched, best.tokens, config, self.run, self.truth)
        mark_derived(self.run, config, searched.step)
        return best

    def _train_each(self, runs: Mapping[str, Run], epochs: int, label: str) -> dict[str, str]:
        """Trains architectures alone, as `TrainEach` says."""
        keep_labels(self.run, self.settings, self.domain, self.data)
        if (at_once := self.settings.common.parallel) == 1:
            return train_in_turn(self, runs, epochs, label)
        settings = self.settings.changed({"parallel": 1, "overwrite": False})
        make = partial(Experiment, self.recipe, settings, self._given_data)
        return train_at_once(make, runs, epochs, label, at_once)

    def train_alone(self, arc: str, epochs: int, run: Run) -> None:
        """Trains an architecture into a folder of its own, without validation and test data."""
        settings = replace(self.settings, train=self.settings.train.shortened(epochs))
        parsed = self.settings.space.parse(arc)
        training, _ = self._make_training(parsed, settings)
        training.run(run, arc, self.costs(parsed.tokens)["params"], tests=False)

    def _make_training(self, arc: Arc, settings: Settings) -> tuple[Training, keras.Model]:
        keras.mixed_precision.set_dtype_policy(settings.common.precision)
        # XLA does not compile the gradient of Keras' max pooling for deterministic runs.
        compiled = self._compiles(final=True) and not settings.common.deterministic
        return make_training(arc, settings, self.domain, self.data, self.strategy, compiled)

    def _report(self) -> None:
        """Writes `report.html` from what the run's folder holds so far."""
        # Imports matplotlib, so only to report.
        from enas_tf.reporting.report import write_report

        flags = flags_of(self.settings, self.recipe.presets, self.place.address)
        read = partial(read_arc, self.settings.space)
        write_report(self.run, self.recipe.name, flags, read)
        print(f"report: {self.place.shown(self.run.path('report.html'))}")

    def _trained(self) -> tuple[Training, keras.Model, Arc]:
        """Returns the training, with its best weights restored, its network and architecture."""
        if not Run(self._folder).is_done("train"):
            raise UserError(f"{self.workdir} holds no trained network; run the verb train first")
        run = self.run
        keep_labels(self.run, self.settings, self.domain, self.data)
        arc = read_arc(self.settings.space, run.read_json("train/result.json")["arc"])[1]
        training, network = self._make_training(arc, self.settings)
        training.restore_best(run)
        return training, network, arc
