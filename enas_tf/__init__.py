"""Efficient Neural Architecture Search via Parameter Sharing, on TensorFlow 2 and Keras 3."""

import importlib.abc
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__version__ = "0.1.0"


class _CellRecurrence:
    """Stands in for the layer of that name until an exported model asks for it.

    `import enas_tf` alone must do for `keras.saving.load_model`, and yet load no TensorFlow.
    """

    @staticmethod
    def from_config(config: dict) -> object:
        module = importlib.import_module("enas_tf.networks.rnn")
        return module.CellRecurrence.from_config(config)


def _register(keras: ModuleType) -> None:
    keras.saving.get_custom_objects().setdefault("enas_tf>CellRecurrence", _CellRecurrence)


class _WhenKerasComes(importlib.abc.MetaPathFinder):
    """Registers the stand-in as soon as Keras is imported."""

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


if "keras" in sys.modules:
    _register(sys.modules["keras"])
else:
    sys.meta_path.insert(0, _WhenKerasComes())
