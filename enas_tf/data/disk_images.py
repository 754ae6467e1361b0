"""Images on disk, of which only those asked for are read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError, raised_in_pipelines


class Reader(Protocol):
    """The interface of what reads images of one size by their rows, numbers from 0.

    Attributes:
        shape: `(height, width, channels)` of each image.
        sums: over each image's pixels, of the values and of their squares, int64
            `(rows, 2, channels)`.
    """

    shape: tuple[int, int, int]
    sums: np.ndarray

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Reads images, uint8 `(n, *shape)`, of rows, int64 `(n,)`, also within a pipeline."""


class DiskImages:
    """Images that a reader reads, which behave like an array.

    Args:
        reader: of these images, and of others perhaps.
        rows: theirs, in the order of the images, int64 `(count,)`.

    Attributes:
        shape: `(count, height, width, channels)`, as of an array.
        dtype: uint8.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, reader: Reader, rows: np.ndarray) -> None:
        self.reader = reader
        self.rows = rows
        self.shape = (len(rows), *reader.shape)
        with tf.device("CPU:0"):
            self._rows = tf.constant(rows, tf.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Reads some images, `(n, height, width, channels)`.

        Raises:
            UserError: one of them has gone or changed since it was first read.
        """
        with raised_in_pipelines(), tf.device("CPU:0"):
            return self.reader.read(tf.constant(self.rows[key], tf.int64)).numpy()

    def take(self, places: tf.Tensor) -> tf.Tensor:
        """Reads images of these places, int32 `(n,)`, within a pipeline of `tf.data`."""
        return self.reader.read(tf.gather(self._rows, places))

    def subset(self, places: np.ndarray) -> "DiskImages":
        """Returns the images of these places."""
        return DiskImages(self.reader, self.rows[places])

    def joined(self, other: "DiskImages") -> "DiskImages":
        """Returns these images, followed by others of the same reader."""
        return DiskImages(self.reader, np.concatenate([self.rows, other.rows]))

    def channel_sums(self) -> np.ndarray:
        """Returns the sums of all values and of their squares, int64 `(2, channels)`."""
        return self.reader.sums[self.rows].sum(axis=0)


class PixelFile:
    """The `Reader` of a file of raw bytes.

    Args:
        path: of the file; images lie in it one after the other.
        shape: `(height, width, channels)` of each.
        sums: see `Reader`.
    """

    def __init__(self, path: Path, shape: Sequence[int], sums: np.ndarray) -> None:
        self.shape = tuple(shape)
        self.sums = sums
        self._path = path
        self._file = path.open("rb", buffering=0)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Reads images of rows."""
        images = tf.numpy_function(self._read, [rows], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def _read(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape), np.uint8)
        for image, row in zip(images, rows, strict=True):
            # Not a memory map, whose pages would count as this process's memory.
            if os.preadv(self._file.fileno(), [image], int(row) * image.nbytes) < image.nbytes:
                raise UserError(
                    f"{self._path} is shorter than it was; give the same command again, which "
                    "makes it anew"
                )
        return images
