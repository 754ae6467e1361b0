"""Recipes: a search space together with its controller, its data and its settings."""

from collections.abc import Callable, Mapping
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
        variant: a callable that returns the recipe for some settings, and the settings with the
            space that they are about; None if this recipe serves all settings. It raises
            UserError for settings that do not fit together.
    """

    name: str
    domain: Domain
    controller: type[Controller]
    presets: Mapping[str, Settings]
    variant: "Callable[[Settings], tuple[Recipe, Settings]] | None" = None

    def chosen_by(self, settings: Settings) -> "tuple[Recipe, Settings]":
        """Returns the recipe that serves the settings, and the settings with its space.

        Raises:
            UserError: the settings do not fit together.
        """
        return self.variant(settings) if self.variant else (self, settings)
