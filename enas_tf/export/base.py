"""The parts that all exports share: the folder's layout, and publishing whole versions."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from enas_tf.core.errors import UserError, one_line
from enas_tf.export.exporters import EXPORTERS, VERSION, ExportedModel, Exporter


def write_version(model: ExportedModel, exporters: Sequence[Exporter] = EXPORTERS) -> Path:
    """Writes the next version of a model, and the files that all its versions share.

    The layout is that of TensorFlow Serving's model server, which polls the model's folder and
    serves the highest version. It never sees a version that is written only in part.

    Args:
        model: the model to export.
        exporters: the exporters that write it, in turn.

    Returns:
        The version's folder.

    Raises:
        UserError: if the folder cannot be written.
    """
    folder = model.folder
    # Inside the model's folder, so that it is on the same file system and a rename is atomic;
    # its name is not a number, so a server does not take it for a version.
    aside = folder / f".aside.{os.getpid()}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        (aside / VERSION).mkdir(parents=True)
        for exporter in exporters:
            exporter.write(model, aside)
        return _publish(aside, folder)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(
            f"cannot export to {folder} ({reason}); make room or give the folder back its rights, "
            "then export again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _publish(aside: Path, folder: Path) -> Path:
    """Moves the files from `aside` into place, the version last; returns the version's folder."""
    for path in sorted(aside.iterdir()):
        if path.name != VERSION:
            path.replace(folder / path.name)
    version = folder / str(1 + max(map(int, versions(folder)), default=0))
    (aside / VERSION).rename(version)
    return version


def extra_texts(arc: str, card: dict, lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns the texts for `assets.extra`, by file name.

    Args:
        arc: the architecture's text.
        card: the content of `model.json`.
        lists: lists of lines, such as labels, by file name.
    """
    texts = {name: "\n".join(lines) + "\n" for name, lines in lists.items()}
    return texts | {"arc.txt": arc + "\n", "model.json": json.dumps(card, indent=2) + "\n"}


def versions(folder: Path) -> list[str]:
    """Returns the names of an exported model's versions, oldest first."""
    names = [path.name for path in folder.glob("*") if path.name.isdigit()]
    return sorted(names, key=int)
