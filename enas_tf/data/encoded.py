"""Images as their files hold them: looked through once, then decoded whenever they are needed."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from enas_tf.core.duration import format_duration
from enas_tf.core.errors import UserError, one_line
from enas_tf.data.base import resize
from enas_tf.data.decoding import each

# Images that are looked through together: so many, or so many bytes of pixels.
_MOST_TOGETHER = 256
_BYTES_TOGETHER = 2**24

# Seconds between two lines of progress, on a terminal and elsewhere.
_LIVE_INTERVAL, _PLAIN_INTERVAL = 0.5, 10.0


class Encoded(Protocol):
    """The interface of images that lie encoded in files; each has a place, a number from 0.

    A handle is a tuple of tensors that finds the content of an image: the name of its file, or the
    content itself.

    Attributes:
        key: identifies all images as they are now; JSON.
        most_channels: that an image may have.
        num_facts: of each image, integers that say where and how it lies.
    """

    key: Any
    most_channels: int
    num_facts: int

    def __len__(self) -> int:
        """Returns the number of images."""

    def handles(self) -> tf.data.Dataset:
        """Returns the handles of all images, in the order of their places."""

    def handles_of(self, places: tf.Tensor, facts: np.ndarray) -> tuple[tf.Tensor, ...]:
        """Returns handles, `(n, ...)`, of places, int64 `(n,)`; facts are those of all images."""

    def decode(self, *handle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes one image, uint8 `(height, width, channels)`; with its facts, int64 `(k,)`."""

    def name(self, place: int) -> str:
        """Returns what to call an image before a user."""

    def why(self, place: int) -> str:
        """Returns the reason why an image cannot be decoded."""

    def report(self, reasons: dict[int, str], skip: bool) -> None:
        """Reports which images cannot be decoded, and why, by place.

        Raises:
            UserError: they are not to be skipped, or must not be.
        """


@dataclass(frozen=True)
class Survey:
    """What is known of images once all have been looked at.

    Attributes:
        shape: `(height, width, channels)` of all, where those of one channel repeat it.
        is_image: which can be decoded, bool `(n,)`.
        sums: see `enas_tf.data.disk_images.Reader`; `(n, 2, channels)`.
        facts: see `Encoded`, `(n, k)`.
        reasons: why the others cannot be decoded, by place.
    """

    shape: tuple[int, int, int]
    is_image: np.ndarray
    sums: np.ndarray
    facts: np.ndarray
    reasons: dict[int, str]


class EncodedReader:
    """The `enas_tf.data.disk_images.Reader` of images that are decoded whenever they are read.

    Args:
        encoded: the images; their places are the rows.
        survey: what is known of them.
        image_size: to which they are resized; 0 leaves them as they are.
    """

    def __init__(self, encoded: Encoded, survey: Survey, image_size: int) -> None:
        self.shape, self.sums = survey.shape, survey.sums
        self._encoded, self._facts, self._image_size = encoded, survey.facts, image_size
        rows = tf.TensorSpec((None,), tf.int64)
        self.read = tf.function(self._read, input_signature=[rows], autograph=False)

    def _read(self, rows: tf.Tensor) -> tf.Tensor:
        handles = self._encoded.handles_of(rows, self._facts)
        images, is_read = each(self._decode, handles, tf.TensorSpec(self.shape, tf.uint8))

        def refuse() -> tf.Tensor:
            return tf.numpy_function(self._refuse, [rows, is_read], tf.bool)

        # Not an assertion, since only Python knows the files' names.
        checked = tf.cond(tf.reduce_all(is_read), lambda: tf.constant(True), refuse)
        with tf.control_dependencies([checked]):
            return tf.identity(images)

    def _decode(self, *handle: tf.Tensor) -> tf.Tensor:
        image, _ = self._encoded.decode(*handle)
        image = tf.ensure_shape(resize(image, self._image_size), (*self.shape[:2], None))
        return tf.ensure_shape(tf.broadcast_to(image, self.shape), self.shape)

    def _refuse(self, rows: np.ndarray, is_read: np.ndarray) -> bool:
        place = int(rows[~is_read][0])
        raise UserError(
            f"{self._encoded.name(place)} can no longer be read ({self._encoded.why(place)}), but "
            "could when all images were looked through; put it back as it was, and give the same "
            "command again"
        )


def first_image(encoded: Encoded, image_size: int, skip: bool) -> tuple[int, tuple[int, int, int]]:
    """Returns the place and the shape of the first image that can be decoded.

    Args:
        encoded: the images.
        image_size: to which they are resized; 0 leaves them as they are.
        skip: as of `Encoded.report`.

    Raises:
        UserError: there is none.
    """
    reasons = {}
    try:
        for place, handle in enumerate(encoded.handles()):
            try:
                return place, tuple(resize(encoded.decode(*handle)[0], image_size).shape)
            except tf.errors.OpError as error:
                reasons[place] = one_line(error)
    except tf.errors.OpError as error:
        reasons[len(reasons)] = one_line(error)
    if reasons:
        encoded.report(reasons, skip)
    raise UserError("none of the image files can be read")


def look_through(
    encoded: Encoded,
    image_size: int,
    first: tuple[int, tuple[int, int, int]],
    store: "Store | None" = None,
    skip: bool = False,
) -> Survey:
    """Decodes all images once; shows progress on standard error where it takes long.

    Args:
        encoded: the images.
        image_size: to which they are resized; 0 leaves them as they are.
        first: as `first_image` returns it.
        store: takes their pixels; None leaves them on disk.
        skip: whether the store goes on after an image that cannot be decoded.

    Raises:
        UserError: the images differ in size, the store cannot be written, or their files are
            damaged. Single images that cannot be decoded are left to the caller.
    """
    first_place, shape = first
    parts, reasons, widest = [], {}, 0
    for place, part in _shown(_parts(encoded, image_size, shape[:2], store is not None), encoded):
        bad = np.flatnonzero(~part["is_image"])
        reasons |= {int(place + i): encoded.why(int(place + i)) for i in bad}
        shapes = part["shape"][part["is_image"]]
        is_other = part["is_image"] & (part["shape"][:, :2] != shape[:2]).any(axis=1)
        for i in np.flatnonzero(is_other):
            names = encoded.name(first_place), encoded.name(int(place + i))
            _refuse_other_size(*names, shape, part["shape"][i])
        widest = max(widest, shapes[:, 2].max(initial=0))
        # No more is kept once it is clear that the run will end here.
        if store is not None and (skip or not reasons):
            store.extend(part.pop("pixels")[part["is_image"]], widest)
        parts.append({name: part[name] for name in ("is_image", "sums", "facts")})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    count = len(whole["is_image"])
    if count != len(encoded):
        encoded.report({count: f"{count:,} of {len(encoded):,} images are there"}, skip=False)
    whole["sums"] = whole["sums"][..., :widest]
    return Survey((*shape[:2], int(widest)), reasons=reasons, **whole)


class Store(Protocol):
    """The interface of what keeps pixels."""

    def extend(self, images: np.ndarray, channels: int) -> None:
        """Adds images, uint8 `(n, height, width, most_channels)`.

        Args:
            images: those of one channel repeat it.
            channels: that images have had so far.
        """


def _parts(
    encoded: Encoded, image_size: int, size: tuple[int, int], with_pixels: bool
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields what is known of some images at a time, and the place of the first of them."""
    specs = _specs(encoded, size, with_pixels)

    def look_at_some(*handles: tf.Tensor) -> dict[str, tf.Tensor]:
        found, is_image = each(_look(encoded, image_size, specs), handles, specs)
        return found | {"is_image": is_image}

    bytes_each = size[0] * size[1] * encoded.most_channels
    count = max(1, min(_MOST_TOGETHER, _BYTES_TOGETHER // bytes_each))
    # There is nothing for Autograph to convert, and it would take time to read the source.
    look_at_some = tf.autograph.experimental.do_not_convert(look_at_some)
    parts = encoded.handles().batch(count).map(look_at_some, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Optimizing takes longer than looking at a few images.
    options.experimental_optimization.apply_default_optimizations = False
    place = 0
    try:
        for part in parts.prefetch(1).with_options(options).as_numpy_iterator():
            yield place, part
            place += len(part["is_image"])
    except tf.errors.OpError as error:
        encoded.report({place: one_line(error)}, skip=False)
        raise


def _specs(encoded: Encoded, size: tuple[int, int], with_pixels: bool) -> dict[str, tf.TensorSpec]:
    """Says what is to be known of an image; its pixels only if they are wanted."""
    widest = encoded.most_channels
    specs = {
        "shape": tf.TensorSpec((3,), tf.int32),
        "sums": tf.TensorSpec((2, widest), tf.int64),
        "facts": tf.TensorSpec((encoded.num_facts,), tf.int64),
    }
    return specs | ({"pixels": tf.TensorSpec((*size, widest), tf.uint8)} if with_pixels else {})


def _look(encoded: Encoded, image_size: int, specs: dict[str, tf.TensorSpec]) -> Callable:
    """Returns a function from a handle to what the specs want to know of its image."""
    widest = encoded.most_channels

    def look(*handle: tf.Tensor) -> dict[str, tf.Tensor]:
        image, facts = encoded.decode(*handle)
        image = tf.cast(resize(image, image_size), tf.uint8)
        shape = tf.shape(image)
        image = tf.broadcast_to(image, (shape[0], shape[1], widest))
        values = tf.cast(tf.reshape(image, (-1, widest)), tf.int64)
        sums = tf.stack([tf.reduce_sum(values, 0), tf.reduce_sum(values * values, 0)])
        found = {"shape": shape, "sums": sums, "facts": facts}
        if "pixels" in specs:
            wanted = specs["pixels"].shape
            fits = tf.reduce_all(shape[:2] == wanted[:2])
            found["pixels"] = tf.cond(fits, lambda: image, lambda: tf.zeros(wanted, tf.uint8))
        return {name: tf.ensure_shape(found[name], spec.shape) for name, spec in specs.items()}

    return look


def _shown(parts: Iterator[tuple[int, dict]], encoded: Encoded) -> Iterator[tuple[int, dict]]:
    """Shows on standard error how far the parts are, and how long the others will take."""
    live = sys.stderr.isatty()
    interval = _LIVE_INTERVAL if live else _PLAIN_INTERVAL
    begin = last = time.monotonic()
    shown = False
    for place, part in parts:
        yield place, part
        done, now = place + len(part["is_image"]), time.monotonic()
        if now - last < interval:
            continue
        speed = done / (now - begin)
        line = (
            f"images: {done:,} of {len(encoded):,} looked through, {speed:,.0f} images/s, "
            f"{format_duration((len(encoded) - done) / speed)} left"
        )
        print(f"\r{line:<78}" if live else line, end="" if live else "\n", file=sys.stderr)
        sys.stderr.flush()
        last, shown = now, True
    if live and shown:
        print(file=sys.stderr)


def _refuse_other_size(
    first: str, other: str, shape: Sequence[int], other_shape: Sequence[int]
) -> None:
    (height, width), (other_height, other_width) = shape[:2], other_shape[:2]
    raise UserError(
        f"images differ in size: {first} is {width} x {height}, {other} is {other_width} x "
        f"{other_height} pixels; pass --data.image_size=N to resize all to N x N"
    )
