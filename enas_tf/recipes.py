"""What goes with what: the one place that pairs a space with its parts, data and settings."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import keras

from enas_tf.child import ChildConfig, ImageChildConfig
from enas_tf.controllers.base import Controller, ControllerConfig
from enas_tf.controllers.macro import MacroController, MacroControllerConfig
from enas_tf.controllers.micro import MicroController
from enas_tf.data.base import DataConfig
from enas_tf.derive import DeriveConfig
from enas_tf.networks import macro as macro_network
from enas_tf.networks import micro as micro_network
from enas_tf.options import option
from enas_tf.search import SearchConfig
from enas_tf.spaces.base import Space
from enas_tf.spaces.macro import MacroSpace
from enas_tf.spaces.micro import MicroSpace
from enas_tf.strategies import StrategyName
from enas_tf.supernets.macro import MacroSupernet
from enas_tf.supernets.micro import MicroSupernet
from enas_tf.train import ImageTrainConfig, TrainConfig


@dataclass(frozen=True)
class CommonConfig:
    """Flags of every verb."""

    workdir: str | None = option(None, "the run's folder; unset: runs/ and the launcher's name")
    preset: Literal["paper", "paper_text", "tiny"] = option(
        "paper",
        "paper: the authors' settings, mended; paper_text: those that the paper's text gives where "
        "it differs; tiny: the whole pipeline in minutes on two CPU cores",
    )
    dataset: str = option(
        "cifar10",
        "cifar10, any other name of TensorFlow Datasets, folder:PATH with a folder of images per "
        "class, or digits, which needs no download",
    )
    data_dir: str | None = option(None, "the TFDS directory; unset: TFDS's own default")
    seed: int = option(0, "of all random numbers")
    deterministic: bool = option(False, "repeat a run bit for bit; slower on GPUs")
    strategy: StrategyName = option(
        "auto", "devices: auto takes all GPUs; one; mirrored: several; multiworker: by TF_CONFIG"
    )
    logical_devices: int = option(0, "split the CPU into this many devices, to try distribution")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "of the networks' computations; weights are always float32"
    )
    jit_compile: bool = option(False, "compile the final training with XLA; slower on CPUs")
    overwrite: bool = option(False, "remove the run that the workdir holds, and start afresh")
    arc: str | None = option(
        None, "an architecture: its text, a file that holds it, or a published one's name"
    )
    split: Literal["train", "valid", "test"] = option("test", "what evaluate evaluates on")
    output: str | None = option(None, "where describe draws to: a name ending in .svg or .png")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    common: CommonConfig
    space: Space
    child: ImageChildConfig
    controller: ControllerConfig
    search: SearchConfig
    derive: DeriveConfig
    train: ImageTrainConfig
    data: DataConfig

    def __post_init__(self) -> None:
        """Raises UserError now for a final network that could not be built after the search."""
        self.train.child(self.child)


@dataclass(frozen=True)
class Recipe:
    """A launcher's parts.

    Attributes:
        name: the launcher's.
        supernet: called with space, child configuration, image shape, classes, clock, and whether
            to keep moving averages.
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
    space=MicroSpace(2),
    # Few steps must do, so the rate is high and falls once.
    child=ChildConfig(num_layers=3, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    search=SearchConfig(
        num_epochs=30, batch_size=32, max_steps=40, updates_per_epoch=8, arcs_per_update=10
    ),
    derive=DeriveConfig(num_samples=30, num_batches=16),
    train=TrainConfig(
        num_epochs=15,
        batch_size=64,
        max_steps=100,
        num_layers=3,
        out_filters=16,
        drop_path_keep_prob=0.9,
        lr_period=15,
        use_validation=False,
    ),
    data=DataConfig(pad=0, cutout=0),
)

CIFAR_MICRO = Recipe(
    name="cifar_micro",
    supernet=MicroSupernet,
    controller=MicroController,
    build_network=micro_network.build,
    count_params=micro_network.count_params,
    presets={"paper": _MICRO_PAPER, "paper_text": _MICRO_PAPER_TEXT, "tiny": _MICRO_TINY},
)

_MACRO_PAPER = Settings(
    common=CommonConfig(),
    space=MacroSpace(12),
    child=macro_network.MacroChildConfig(),
    controller=MacroControllerConfig(),
    search=SearchConfig(num_epochs=310, batch_size=128, updates_per_epoch=50, arcs_per_update=20),
    derive=DeriveConfig(),
    train=ImageTrainConfig(
        num_epochs=310,
        batch_size=100,
        out_filters=96,
        keep_prob=0.5,
        drop_path_keep_prob=1.0,
        aux_head=False,
        lr_min=0.001,
    ),
    data=DataConfig(cutout=0),
)

_MACRO_PAPER_TEXT = replace(
    _MACRO_PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_MACRO_PAPER.child, lr_min=0.001, l2=1e-4),
    controller=replace(
        _MACRO_PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_MACRO_PAPER.train, l2=1e-4),
)

_MACRO_TINY = replace(
    _MACRO_PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MacroSpace(6),
    # Few steps must do, so the rate is high and falls once.
    child=replace(_MACRO_PAPER.child, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    search=SearchConfig(
        num_epochs=30, batch_size=32, max_steps=40, updates_per_epoch=8, arcs_per_update=10
    ),
    derive=DeriveConfig(num_samples=30, num_batches=16),
    train=replace(
        _MACRO_PAPER.train,
        num_epochs=15,
        batch_size=64,
        max_steps=100,
        out_filters=16,
        keep_prob=0.9,
        lr_period=15,
        use_validation=False,
    ),
    data=DataConfig(pad=0, cutout=0),
)

CIFAR_MACRO = Recipe(
    name="cifar_macro",
    supernet=MacroSupernet,
    controller=MacroController,
    build_network=macro_network.build,
    count_params=macro_network.count_params,
    presets={"paper": _MACRO_PAPER, "paper_text": _MACRO_PAPER_TEXT, "tiny": _MACRO_TINY},
)


# Settings of one command, which may change when a run goes on.
_OF_ONE_COMMAND = ("workdir", "data_dir", "strategy", "logical_devices")
_OF_ONE_COMMAND += ("overwrite", "arc", "split", "output")


def run_config(settings: Settings) -> dict[str, Any]:
    """What decides a run's results, as nested dicts, for its `config.json`."""
    config = asdict(settings)
    common = config.pop("common")
    return {n: v for n, v in common.items() if n not in _OF_ONE_COMMAND} | config
