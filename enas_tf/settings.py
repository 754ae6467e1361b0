"""All settings of a run, from which the flags are made."""

import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from enas_tf.compare import CompareConfig
from enas_tf.controllers.base import ControllerConfig
from enas_tf.data.base import DataConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.derive import DeriveConfig
from enas_tf.errors import UserError
from enas_tf.options import option
from enas_tf.search import SearchConfig
from enas_tf.spaces.base import Space
from enas_tf.strategies import StrategyName
from enas_tf.train import ChildConfig, TrainConfig


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
    seeds: int = option(
        1,
        "for search (with its derivation) or no verb: repeat it with as many seeds, from seed on, "
        "each in a folder of its own, and report means and deviations",
    )
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

    def __post_init__(self) -> None:
        """Raises UserError for a number of seeds that repeats nothing."""
        if self.seeds < 1:
            raise UserError(f"seeds must be at least 1, got {self.seeds}")


@dataclass(frozen=True)
class TextCommonConfig(CommonConfig):
    """Flags of every verb, for text."""

    dataset: str = option(
        "ptb",
        "ptb, the Penn Treebank's ptb.train.txt, ptb.valid.txt and ptb.test.txt in data_dir; "
        "text:PATH with train.txt, valid.txt and test.txt; or pydoc, which needs no download",
    )
    data_dir: str | None = option(None, "the folder of the Penn Treebank's files")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    common: CommonConfig
    space: Space
    child: ChildConfig
    controller: ControllerConfig
    search: SearchConfig
    derive: DeriveConfig
    compare: CompareConfig
    train: TrainConfig
    data: DataConfig | TextDataConfig

    def __post_init__(self) -> None:
        """Raises UserError now for a final network that could not be built after the search."""
        self.train.child(self.child)


# Settings of one command, which may change when a run goes on.
_OF_ONE_COMMAND = ("workdir", "data_dir", "strategy", "logical_devices")
_OF_ONE_COMMAND += ("overwrite", "arc", "split", "output", "seeds")

# Those that say nothing of how the run goes on, or that a command line gives anyway.
_LEFT_OUT = ("workdir", "preset", "overwrite", "arc", "split", "output", "seeds")


def run_config(settings: Settings) -> dict[str, Any]:
    """What decides a run's results, as nested dicts, for its `config.json`.

    A comparison changes nothing of a run; `compare.json` holds its own configuration.
    """
    config = asdict(settings)
    config.pop("compare")
    common = config.pop("common")
    return {n: v for n, v in common.items() if n not in _OF_ONE_COMMAND} | config


def flags_of(settings: Settings, preset: Settings, workdir: Path) -> str:
    """The flags that make these settings of a preset, in the given folder, for a command line.

    What one command alone asks for, such as an architecture, is left out.
    """
    given = [f"--workdir={workdir}", f"--preset={settings.common.preset}"]
    for part in fields(settings):
        config, default = getattr(settings, part.name), getattr(preset, part.name)
        prefix = "" if part.name == "common" else f"{part.name}."
        for field in fields(config):
            value = getattr(config, field.name)
            is_flag = "help" in field.metadata and field.name not in _LEFT_OUT
            if is_flag and value != getattr(default, field.name):
                name = field.metadata.get("flag", field.name)
                shown = str(value).lower() if value is None or isinstance(value, bool) else value
                given.append(f"--{prefix}{name}={shown}")
    return shlex.join(given)
