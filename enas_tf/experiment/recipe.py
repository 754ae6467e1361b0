"""What goes with what: a recipe pairs a space with its parts, its data and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings
from enas_tf.search.controller import Controller


@dataclass(frozen=True)
class Recipe:
    """A launcher's parts.

    Attributes:
        name: the launcher's.
        domain: the data, and the networks on them.
        controller: the class of controllers, called with space and configuration.
        presets: settings by the preset's name, the default first.
    """

    name: str
    domain: Domain
    controller: type[Controller]
    presets: Mapping[str, Settings]
