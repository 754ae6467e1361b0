"""What all exports share: the layout of the folder, and how a version gets there whole."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from enas_tf.core.errors import UserError, one_line
from enas_tf.export.exporters import EXPORTERS, VERSION, ExportedModel, Exporter


def write_version(model: ExportedModel, exporters: Sequence[Exporter] = EXPORTERS) -> Path:
    """Writes the next version of a model, and beside the versions what belongs to all of them.

    Reference for the layout: TensorFlow Serving's model server, which polls the model's folder and
    takes the highest version; it never sees half of one.

    Args:
        model: what is exported.
        exporters: what writes it, in turn.

    Returns:
        The version's folder.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = model.folder
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
    """Renames what was written aside into place, the version last; returns the version's folder."""
    for path in sorted(aside.iterdir()):
        if path.name != VERSION:
            path.replace(folder / path.name)
    version = folder / str(1 + max(map(int, versions(folder)), default=0))
    (aside / VERSION).rename(version)
    return version


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
