"""Recipes: a search space together with its controller, its data and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings
from enas_tf.search.controller import Controller


@dataclass(frozen=True)
class Recipe:
    """The parts that make up a launcher.

    Attributes:
        name: the name of the launcher.
        domain: the domain, which provides the data and the networks.
        controller: the controller class, called with a space and a configuration.
        presets: settings by the name of the preset, the default first.
    """

    name: str
    domain: Domain
    controller: type[Controller]
    presets: Mapping[str, Settings]

    def workdir(self, settings: Settings) -> Path:
        """Returns the path of a run's folder; of several seeds, of the folder of them all."""
        return Path(settings.common.workdir or Path("runs") / self.name)
