"""Reads image files from one folder per class."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError, one_line
from enas_tf.data.decoding import decode_upright
from enas_tf.data.image_files import FILE_TYPES, is_hidden

_SPLIT_OF_FOLDER = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}

_NAMED_FILES = 10


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
    """Lists the image files in the class folders of each split, and reports what is left out.

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


class ImageFiles:
    """Image files, as `enas_tf.data.encoded.Encoded`; the fact of each is its EXIF orientation.

    Args:
        files: their names; the places count them.
    """

    most_channels, num_facts = 3, 1

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        with tf.device("CPU:0"):
            self._names = tf.constant([os.fsencode(file) for file in files])

    def __len__(self) -> int:
        return len(self._files)

    @property
    def key(self) -> list[tuple[str, int, int]]:
        """The name, size and time of change of each file."""
        stats = map(Path.stat, self._files)
        pairs = zip(self._files, stats, strict=True)
        return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in pairs]

    def handles(self) -> tf.data.Dataset:
        """Returns the name of each file, and 0, since its orientation is not known."""
        return tf.data.Dataset.from_tensor_slices((self._names, np.zeros(len(self), np.int64)))

    def handles_of(self, places: tf.Tensor, facts: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the names and the orientations of files."""
        return tf.gather(self._names, places), tf.gather(facts[:, 0], places)

    def decode(self, name: tf.Tensor, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes a file, the right way up."""
        image, turn = decode_upright(tf.io.read_file(name), turn)
        return image, turn[tf.newaxis]

    def name(self, place: int) -> str:
        """Returns the file's name."""
        return f"image {self._files[place]}"

    def why(self, place: int) -> str:
        """Returns what TensorFlow says of a file."""
        try:
            self.decode(self._names[place], tf.constant(0, tf.int64))
        except tf.errors.OpError as error:
            return one_line(error)
        return "it has changed"

    def report(self, reasons: Mapping[int, str], skip: bool) -> None:
        """Reports files that cannot be read; raises UserError unless they are to be skipped."""
        named = [f"{self._files[i]} cannot be read: {reason}" for i, reason in reasons.items()]
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


def _tell(note: str) -> None:
    """Prints a note on standard error: some verbs print nothing but JSON on standard output."""
    print(f"note: {note}", file=sys.stderr)
