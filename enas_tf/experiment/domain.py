"""What an experiment asks of a kind of data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras

from enas_tf.core.space import Arc
from enas_tf.experiment.settings import Settings
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import Forward


class Domain(Protocol):
    """Data, tasks, networks and exports of one kind of data.

    Its `sizes` are what a network needs to know of the data, such as an image's shape.
    """

    def load(self, settings: Settings) -> Any:
        """The data set.

        Raises:
            UserError: it is missing or wrong.
        """

    def labels(self, data: Any) -> Sequence[str]:
        """What each output of a network stands for."""

    def sizes(self, data: Any) -> tuple:
        """The sizes of a data set."""

    def known_sizes(self, settings: Settings) -> tuple | None:
        """The sizes where they are known without the data."""

    def search_task(self, settings: Settings, data: Any) -> Task:
        """The task of search and derivation."""

    def train_task(self, settings: Settings, data: Any) -> Task:
        """The task of the final training."""

    def supernet(self, settings: Settings, sizes: tuple, rng: StepRng) -> keras.Model:
        """The shared-weight network."""

    def network(self, arc: Arc, settings: Settings, sizes: tuple, rng: StepRng) -> keras.Model:
        """The final network of an architecture."""

    def forward(self, network: keras.Model) -> Forward:
        """Runs a final network as the train task takes it."""

    def count_cost(self, arc: Arc, settings: Settings, sizes: tuple) -> Cost:
        """Counts what an architecture's final network costs, without building it.

        Raises:
            UserError: there can be no such network.
        """

    def example(self, sizes: tuple) -> str:
        """In words, what the multiply-adds of a cost are for."""

    def export(self, network: keras.Model, task: Task, folder: Path, arc: str, card: dict) -> Path:
        """Writes a trained network's next version; returns its folder."""

    def show(self, version: Path, data: Any) -> None:
        """Prints what an export says of some test data, as a first sign of life."""
