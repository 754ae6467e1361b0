"""Keeps images where the settings say, and finds again what an earlier run has kept."""

import hashlib
import io
import json
import math
import os
import sys
from pathlib import Path

import numpy as np

from enas_tf.data.base import DataConfig
from enas_tf.data.disk_images import DiskImages, PixelFile
from enas_tf.data.encoded import Encoded, EncodedReader, Survey, first_image, look_through
from enas_tf.data.pixels import Images, PixelStore

_MOST_IN_MEMORY = 4 * 2**30  # bytes, with `in_memory=auto`

# Of the files; another number where the same settings give other pixels or facts.
_FORMAT = 2


def keep(encoded: Encoded, config: DataConfig) -> tuple[Images, Survey]:
    """Keeps images in memory or, if there are too many of them, on disk.

    On disk they stay as they are, to be decoded batch by batch, or lie in a file of their pixels in
    `cache_dir`. What was seen of them when all were looked through is kept in a small file beside
    that one, or in `~/.cache/enas_tf/images`, so that later runs need not look again.

    Args:
        encoded: the images.
        config: says where to keep them, their size, and whether to skip what cannot be decoded.

    Returns:
        The images that can be decoded, uint8 `(count, height, width, channels)`, in the order of
        their places; if some have colours, grey ones repeat their only channel. And what was seen
        of them.

    Raises:
        UserError: some cannot be decoded, they differ in size, or a file cannot be written.
    """
    first = first_image(encoded, config.image_size, config.skip_unreadable)
    fits = len(encoded) * math.prod(first[1]) <= _MOST_IN_MEMORY
    if config.in_memory == "true" or (config.in_memory == "auto" and fits):
        return _collected(encoded, config, first, None)
    path = _path(encoded, config)
    survey = _read_survey(path.with_suffix(".npz"))
    if config.cache_dir is None:
        if survey is None:
            survey = look_through(encoded, config.image_size, first)
            _write_survey(survey, path.with_suffix(".npz"))
        _report(encoded, survey, config)
        reader = EncodedReader(encoded, survey, config.image_size)
        return DiskImages(reader, np.flatnonzero(survey.is_image)), survey
    if survey is None or not _is_whole(path, survey):
        _, survey = _collected(encoded, config, first, path)
        _write_survey(survey, path.with_suffix(".npz"))
    else:
        _report(encoded, survey, config)
    reader = PixelFile(path, survey.shape, survey.sums[survey.is_image])
    return DiskImages(reader, np.arange(len(reader.sums))), survey


def _collected(
    encoded: Encoded, config: DataConfig, first: tuple[int, tuple[int, int, int]], path: Path | None
) -> tuple[np.ndarray | None, Survey]:
    """Decodes all images into memory, or into a file."""
    store = PixelStore(len(encoded), first[1], path)
    try:
        survey = look_through(encoded, config.image_size, first, store, config.skip_unreadable)
        _report(encoded, survey, config)
        if path is None:
            return store.in_memory(), survey
        store.finish()
    except BaseException:
        store.discard()
        raise
    return None, survey


def _report(encoded: Encoded, survey: Survey, config: DataConfig) -> None:
    if survey.reasons:
        encoded.report(survey.reasons, config.skip_unreadable)


def _path(encoded: Encoded, config: DataConfig) -> Path:
    folder = Path(config.cache_dir or Path.home() / ".cache/enas_tf/images").expanduser()
    text = json.dumps([_FORMAT, config.image_size, encoded.key])
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.images"


def _is_whole(path: Path, survey: Survey) -> bool:
    size = int(survey.is_image.sum()) * math.prod(survey.shape)
    return path.exists() and path.stat().st_size == size


def _read_survey(path: Path) -> Survey | None:
    """Reads what an earlier run has seen, if it is there and whole."""
    try:
        with np.load(path) as kept:
            reasons = {int(place): why for place, why in json.loads(str(kept["reasons"])).items()}
            shape = tuple(kept["shape"].tolist())
            return Survey(shape, kept["is_image"], kept["sums"], kept["facts"], reasons)
    except Exception:  # of many kinds, for a damaged file too; the images are looked through again
        return None


def _write_survey(survey: Survey, path: Path) -> None:
    """Keeps what was seen, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **{**vars(survey), "reasons": json.dumps(survey.reasons)})
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content.getbuffer())
        aside.replace(path)
    except OSError as error:
        print(
            f"note: cannot write {path} ({error.strerror}); the next start looks through all "
            "images again",
            file=sys.stderr,
        )
