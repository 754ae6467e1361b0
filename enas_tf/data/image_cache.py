"""Keeps decoded images where the settings say, and finds again what an earlier run has kept."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from enas_tf.core.errors import UserError
from enas_tf.data.base import DataConfig
from enas_tf.data.pixels import FileImages, Images, PixelStore

_MOST_IN_MEMORY = 4 * 2**30  # bytes, with `in_memory=auto`

# Of the files; another number where the same settings give other pixels.
_FORMAT = 1


def keep(
    images: Iterator[np.ndarray],
    count: int,
    config: DataConfig,
    key: Any,
    facts: Callable[[], Any] = lambda: None,
) -> tuple[Images, Any]:
    """Keeps images in memory or, if there are too many of them, in a file.

    Args:
        images: uint8 `(height, width, channels)`, of one height and width; they are made only if no
            earlier run has kept them.
        count: their number, at most.
        config: says where to keep them.
        key: identifies them, with the settings of their reading; JSON.
        facts: called once all are made; what it returns, JSON, is kept beside the file.

    Returns:
        The images; and the facts.

    Raises:
        UserError: there are none, or the file cannot be written.
    """
    path = _path(config, key)
    if config.in_memory != "true" and path.with_suffix(".json").exists():
        kept = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if path.exists() and path.stat().st_size == np.prod(kept["shape"]):
            _, *shape = kept["shape"]
            return FileImages(path, shape, np.arange(kept["shape"][0])), kept["facts"]
    first = next(images, None)
    if first is None:
        raise UserError("none of the image files can be read")
    in_memory = config.in_memory == "true" or (
        config.in_memory == "auto" and count * first.nbytes <= _MOST_IN_MEMORY
    )
    store = PixelStore(count, first.shape, None if in_memory else path)
    try:
        store.append(first)
        for image in images:
            store.append(image)
        found = store.finish()
    except BaseException:
        store.discard()
        raise
    if not in_memory:
        # Whole or not at all: a run that is killed here leaves no half of it.
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        aside.write_text(json.dumps({"shape": found.shape, "facts": facts()}), encoding="utf-8")
        aside.replace(path.with_suffix(".json"))
    return found, facts()


def _path(config: DataConfig, key: Any) -> Path:
    folder = Path(config.cache_dir or Path.home() / ".cache/enas_tf/images").expanduser()
    text = json.dumps([_FORMAT, config.image_size, config.skip_unreadable, key])
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.images"
