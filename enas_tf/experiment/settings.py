"""The settings of a run, from which the command-line flags are made."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from enas_tf.core.config import accepts, option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Space
from enas_tf.data.base import DataConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.search.compare import CompareConfig
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.search import SearchConfig
from enas_tf.training.distribution import JitCompile, StrategyName
from enas_tf.training.trackers import MetricsFormat, TrackerName
from enas_tf.training.train_config import ChildConfig, TrainConfig


@dataclass(frozen=True)
class CommonConfig:
    """Flags of every verb."""

    workdir: str | None = option(
        None,
        "the run's folder, or gs://BUCKET/PATH or s3://BUCKET/PATH: the run is then in a local "
        "copy, pushed after each checkpoint (docs/remote.md); unset: runs/ and the launcher's name",
    )
    preset: Literal["paper", "paper_text", "tiny"] = option(
        "paper",
        "paper: the authors' settings, their mistakes fixed; paper_text: some of them as in the "
        "paper's text (docs/sources.md lists them); tiny: the whole pipeline in minutes on two CPU "
        "cores",
    )
    dataset: str = option(
        "cifar10",
        "cifar10, any other name of TensorFlow Datasets, folder:PATH with a folder of images per "
        "class, or digits, which needs no download",
    )
    data_dir: str | None = option(
        None, "the TFDS directory, local or at gs:// or s3://; unset: TFDS's own default"
    )
    seed: int = option(0, "of all random numbers")
    seeds: int = option(
        1,
        "for search (with its derivation) or no verb: repeat it with as many seeds, from seed on, "
        "each in a folder of its own, and report means and deviations",
    )
    seed_index: str | None = option(
        "auto",
        "run only this one of --seeds, counted from 0; auto: in a Slurm array or an indexed "
        "Kubernetes job the one with the task's number (SLURM_ARRAY_TASK_ID, "
        "JOB_COMPLETION_INDEX), elsewhere all; none: all of them",
    )
    sweep: str | None = option(
        None,
        "for train: the values of one or several settings of the final training, such as "
        '--sweep="train.lr_max=0.025,0.05 train.keep_prob=0.8,1.0"; train with each combination, '
        "in a folder of its own, and rank them by the validation split",
        once=True,
    )
    sweep_index: str | None = option(
        "auto",
        "run only this one of --sweep's combinations, counted from 0; auto and none as for "
        "seed_index",
    )
    parallel: int = option(
        1,
        "run so many of --seeds, of --sweep, of compare's trainings or of derive.finalists at a "
        "time, as processes of their own, each on an equal share of the GPUs and of the CPU's "
        "cores",
    )
    deterministic: bool = option(False, "repeat a run bit for bit; slower on GPUs")
    strategy: StrategyName = option(
        "auto",
        "devices: auto takes all GPUs; one; mirrored: several; multiworker: those of a job's "
        "processes, which TF_CONFIG or Slurm's variables name",
    )
    logical_devices: int = option(
        0, "split each GPU, or else the CPU, into this many devices, to try distribution"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "of the networks' computations; weights are always float32"
    )
    jit_compile: JitCompile = option(
        "auto", "compile the steps of search and training with XLA; auto: the search's, on GPUs"
    )
    track: TrackerName = option(
        "none",
        "mlflow: keep settings, metrics, result and export in MLflow too, where MLflow's own "
        "variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME",
    )
    metrics_format: MetricsFormat = option(
        "text",
        "katib: print each record's metrics also as phase-name=value, such as valid-accuracy=0.9, "
        "which Katib's StdOut collector reads",
    )
    overwrite: bool = option(False, "remove the run that the workdir holds, and start afresh")
    arc: str | None = option(
        None,
        "an architecture: its text, in this project's form or another's; a file that holds it; or "
        "a published one's name",
    )
    truth: str | None = option(
        None,
        "a table of the architectures' true accuracies: a CSV file with a column arch, an "
        "architecture a row, and columns of accuracies in percent",
    )
    truth_column: str | None = option(
        None, "the column of --truth that counts; unset: the first beside arch"
    )
    split: Literal["train", "valid", "test"] = option("test", "what evaluate evaluates on")
    format: str | None = option(
        None,
        "describe prints the architecture in this form alone: tokens, json, or how others write it "
        "(docs/architectures.md has the forms of each space)",
    )
    formats: str = option(
        "saved_model",
        "what export writes, separated by commas: saved_model; tflite, for images: TensorFlow Lite "
        "files in floats and in 8-bit integers, with the accuracy of both",
    )
    output: str | None = option(None, "where describe draws to: a name ending in .svg or .png")

    def __post_init__(self) -> None:
        """Raises UserError if a number is out of range."""
        if self.seeds < 1:
            raise UserError(f"seeds must be at least 1, got {self.seeds}")
        # Keras and NumPy take seeds of 32 bits, which must hold for the last repetition too.
        largest = 2**32 - self.seeds
        if not 0 <= self.seed <= largest:
            raise UserError(f"seed must be between 0 and {largest}, got {self.seed}")
        if self.logical_devices < 0:
            raise UserError(f"logical_devices must not be negative, got {self.logical_devices}")
        self._check_index()
        self._check_parallel()

    def _check_index(self) -> None:
        for name in ("seed_index", "sweep_index"):
            index = getattr(self, name)
            if index not in ("auto", None) and not str(index).isdecimal():
                raise UserError(f"{name} must be auto, none or a whole number, got {index!r}")
        index = self.seed_index
        if index not in ("auto", None) and int(index) >= self.seeds:
            raise UserError(f"seed_index must be below seeds, {self.seeds}, got {index}")

    def _check_parallel(self) -> None:
        if self.parallel < 1:
            raise UserError(f"parallel must be at least 1, got {self.parallel}")
        if self.parallel > 1 and self.strategy == "multiworker":
            raise UserError(
                "parallel splits one machine, and strategy=multiworker joins several: leave one out"
            )
        if self.parallel > 1 and self.logical_devices:
            raise UserError(
                "parallel and logical_devices both split the devices of a machine: leave one out"
            )


@dataclass(frozen=True)
class TextCommonConfig(CommonConfig):
    """Flags of every verb, for text."""

    dataset: str = option(
        "ptb",
        "ptb, the Penn Treebank's ptb.train.txt, ptb.valid.txt and ptb.test.txt in data_dir; "
        "text:PATH with train.txt, valid.txt and test.txt; or pydoc, which needs no download",
    )
    data_dir: str | None = option(
        None, "the folder of the Penn Treebank's files, local or at gs:// or s3://"
    )


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
        """Raises UserError now for what would stop a run after its search, or at its start."""
        final = self.train.child(self.child)
        if self.search.reward == "truth" and not self.common.truth:
            raise UserError(
                "search.reward=truth needs a table of true accuracies: give its file by --truth"
            )
        if self.search.reward == "truth" and self.train.init == "shared":
            raise UserError(
                "train.init=shared needs shared weights, which search.reward=truth does not train"
            )
        name = self.child.width_option
        own, shared = getattr(final, name), getattr(self.child, name)
        if self.train.init == "shared" and own != shared:
            raise UserError(
                f"train.init=shared needs networks of one width: train.{name} is {own} and "
                f"child.{name} is {shared}; set both alike"
            )
        if self.needs_latency and self.common.strategy == "multiworker":
            raise UserError(
                "latencies are measured by a single process, and --strategy=multiworker has "
                "several: use another strategy, or search.cost=madds and derive.max_madds"
            )

    @property
    def needs_latency(self) -> bool:
        """Whether latencies are among the costs of architectures."""
        return self.search.cost == "latency" or self.derive.max_latency_ms > 0

    def workdir(self, launcher: str) -> str:
        """Returns the run's folder, or its address; the launcher's name makes the default."""
        return self.common.workdir or f"runs/{launcher}"

    def changed(self, values: Mapping[str, Any]) -> "Settings":
        """Returns a copy of the settings with some values changed.

        Args:
            values: the new values by the names of their flags, for example
                `{"workdir": "runs/mine", "search.num_epochs": 3}`.

        Raises:
            UserError: if a name is not that of a setting, or a value is invalid.
        """
        places = {name: (part, field.name) for name, part, field in self.named_fields()}
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name == "preset":
                raise UserError("a preset is chosen among the recipe's presets; leave preset out")
            if name not in places:
                close = difflib.get_close_matches(name, places, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise UserError(
                    f"no setting is called {name!r}{hint}; a launcher's --help lists all"
                )
            part, field = places[name]
            annotation = get_type_hints(type(getattr(self, part)))[field]
            if not accepts(annotation, value):
                is_class = isinstance(annotation, type)
                wanted = annotation.__name__ if is_class else str(annotation).split("typing.")[-1]
                raise UserError(f"{name} must be of {wanted}, got {value!r}")
            changes.setdefault(part, {})[field] = value
        parts = {part: replace(getattr(self, part), **new) for part, new in changes.items()}
        return replace(self, **parts)

    def named_fields(self) -> Iterator[tuple[str, str, Field]]:
        """Yields the flag's name, the part and the field of every setting that is a flag."""
        for part in fields(self):
            prefix = "" if part.name == "common" else f"{part.name}."
            for field in fields(getattr(self, part.name)):
                if "help" in field.metadata:
                    yield prefix + field.metadata.get("flag", field.name), part.name, field


# Settings of a single command, which a run does not keep.
_OF_ONE_COMMAND = ("workdir", "overwrite", "arc", "split", "format", "formats", "output")
_OF_ONE_COMMAND += ("seeds", "seed_index", "sweep", "sweep_index", "parallel")

_FREE = ("data_dir", "strategy", "logical_devices", "track", "metrics_format", "derive", "compare")
_TRUTH = ("truth", "truth_column")


def free_settings(settings: Settings) -> tuple[str, ...]:
    """Names of settings, or of parts of them, that may change when a run goes on.

    They do not decide its results; a comparison changes nothing of a run, nor does a table of true
    accuracies by which architectures are judged only; and what is derived can be derived again.
    """
    return _FREE if settings.search.reward == "truth" else _FREE + _TRUTH


def run_config(settings: Settings) -> dict[str, Any]:
    """Returns the settings that a run keeps in its `config.json`, as nested dicts."""
    config = asdict(settings)
    for name, part, field in settings.named_fields():
        # By the flags' names, which messages about a run's settings use as well.
        config[part][name.rpartition(".")[2]] = config[part].pop(field.name)
    return _of_runs(config)


def default_config(settings: Settings) -> dict[str, Any]:
    """Returns the defaults of settings' classes, as `run_config` has the settings.

    A run of an earlier version lacks the settings that came later. It had what is now the default,
    since a new setting's default changes nothing.
    """
    config = {}
    for name, part, field in settings.named_fields():
        if field.default is not MISSING:
            config.setdefault(part, {})[name.rpartition(".")[2]] = field.default
    return _of_runs(config)


def _of_runs(config: dict[str, Any]) -> dict[str, Any]:
    common = config.pop("common")
    return {n: v for n, v in common.items() if n not in _OF_ONE_COMMAND} | config


def flags_of(settings: Settings, presets: Mapping[str, Settings], workdir: str) -> list[str]:
    """Returns the flags that turn a preset into these settings.

    Flags of a single command, such as `--arc`, are left out.

    Args:
        settings: the settings.
        presets: the recipe's presets, by name.
        workdir: the value of `--workdir`.
    """
    preset = presets[settings.common.preset]
    given = [f"--workdir={workdir}", f"--preset={settings.common.preset}"]
    for name, part, field in settings.named_fields():
        value, default = (getattr(getattr(s, part), field.name) for s in (settings, preset))
        if name not in (*_OF_ONE_COMMAND, "preset") and value != default:
            given.append(f"--{name}={flag_text(value)}")
    return given


def flag_text(value: Any) -> str:
    """Returns the value of a setting as its flag takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
