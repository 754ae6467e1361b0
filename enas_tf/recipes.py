"""What goes with what: the one place that pairs a space with its parts, data and settings."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import keras

from enas_tf.child import ChildConfig
from enas_tf.controllers.base import Controller, ControllerConfig
from enas_tf.controllers.micro import MicroController
from enas_tf.data.base import DataConfig
from enas_tf.derive import DeriveConfig
from enas_tf.networks import micro as micro_network
from enas_tf.search import SearchConfig
from enas_tf.spaces.base import Space
from enas_tf.spaces.micro import MicroSpace
from enas_tf.strategies import StrategyName
from enas_tf.supernets.micro import MicroSupernet
from enas_tf.train import TrainConfig


def _option(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class CommonConfig:
    """Flags of every verb."""

    workdir: str | None = _option(None, "the run's folder; unset: runs/ and the launcher's name")
    preset: Literal["paper", "paper_text", "tiny"] = _option(
        "paper",
        "paper: the authors' settings, mended; paper_text: those that the paper's text gives where "
        "it differs; tiny: the whole pipeline in minutes on two CPU cores",
    )
    dataset: str = _option(
        "cifar10",
        "cifar10, any other name of TensorFlow Datasets, folder:PATH with a folder of images per "
        "class, or digits, which needs no download",
    )
    data_dir: str | None = _option(None, "the TFDS directory; unset: TFDS's own default")
    seed: int = _option(0, "of all random numbers")
    deterministic: bool = _option(False, "repeat a run bit for bit; slower on GPUs")
    strategy: StrategyName = _option(
        "auto", "devices: auto takes all GPUs; one; mirrored: several; multiworker: by TF_CONFIG"
    )
    logical_devices: int = _option(0, "split the CPU into this many devices, to try distribution")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = _option(
        "float32", "of the networks' computations; weights are always float32"
    )
    jit_compile: bool = _option(False, "compile the final training with XLA; slower on CPUs")
    overwrite: bool = _option(False, "remove the run that the workdir holds, and start afresh")
    arc: str | None = _option(
        None, "an architecture: its text, a file that holds it, or a published one's name"
    )
    split: Literal["train", "valid", "test"] = _option("test", "what evaluate evaluates on")
    output: str | None = _option(None, "where describe draws to: a name ending in .svg or .png")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    common: CommonConfig
    space: Space
    child: ChildConfig
    controller: ControllerConfig
    search: SearchConfig
    derive: DeriveConfig
    train: TrainConfig
    data: DataConfig


@dataclass(frozen=True)
class Recipe:
    """A launcher's parts.

    Attributes:
        name: the launcher's.
        supernet: called with space, child configuration, image shape, classes and clock.
        controller: called with space and configuration.
        build_network: from an architecture, child configuration, image shape, classes and clock.
        count_params: from the same but the clock, without building.
        presets: settings by the preset's name, the default first.
    """

    name: str
    supernet: Callable[..., keras.Model]
    controller: Callable[[Space, ControllerConfig], Controller]
    build_network: Callable[..., keras.Model]
    count_params: Callable[..., int]
    presets: Mapping[str, Settings]

    @property
    def space_type(self) -> type[Space]:
        """The kind of space."""
        return type(next(iter(self.presets.values())).space)


_MICRO_PAPER = Settings(
    common=CommonConfig(),
    space=MicroSpace(5),
    child=ChildConfig(),
    controller=ControllerConfig(),
    search=SearchConfig(),
    derive=DeriveConfig(),
    train=TrainConfig(),
    data=DataConfig(),
)

_MICRO_PAPER_TEXT = replace(
    _MICRO_PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_MICRO_PAPER.child, lr_min=0.001),
    controller=replace(
        _MICRO_PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_MICRO_PAPER.train, lr_min=0.001, l2=1e-4),
)

_MICRO_TINY = replace(
    _MICRO_PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MicroSpace(3),
    child=ChildConfig(num_layers=3, out_filters=8, lr_period=2),
    search=SearchConfig(num_epochs=6, batch_size=64, updates_per_epoch=10, arcs_per_update=10),
    derive=DeriveConfig(num_samples=20),
    train=TrainConfig(
        num_epochs=14,
        batch_size=64,
        num_layers=3,
        out_filters=12,
        drop_path_keep_prob=0.9,
        use_validation=False,
    ),
    data=DataConfig(pad=1, cutout=0),
)

CIFAR_MICRO = Recipe(
    name="cifar_micro",
    supernet=MicroSupernet,
    controller=MicroController,
    build_network=micro_network.build,
    count_params=micro_network.count_params,
    presets={"paper": _MICRO_PAPER, "paper_text": _MICRO_PAPER_TEXT, "tiny": _MICRO_TINY},
)


# Settings of one command, which may change when a run goes on.
_OF_ONE_COMMAND = ("workdir", "data_dir", "strategy", "logical_devices")
_OF_ONE_COMMAND += ("overwrite", "arc", "split", "output")


def run_config(settings: Settings) -> dict[str, Any]:
    """What decides a run's results, as nested dicts, for its `config.json`."""
    config = asdict(settings)
    common = config.pop("common")
    return {n: v for n, v in common.items() if n not in _OF_ONE_COMMAND} | config
