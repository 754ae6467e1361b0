"""Efficient Neural Architecture Search via Parameter Sharing, on TensorFlow 2 and Keras 3.

The names in `__all__` are the public ones; docs/python.md shows how to use them. They are imported
when they are first used, so that `import enas_tf` is fast and does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

from enas_tf import keras_hook

__version__ = "0.2.0"

if TYPE_CHECKING:
    from enas_tf.core.errors import UserError as UserError
    from enas_tf.data.base import ImageData as ImageData
    from enas_tf.data.base import Split as Split
    from enas_tf.data.text import TextData as TextData
    from enas_tf.experiment.experiment import Experiment as Experiment
    from enas_tf.experiment.recipe import Recipe as Recipe
    from enas_tf.experiment.settings import Settings as Settings
    from enas_tf.macro.recipe import CIFAR_MACRO as CIFAR_MACRO
    from enas_tf.macro.space import MacroSpace as MacroSpace
    from enas_tf.micro.recipe import CIFAR_MICRO as CIFAR_MICRO
    from enas_tf.micro.space import MicroSpace as MicroSpace
    from enas_tf.nasbench201.recipe import NASBENCH201 as NASBENCH201
    from enas_tf.nasbench201.space import Nasbench201Space as Nasbench201Space
    from enas_tf.rnn.recipe import PTB_RNN as PTB_RNN
    from enas_tf.rnn.space import RnnSpace as RnnSpace
    from enas_tf.zoo import PUBLISHED as PUBLISHED

_MODULES = {
    "CIFAR_MACRO": "enas_tf.macro.recipe",
    "CIFAR_MICRO": "enas_tf.micro.recipe",
    "Experiment": "enas_tf.experiment.experiment",
    "ImageData": "enas_tf.data.base",
    "MacroSpace": "enas_tf.macro.space",
    "MicroSpace": "enas_tf.micro.space",
    "NASBENCH201": "enas_tf.nasbench201.recipe",
    "Nasbench201Space": "enas_tf.nasbench201.space",
    "PTB_RNN": "enas_tf.rnn.recipe",
    "PUBLISHED": "enas_tf.zoo",
    "Recipe": "enas_tf.experiment.recipe",
    "RnnSpace": "enas_tf.rnn.space",
    "Settings": "enas_tf.experiment.settings",
    "Split": "enas_tf.data.base",
    "TextData": "enas_tf.data.text",
    "UserError": "enas_tf.core.errors",
}
"""The module that defines each public name."""

__all__ = ["__version__", *_MODULES]

keras_hook.install()


def __getattr__(name: str) -> object:
    """Imports and returns a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'enas_tf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
