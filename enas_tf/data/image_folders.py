"""Reads image files from one folder per class."""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError, one_line
from enas_tf.data.base import DataConfig, resize
from enas_tf.data.image_cache import keep
from enas_tf.data.image_files import FILE_TYPES, is_hidden, orientation
from enas_tf.data.pixels import Images

_SPLIT_OF_FOLDER = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}

_NAMED_FILES = 10

# Files that are decoded before their pixels are stored.
_AHEAD = 32

# How to turn pixels, `(height, width, channels)`, by EXIF orientation.
_TURNS = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@dataclass(frozen=True)
class FoundImages:
    """The image files of class folders.

    Attributes:
        files: all of them.
        labels: the place of each one's class in `class_names`, int32.
        splits: the name of each one's split, an array of strings.
        class_names: the names of the folders of the training split.
    """

    files: Sequence[Path]
    labels: np.ndarray
    splits: np.ndarray
    class_names: tuple[str, ...]


def split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split by its name; if there are none, all is for training.

    Raises:
        UserError: there are no class folders.
    """
    if not _subfolders(root):
        raise UserError(f"folder {root} has no folders; put the images into one folder per class")
    if (root / "train").is_dir() and _subfolders(root / "train"):
        named = {_SPLIT_OF_FOLDER.get(folder.name): folder for folder in _subfolders(root)}
        return {split: folder for split, folder in named.items() if split}
    return {"train": root}


def find_images(folders: Mapping[str, Path]) -> FoundImages:
    """Lists the image files in the class folders of each split, and tells what is left out.

    Hidden files and folders are left out without a word.

    Raises:
        UserError: a class folder has no images, or is missing from the training split.
    """
    class_names = tuple(folder.name for folder in _subfolders(folders["train"]))
    files, splits, others = [], [], Counter()
    for split, folder in folders.items():
        for class_folder in _subfolders(folder):
            if class_folder.name not in class_names:
                raise UserError(f"class folder {class_folder} has no namesake in the train folder")
            found, left_out = _image_files(class_folder)
            files += found
            splits += len(found) * [split]
            others += left_out
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common())
        _tell(
            f"{others.total()} of the files in the class folders are left out, since they are none "
            f"of {', '.join(FILE_TYPES)}: {kinds}"
        )
    labels = np.array([class_names.index(file.parent.name) for file in files], np.int32)
    return FoundImages(files, labels, np.array(splits), class_names)


def read_images(files: Sequence[Path], config: DataConfig) -> tuple[Images, np.ndarray]:
    """Reads images of one size, the right way up.

    Args:
        files: to read.
        config: their size, where to keep them, and whether to leave out what cannot be read.

    Returns:
        The images, uint8 `(count, height, width, channels)`; if some have colours, grey ones
        repeat their only channel. And which of the files they are, bool `(files,)`.

    Raises:
        UserError: some cannot be read, or they differ in size.
    """

    def read(file: Path) -> np.ndarray | UserError:
        try:
            return resize(_decode(file), config.image_size).numpy()
        except tf.errors.OpError as error:
            return UserError(one_line(error))

    def decoded() -> Iterator[np.ndarray]:
        first = None
        for file, one in zip(files, _in_parallel(read, files), strict=True):
            if isinstance(one, UserError):
                reasons[str(file)] = str(one)
                continue
            first = first or (file, one.shape)
            _refuse_other_size(*first, file, one.shape)
            # No more is kept once it is clear that the run will end here.
            if config.skip_unreadable or not reasons:
                yield one
        if reasons and not config.skip_unreadable:
            _tell_unreadable(reasons, skip=False)

    reasons: dict[str, str] = {}
    stats = map(Path.stat, files)
    key = [(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)]
    images, left_out = keep(decoded(), len(files), config, key, lambda: reasons)
    _tell_unreadable(left_out, skip=True)
    return images, np.array([str(file) not in left_out for file in files])


def _image_files(folder: Path) -> tuple[list[Path], Counter]:
    """Lists the image files in a class folder; counts the others by their endings."""
    files = [file for file in folder.iterdir() if file.is_file() and not is_hidden(file)]
    found = sorted(file for file in files if file.suffix.lower() in FILE_TYPES)
    if found:
        others = (file.suffix.lower() for file in files if file.suffix.lower() not in FILE_TYPES)
        return found, Counter(kind or "without an ending" for kind in others)
    problem = f"class folder {folder} has no images ({', '.join(FILE_TYPES)})"
    for inner in _subfolders(folder):
        if any(file.suffix.lower() in FILE_TYPES for file in inner.iterdir()):
            problem += f", but {inner} has: move them up, each directly into its class's folder"
            break
    raise UserError(problem)


def _subfolders(folder: Path) -> list[Path]:
    """Lists the folders in a folder, sorted by name, without hidden ones."""
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not is_hidden(inner))


def _decode(file: Path) -> np.ndarray:
    """Decodes a file as a server of the trained network does, and turns it upright.

    Returns:
        uint8 `(height, width, channels)`; 1 or 3 channels, without transparency.
    """
    image = tf.io.decode_image(tf.io.read_file(str(file)), expand_animations=False).numpy()
    image = image[..., : 1 if image.shape[-1] < 3 else 3]
    return _TURNS.get(orientation(file), np.asarray)(image)


def _tell_unreadable(reasons: Mapping[str, str], skip: bool) -> None:
    """Tells of files that cannot be read; raises UserError unless they are to be skipped."""
    if not reasons:
        return
    named = [f"{file} cannot be read: {reason}" for file, reason in reasons.items()]
    what = f"image {named[0]}"
    if named[1:]:
        rest = len(named) - _NAMED_FILES
        listed = "; ".join(named[:_NAMED_FILES]) + (f"; and {rest} more" if rest > 0 else "")
        what = f"{len(named)} images cannot be read: {listed}"
    if not skip:
        raise UserError(
            f"{what}; mend or remove what is wrong, or go on without by --data.skip_unreadable"
        )
    _tell(f"left out: {what}")


def _refuse_other_size(first: Path, shape: Sequence[int], file: Path, own: Sequence[int]) -> None:
    if own[:2] != shape[:2]:
        (height, width), (other_height, other_width) = shape[:2], own[:2]
        raise UserError(
            f"images differ in size: {first} is {width} x {height}, {file} is "
            f"{other_width} x {other_height} pixels; pass --data.image_size=N to resize all "
            f"to N x N"
        )


def _in_parallel(read: Callable, files: Sequence[Path]) -> Iterator:
    """Yields what each file gives, in order; works a little ahead only, to keep memory small."""
    with ThreadPoolExecutor() as pool:
        waiting = deque()
        for file in files:
            waiting.append(pool.submit(read, file))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        yield from (one.result() for one in waiting)


def _tell(note: str) -> None:
    """Tells a note on standard error: some verbs print nothing but JSON on standard output."""
    print(f"note: {note}", file=sys.stderr)
