"""What all exports share: the layout of the folder, and how a version gets there whole."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from enas_tf.core.errors import UserError, one_line
from enas_tf.export.serving_files import WARMUP, Requests, server_configs, write_warmup

Signatures = Mapping[str, "tf.types.experimental.ConcreteFunction"]


def write_version(
    folder: Path,
    model: keras.Model,
    signatures: Signatures,
    extra: Mapping[str, str],
    warmup: Requests,
    tables: Sequence = (),
) -> Path:
    """Writes the next version of a model, and beside the versions what belongs to all of them.

    That is `model.keras`, of the newest version; and `models.config` and `batching_params.pbtxt`,
    which are left as they are where they exist, since users change them.

    Reference for the layout: TensorFlow Serving's model server, which polls `folder` and takes
    the highest version; it never sees half of one.

    Args:
        folder: of the model; its versions are folders named by integers.
        model: what `signatures` run.
        signatures: by their names.
        extra: texts for `assets.extra`, which TensorFlow Serving leaves alone, by file name.
        warmup: for each signature a request that a server runs before it serves.
        tables: lookup tables that the signatures use.

    Returns:
        The version's folder.

    Raises:
        UserError: the folder cannot be written.
    """
    aside = folder / f".aside.{os.getpid()}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        module = _Served(model, tables)
        tf.saved_model.save(module, str(aside / "version"), dict(signatures))
        extra_folder = aside / "version" / "assets.extra"
        extra_folder.mkdir()
        for name, text in extra.items():
            (extra_folder / name).write_text(text, encoding="utf-8")
        write_warmup(extra_folder / WARMUP, folder.name, warmup)
        model.save(aside / "model.keras")
        (aside / "model.keras").replace(folder / "model.keras")
        _add_server_configs(folder, aside)
        version = folder / str(1 + max(map(int, versions(folder)), default=0))
        (aside / "version").rename(version)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(
            f"cannot export to {folder} ({reason}); make room or give the folder back its rights, "
            "then export again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return version


def _add_server_configs(folder: Path, aside: Path) -> None:
    """Writes a server's configurations where there are none yet."""
    for name, text in server_configs(folder).items():
        if not (folder / name).exists():
            (aside / name).write_text(text, encoding="utf-8")
            (aside / name).replace(folder / name)


def extra_texts(arc: str, card: dict, lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The texts for `assets.extra`.

    Args:
        arc: the architecture's text.
        card: for `model.json`.
        lists: texts of one line each, such as labels, by the name of their file.
    """
    texts = {name: "\n".join(lines) + "\n" for name, lines in lists.items()}
    return texts | {"arc.txt": arc + "\n", "model.json": json.dumps(card, indent=2) + "\n"}


def versions(folder: Path) -> list[str]:
    """The versions of an exported model, oldest first."""
    names = [path.name for path in folder.glob("*") if path.name.isdigit()]
    return sorted(names, key=int)


class _Served(tf.Module):
    """What a SavedModel holds.

    TensorFlow's own variables: its C++ runtime does not find those inside Keras' objects, and
    Keras' ExportArchive writes each of them twice.
    """

    def __init__(self, model: keras.Model, tables: Sequence) -> None:
        super().__init__()
        self.weights = [variable.value for variable in model.variables]
        self.tables = list(tables)
