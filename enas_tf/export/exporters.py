"""The formats in which a trained network is exported, with one exporter each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.data.base import ImageData
from enas_tf.export import tflite
from enas_tf.export.serving_files import WARMUP, Requests, server_configs, write_warmup

Signatures = Mapping[str, "tf.types.experimental.ConcreteFunction"]

VERSION = "version"
"""The name of the folder that becomes the next version; files beside it are for all versions."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained network, with everything that the exporters need.

    Attributes:
        folder: the model's folder; its versions are folders named by integers.
        model: the model that `signatures` run.
        signatures: the signatures, by name.
        extra: texts for `assets.extra`, which TensorFlow Serving ignores, by file name.
        warmup: a request for each signature, which a server runs before it serves.
        tables: the lookup tables that the signatures use.
        images: of an image classifier its data, to calibrate and test formats for devices.
    """

    folder: Path
    model: keras.Model
    signatures: Signatures
    extra: Mapping[str, str]
    warmup: Requests
    tables: Sequence = ()
    images: ImageData | None = None


class Exporter(Protocol):
    """Writes a model in one format."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes files, which are published after all exporters have written theirs.

        Args:
            model: the model to export.
            aside: a temporary folder. Files in its subfolder `VERSION` become part of the next
                version; files beside that subfolder replace those in the model's folder.
        """


class SavedModel:
    """Exports TensorFlow's SavedModel, which TensorFlow Serving loads."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes the SavedModel into the version."""
        module = _Served(model.model, model.tables)
        tf.saved_model.save(module, str(aside / VERSION), dict(model.signatures))


class ExtraFiles:
    """Exports the texts that describe a version, such as labels and the architecture."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes the texts into the version."""
        for name, text in model.extra.items():
            (_extra_folder(aside) / name).write_text(text, encoding="utf-8")


class WarmUp:
    """Exports the requests that TensorFlow Serving runs before it serves a version."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes the requests into the version."""
        write_warmup(_extra_folder(aside) / WARMUP, model.folder.name, model.warmup)


class KerasModel:
    """Exports Keras' own format."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes `model.keras` beside the versions; it is that of the newest version."""
        model.model.save(aside / "model.keras")


class TfLite:
    """Exports an image classifier for TensorFlow Lite, in floats and in 8-bit integers."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes both files into the version, with what they reach, and says it."""
        folder = aside / VERSION / "tflite"
        folder.mkdir()
        files = tflite.convert(model.model, model.images)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "labels.txt").write_text(model.extra["labels.txt"], encoding="utf-8")
        result = json.dumps(tflite.report(files, model.images), indent=2)
        (folder / "tflite.json").write_text(result + "\n")


class ServerConfigs:
    """Exports configuration files to start TensorFlow Serving with."""

    def write(self, model: ExportedModel, aside: Path) -> None:
        """Writes missing files beside the versions; keeps others, which users may have edited."""
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
"""The exporters of every export, in turn. To add to them, write a class and add it here."""

FORMATS: Mapping[str, tuple[Exporter, ...]] = {"saved_model": EXPORTERS, "tflite": (TfLite(),)}
"""The exporters of each format that an export may have; the first one is part of all."""


def choose_formats(text: str, known: Sequence[str]) -> list[str]:
    """Returns the formats that a text names, separated by commas, in the order of the known ones.

    Raises:
        UserError: one is not known, or the first of them, which belongs to all exports, is missing.
    """
    always, *others = known
    wanted = {name.strip() for name in text.split(",")}
    if not wanted <= set(known) or always not in wanted:
        more = f", or it and some of {', '.join(others)}" if others else ""
        raise UserError(f"formats must be {always}{more}, got {text}")
    return [name for name in known if name in wanted]


def exporters_of(formats: Sequence[str]) -> list[Exporter]:
    """Returns the exporters of some formats, in turn."""
    return [exporter for name, some in FORMATS.items() if name in formats for exporter in some]


def _extra_folder(aside: Path) -> Path:
    folder = aside / VERSION / "assets.extra"
    folder.mkdir(exist_ok=True)
    return folder


class _Served(tf.Module):
    """The object that is saved as a SavedModel.

    It holds TensorFlow's own variables, since TensorFlow's C++ runtime does not find those inside
    Keras' objects, and Keras' ExportArchive writes each of them twice.
    """

    def __init__(self, model: keras.Model, tables: Sequence) -> None:
        super().__init__()
        self.weights = [variable.value for variable in model.variables]
        self.tables = list(tables)
