"""Recipes: a search space together with its controller, its data and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

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
