"""Where the pixels of a data set lie, in memory or on disk; and its splits.

Images are a NumPy array, or `DiskImages`, which behave like one. A store collects decoded images,
in memory or in a file of raw bytes. Memory does not hold the pixels twice, but while the grey
images before the first coloured one are given its channels.
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
from enas_tf.data.disk_images import DiskImages

_ALIGNMENT = 64  # bytes; TensorFlow takes arrays that begin at multiples as its own

# Bytes, where all images are gone through once.
_READ_AT_ONCE = 2**24


class PixelStore:
    """Collects decoded images, in memory or in a file.

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

    def extend(self, images: np.ndarray, channels: int) -> None:
        """Adds images; see `enas_tf.data.encoded.Store`."""
        if channels > self._shape[-1]:
            self._widen(channels)
        images = images[..., : self._shape[-1]]
        if self._path is None:
            self._images[self._length : self._length + len(images)] = images
        else:
            with self._telling_errors():
                self._file.write(images.tobytes())
        self._length += len(images)

    def in_memory(self) -> np.ndarray:
        """Returns all images that were added, where no file was to be written."""
        return self._images[: self._length]

    def finish(self) -> None:
        """Gives the file its name, now that it is whole."""
        with self._telling_errors():
            self._file.close()
            os.replace(self._file.name, self._path)

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
        """Has the images so far, which were grey, repeat their channel."""
        shape, length = self._shape, self._length
        if self._path is None:
            before = self.in_memory()
            self._begin((*shape[:2], channels))
            self.extend(np.broadcast_to(before, (length, *self._shape)), channels)
            return
        self._file.flush()
        with self._file as grey:
            try:
                self._begin((*shape[:2], channels))
                grey.seek(0)
                for _ in range(length):
                    one = np.frombuffer(grey.read(math.prod(shape)), np.uint8).reshape(1, *shape)
                    self.extend(np.broadcast_to(one, (1, *self._shape)), channels)
            finally:
                Path(grey.name).unlink()


Images = np.ndarray | DiskImages


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
        groups: the places of each group's images, ascending; none is in two groups.
    """
    if isinstance(images, DiskImages):
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
    if isinstance(images, DiskImages) and isinstance(more, DiskImages):
        return images.joined(more)
    owner, end = images.base, images.ctypes.data + images.nbytes
    if owner is not None and owner is more.base and more.ctypes.data == end and owner.ndim == 1:
        start = images.ctypes.data - owner.ctypes.data
        size = images.nbytes + more.nbytes
        return owner[start : start + size].reshape((-1, *images.shape[1:]))
    return np.concatenate([images, more])


def channel_sums(images: Images) -> np.ndarray:
    """Returns the sums of all values and of their squares, exactly, int64 `(2, channels)`."""
    if isinstance(images, DiskImages):
        return images.channel_sums()
    # Sum over images first, as numpy sums slowly where the last axis has few channels.
    sums = squares = np.zeros(math.prod(images.shape[1:]), np.int64)
    number = max(1, _READ_AT_ONCE // len(sums))
    for first in range(0, len(images), number):
        some = images[first : first + number]
        rows = some.reshape(len(some), -1)
        sums = sums + rows.sum(axis=0, dtype=np.int64)
        squares = squares + np.einsum("nk,nk->k", rows, rows, dtype=np.int64, casting="unsafe")
    return np.stack([sums, squares]).reshape(2, -1, images.shape[-1]).sum(axis=1)


class Split:
    """A part of a data set.

    Args:
        images: uint8 `(count, height, width, channels)`, an array or `DiskImages`.
        labels: integers, `(count,)`, positions in the data set's `class_names`; kept as int32.
    """

    def __init__(self, images: Images, labels: np.ndarray) -> None:
        self.images = images
        # TensorFlow's losses take no small integers, such as those of data sets of Keras.
        is_whole = np.issubdtype(labels.dtype, np.integer)
        self.labels = labels.astype(np.int32, copy=False) if is_whole else labels

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
        if isinstance(self.images, DiskImages):
            take = self.images.take
        else:
            images = self._tensor

            def take(places: tf.Tensor) -> tf.Tensor:
                return tf.gather(images, places)

        return lambda places: (take(places), tf.gather(labels, places))
