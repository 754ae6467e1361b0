"""The interface between an experiment and a kind of data."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras

from enas_tf.core.space import Arc
from enas_tf.experiment.settings import Settings
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.final_weights import Named
from enas_tf.layers.listing import Block
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import Forward


class Domain(Protocol):
    """Everything that is specific to one kind of data: loading, tasks, networks and export.

    Its `formats` are those that `export` can write, the first of them always. Its `sizes` are what
    a network needs to know about the data, such as the shape of an image. `lower_is_better` is
    about its `metric`.
    """

    formats: Sequence[str]
    lower_is_better: bool

    def load(self, settings: Settings) -> Any:
        """Loads the data set into memory.

        Raises:
            UserError: if the data set is missing or invalid.
        """

    def summary(self, settings: Settings, data: Any) -> list[str]:
        """Returns what a user should know of a data set before it is trained on, a line each."""

    def labels(self, data: Any) -> Sequence[str]:
        """Returns the meaning of each output of a network: class names or words."""

    def relabel(
        self, weights: Named, network: keras.Model, old: Sequence[str], new: Sequence[str]
    ) -> tuple[Named, str]:
        """Returns the weights of a trained network as they suit other labels.

        Args:
            weights: the weights, by the paths of a network's variables.
            network: the network with the new labels, before it is trained.
            old: the labels of the trained network.
            new: the labels of the new one.

        Returns:
            The weights to take, and what has become of the others, as a phrase.
        """

    def sizes(self, data: Any) -> tuple:
        """Returns the sizes of a data set."""

    def known_sizes(self, settings: Settings) -> tuple | None:
        """Returns the sizes if they are known without loading the data, else None."""

    def metric(self, settings: Settings) -> str:
        """Returns the name of the metric that picks the best epoch of a final training."""

    def search_task(self, settings: Settings, data: Any) -> Task:
        """Returns the task of search and derivation."""

    def train_task(self, settings: Settings, data: Any) -> Task:
        """Returns the task of the final training."""

    def supernet(self, settings: Settings, sizes: tuple, rng: StepRng) -> keras.Model:
        """Builds the supernet, the network of shared weights."""

    def network(self, arc: Arc, settings: Settings, sizes: tuple, rng: StepRng) -> keras.Model:
        """Builds the final network of an architecture."""

    def forward(self, network: keras.Model) -> Forward:
        """Returns a callable that runs a final network and gives the outputs its task expects."""

    def count_cost(self, arc: Arc, settings: Settings, sizes: tuple) -> Cost:
        """Counts the cost of an architecture's final network, without building it.

        Raises:
            UserError: if no such network can be built.
        """

    def list_blocks(self, arc: Arc, settings: Settings, sizes: tuple) -> Counter[Block]:
        """Lists the blocks that an architecture's final network runs, without building it.

        Raises:
            UserError: if no such network can be built, or it is not made of blocks.
        """

    def example(self, sizes: tuple) -> str:
        """Returns a phrase that says for what input multiply-adds are counted."""

    def export(
        self,
        network: keras.Model,
        task: Task,
        folder: Path,
        arc: str,
        card: dict,
        formats: Sequence[str],
    ) -> Path:
        """Exports a trained network as the next version; returns the version's folder."""

    def show(self, version: Path, data: Any) -> None:
        """Prints the predictions of an export for a few test examples, as a quick check."""
