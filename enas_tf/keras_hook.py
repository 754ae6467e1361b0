"""Lets `keras.saving.load_model` read an exported language model after `import enas_tf` alone.

Such a model holds a layer of this package, which Keras must know by name. Registering the layer
itself would load TensorFlow at `import enas_tf`. Therefore a stand-in is registered as soon as
Keras is imported, and the stand-in imports the layer when a model needs it.
"""

import importlib.abc
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _CellRecurrence:
    """Stand-in for the layer of this name until an exported model needs it."""

    @staticmethod
    def from_config(config: dict) -> object:
        module = importlib.import_module("enas_tf.rnn.network")
        return module.CellRecurrence.from_config(config)


def _register(keras: ModuleType) -> None:
    keras.saving.get_custom_objects().setdefault("enas_tf>CellRecurrence", _CellRecurrence)


class _WhenKerasComes(importlib.abc.MetaPathFinder):
    """An import hook that registers the stand-in as soon as Keras is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name) if name == "keras" else None
        if spec is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                sys.meta_path.remove(self)
                _register(module)

            spec.loader.exec_module = load_and_register
        return spec


def install() -> None:
    """Registers the stand-in now if Keras is loaded, else as soon as it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _WhenKerasComes())
