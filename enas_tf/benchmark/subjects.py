"""The subjects of the cases: the paper's settings, and noise the size of its data sets."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from enas_tf.benchmark.static import build_macro, build_micro
from enas_tf.data.base import ImageData, Split
from enas_tf.data.text import TextData
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.images import ImageDomain
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings
from enas_tf.macro import network as macro_network
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.micro import network as micro_network
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.rnn.recipe import PTB_RNN


@dataclass(frozen=True)
class Subject:
    """The parts of one space that its cases measure.

    Attributes:
        recipe: the recipe whose parts are measured.
        settings: the settings of these parts.
        data: a callable that makes the data set.
        static_domain: the domain that builds the network of one architecture of the search.
        final_arc: the name of the published architecture for the final training.
        jit_compile: whether XLA compiles the steps.
    """

    recipe: Recipe
    settings: Settings
    data: Callable[[], ImageData | TextData]
    static_domain: Domain
    final_arc: str
    jit_compile: bool = False

    def with_batch(self, size: int) -> "Subject":
        """Returns a subject with another batch size, for the search and the final training."""
        search = replace(self.settings.search, batch_size=size)
        train = replace(self.settings.train, batch_size=size)
        return replace(self, settings=replace(self.settings, search=search, train=train))


def random_images(train: int = 45_000, valid: int = 5_000, test: int = 10_000) -> ImageData:
    """Makes images of noise, with the shape of CIFAR-10."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return Split(images, generator.integers(0, 10, count, np.int32))

    splits = {"train": split(train), "valid": split(valid), "test": split(test)}
    return ImageData("noise", splits, tuple(map(str, range(10))), flip=True)


def random_text(
    train: int = 929_589, valid: int = 73_760, test: int = 82_430, words: int = 10_000
) -> TextData:
    """Makes text of noise, with the length and the vocabulary size of the Penn Treebank."""
    generator = np.random.default_rng(0)
    counts = {"train": train, "valid": valid, "test": test}
    splits = {name: generator.integers(0, words, n, np.int32) for name, n in counts.items()}
    return TextData("noise", splits, tuple(map(str, range(words))))


MICRO = Subject(
    CIFAR_MICRO,
    CIFAR_MICRO.presets["paper"],
    random_images,
    ImageDomain(MicroSupernet, build_micro, micro_network.count_cost),
    "micro_enas",
)
MACRO = Subject(
    CIFAR_MACRO,
    CIFAR_MACRO.presets["paper"],
    random_images,
    ImageDomain(MacroSupernet, build_macro, macro_network.count_cost),
    "macro_enas",
)
RNN = Subject(PTB_RNN, PTB_RNN.presets["paper"], random_text, PTB_RNN.domain, "rnn_enas")

SUBJECTS = {"micro": MICRO, "macro": MACRO, "rnn": RNN}
"""The subjects, by the name of the space."""
