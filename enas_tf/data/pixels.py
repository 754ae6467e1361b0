"""Where the pixels of a data set lie: in memory, or in a file of raw bytes; and its splits.

Images are read once, one by one, into a store; what comes of it is a NumPy array, or `FileImages`,
which behaves like one. Memory never holds the pixels twice.
"""

import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError

_ALIGNMENT = 64  # bytes; TensorFlow takes arrays that begin at multiples as its own


class FileImages:
    """Images of a file of raw bytes, of which only those asked for are read.

    Args:
        path: of the file; images lie in it one after the other.
        shape: `(height, width, channels)` of each.
        rows: the places of the images in the file, int64.

    Attributes:
        shape: `(count, height, width, channels)`, as of an array.
        dtype: uint8.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, shape: Sequence[int], rows: np.ndarray) -> None:
        self.path = path
        self.rows = rows
        self.shape = (len(rows), *shape)
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Reads some images, `(n, height, width, channels)`."""
        return self._read(np.arange(len(self))[key])

    def take(self, places: tf.Tensor) -> tf.Tensor:
        """Reads images of these places, int32 `(n,)`, within a pipeline of `tf.data`."""
        images = tf.numpy_function(self._read, [places], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (None, *self.shape[1:]))

    def subset(self, places: np.ndarray) -> "FileImages":
        """Returns the images of these places."""
        return FileImages(self.path, self.shape[1:], self.rows[places])

    def joined(self, other: "FileImages") -> "FileImages":
        """Returns these images, followed by others of the same file."""
        return FileImages(self.path, self.shape[1:], np.concatenate([self.rows, other.rows]))

    def _read(self, places: np.ndarray) -> np.ndarray:
        images = np.empty((len(places), *self.shape[1:]), np.uint8)
        for image, row in zip(images, self.rows[places], strict=True):
            # Not a memory map, whose pages would count as this process's memory.
            os.preadv(self._file.fileno(), [image], int(row) * image.nbytes)
        return images


class PixelStore:
    """Collects images, in memory or in a file.

    Args:
        count: the number of images, at most.
        shape: `(height, width, channels)` of the first one. If later ones have more channels, the
            grey ones before repeat theirs.
        path: the file to write; None keeps them in memory.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, count: int, shape: Sequence[int], path: Path | None) -> None:
        self._count = count
        self._path = path
        self._begin(tuple(shape))

    def append(self, image: np.ndarray) -> None:
        """Adds an image, uint8, of the first one's height and width."""
        if image.shape[-1] > self._shape[-1]:
            self._widen(image.shape[-1])
        image = np.broadcast_to(image, self._shape)
        if self._path is None:
            self._images[self._length] = image
        else:
            with self._telling_errors():
                self._file.write(image.tobytes())
        self._length += 1

    def finish(self) -> "np.ndarray | FileImages":
        """Returns all images that were added; a file gets its name only now."""
        if self._path is None:
            return self._images[: self._length]
        with self._telling_errors():
            self._file.close()
            os.replace(self._file.name, self._path)
        return FileImages(self._path, self._shape, np.arange(self._length))

    def discard(self) -> None:
        """Removes what was written."""
        if self._path is not None:
            # On a full disk closing fails too; the reason has been told.
            with suppress(OSError):
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    def _begin(self, shape: tuple[int, int, int]) -> None:
        self._shape, self._length = shape, 0
        if self._path is None:
            self._images = aligned_empty((self._count, *shape))
            return
        with self._telling_errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115
                dir=self._path.parent, prefix=".images.", delete=False
            )

    @contextmanager
    def _telling_errors(self) -> Iterator[None]:
        """Turns write errors into a UserError with one clear line."""
        try:
            yield
        except OSError as error:
            size = self._count * math.prod(self._shape) / 2**30
            raise UserError(
                f"cannot write {self._path} ({error.strerror}), where the images need {size:.1f} "
                "GiB; name another folder by --data.cache_dir, or keep them in memory by "
                "--data.in_memory=true"
            ) from error

    def _widen(self, channels: int) -> None:
        """Starts again with more channels, and adds the images so far, which were grey."""
        before = self.finish()
        self._begin((*self._shape[:2], channels))
        for place in range(len(before)):
            self.append(before[place : place + 1][0])


Images = np.ndarray | FileImages


def aligned_empty(shape: Sequence[int]) -> np.ndarray:
    """Returns a new array of bytes that TensorFlow can take as it is, without a copy."""
    size = int(np.prod(shape))
    whole = np.empty(size + _ALIGNMENT, np.uint8)
    first = -whole.ctypes.data % _ALIGNMENT
    return whole[first : first + size].reshape(shape)


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Returns an array as a tensor in the host's memory, which share the pixels where they can."""
    is_aligned = images.ctypes.data % _ALIGNMENT == 0
    if is_aligned and images.flags.c_contiguous and images.flags.writeable:
        return tf.experimental.dlpack.from_dlpack(images.__dlpack__())
    with tf.device("CPU:0"):
        return tf.constant(images)


def divided(images: Images, groups: Sequence[np.ndarray]) -> list[Images]:
    """Divides images into groups; those of an array are put into this order, in place.

    Args:
        images: of a store, to which nothing else refers.
        groups: the places of each group's images, ascending; together all places.
    """
    if isinstance(images, FileImages):
        return [images.subset(group) for group in groups]
    first, *others = groups
    aside = [images[group] for group in others]
    # Each one moves towards the start, so that none is overwritten before it has moved.
    for place, source in enumerate(first):
        if place != source:
            images[place] = images[source]
    bounds = np.cumsum([0, *map(len, groups)])
    parts = [images[start:end] for start, end in itertools.pairwise(bounds)]
    for part, values in zip(parts[1:], aside, strict=True):
        part[:] = values
    return parts


def joined(images: Images, more: Images) -> Images:
    """Returns images of two groups as one; where one array has both in a row, without a copy."""
    if isinstance(images, FileImages) and isinstance(more, FileImages):
        return images.joined(more)
    owner, end = images.base, images.ctypes.data + images.nbytes
    if owner is not None and owner is more.base and more.ctypes.data == end and owner.ndim == 1:
        start = images.ctypes.data - owner.ctypes.data
        size = images.nbytes + more.nbytes
        return owner[start : start + size].reshape((-1, *images.shape[1:]))
    return np.concatenate([images, more])


class Split:
    """A part of a data set.

    Args:
        images: uint8 `(count, height, width, channels)`, an array or `FileImages`.
        labels: int32 `(count,)`, positions in the data set's `class_names`.
    """

    def __init__(self, images: Images, labels: np.ndarray) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def _tensor(self) -> tf.Tensor:
        """The images of an array as a tensor in the host's memory, where input pipelines run."""
        tensor = as_tensor(self.images)
        # Data sets are large: let the array share the tensor's memory instead of being a copy.
        if not np.may_share_memory(self.images, np.asarray(tensor)):
            self.images = np.asarray(tensor)
        return tensor

    def taker(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Returns a function, for pipelines, from places, int32 `(n,)`, to images and labels."""
        with tf.device("CPU:0"):
            labels = tf.constant(self.labels)
        if isinstance(self.images, FileImages):
            take = self.images.take
        else:
            images = self._tensor

            def take(places: tf.Tensor) -> tf.Tensor:
                return tf.gather(images, places)

        return lambda places: (take(places), tf.gather(labels, places))
