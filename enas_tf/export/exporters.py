"""The formats that a trained network is exported in, one exporter each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import tensorflow as tf

from enas_tf.export.serving_files import WARMUP, Requests, server_configs, write_warmup

Signatures = Mapping[str, "tf.types.experimental.ConcreteFunction"]

VERSION = "version"
"""The folder that becomes the next version; what lies beside it goes beside all versions."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained network, with all that any format takes.

    Attributes:
        folder: of the model; its versions are folders named by integers.
        model: what `signatures` run.
        signatures: by their names.
        extra: texts for `assets.extra`, which TensorFlow Serving leaves alone, by file name.
        warmup: for each signature a request that a server runs before it serves.
        tables: lookup tables that the signatures use.
    """

    folder: Path
    model: keras.Model
    signatures: Signatures
    extra: Mapping[str, str]
    warmup: Requests
    tables: Sequence = ()


class Exporter(Protocol):
    """Writes a model in one format."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes files that are published once all exporters have written theirs.

        Args:
            model: what is exported.
            aside: a folder. What is written into its folder `VERSION` becomes part of the next
                version; a file beside that folder takes the place of one in the model's folder.
        """


class SavedModel:
    """TensorFlow's SavedModel, which TensorFlow Serving loads."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes it into the version."""
        module = _Served(model.model, model.tables)
        tf.saved_model.save(module, str(aside / VERSION), dict(model.signatures))


class ExtraFiles:
    """Labels, the architecture and what else says what a version is."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes them into the version."""
        for name, text in model.extra.items():
            (_extra_folder(aside) / name).write_text(text, encoding="utf-8")


class WarmUp:
    """The requests that TensorFlow Serving runs before it serves a version."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes them into the version."""
        write_warmup(_extra_folder(aside) / WARMUP, model.folder.name, model.warmup)


class KerasModel:
    """Keras' own format."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes `model.keras` beside the versions: that of the newest one."""
        model.model.save(aside / "model.keras")


class ServerConfigs:
    """The configurations that TensorFlow Serving is started with."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes those beside the versions that are missing there, since users change them."""
        for name, text in server_configs(model.folder).items():
            if not (model.folder / name).exists():
                (aside / name).write_text(text, encoding="utf-8")


EXPORTERS: tuple[Exporter, ...] = (
    SavedModel(),
    ExtraFiles(),
    WarmUp(),
    KerasModel(),
    ServerConfigs(),
)
"""What every export writes, in turn; another format is a class and an entry here."""


def _extra_folder(aside: Path) -> Path:
    folder = aside / VERSION / "assets.extra"
    folder.mkdir(exist_ok=True)
    return folder


class _Served(tf.Module):
    """What a SavedModel holds.

    TensorFlow's own variables: its C++ runtime does not find those inside Keras' objects, and
    Keras' ExportArchive writes each of them twice.
    """

    def __init__(self, model: keras.Model, tables: Sequence) -> None:
        super().__init__()
        self.weights = [variable.value for variable in model.variables]
        self.tables = list(tables)
