"""Labelled images, and the batches made from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.data.checks import check_splits
from enas_tf.data.pixels import Split, channel_sums, joined
from enas_tf.data.shards import equal_slice


class Augmentation(Protocol):
    """The interface of augmentations, such as `enas_tf.data.augment.Augment`."""

    def __call__(self, images, seed, shard: tuple[int, int]) -> tf.Tensor:
        """Changes the slice `shard` of a batch of normalised images, depending only on `seed`."""


@dataclass(frozen=True)
class DataConfig:
    """How images are read and augmented."""

    flip: bool | None = option(
        None,
        "mirror half of the training images; unset: on, but off for digits, and off is right "
        "wherever left and right differ",
    )
    pad: int = option(4, "zeros added on each side of a training image before a random crop")
    cutout: int = option(16, "side of the cutout square in the final training, in pixels; 0: none")
    image_size: int = option(0, "resize all images to N x N pixels; 0: keep their size")
    in_memory: Literal["auto", "true", "false"] = option(
        "auto",
        "keep all pixels in memory; false: leave images on disk, and decode those of each batch "
        "when it is made; auto: in memory up to 4 GiB",
    )
    cache_dir: str | None = option(
        None,
        "folder, on a fast disk, for the pixels of images that are not kept in memory: decoded and "
        "resized once, into a file that batches and later runs read; unset: no such file",
    )
    skip_unreadable: bool = option(
        False, "of a folder, go on without the image files that cannot be read"
    )

    def __post_init__(self) -> None:
        """Raises UserError for a negative number of pixels."""
        for name in ("pad", "cutout", "image_size"):
            if getattr(self, name) < 0:
                raise UserError(f"data.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image classification data set, in memory or on disk.

    A batch depends only on the arguments (split, seed and step), so that a resumed run gets the
    same batches as an unbroken one; no reading position is kept.

    Args:
        name: the data set's name, as the user gave it.
        splits: `"train"`, `"valid"` and `"test"`; all images have the same shape.
        class_names: one name per class, in the order of the labels.
        flip: whether training images may be mirrored.
    """

    name: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    flip: bool

    def check(self) -> None:
        """Checks arrays that a user has made.

        Raises:
            UserError: a split is missing or empty, or holds images or labels of another form.
        """
        check_splits(self.name, self.splits)
        for name, split in self.splits.items():
            images, labels = split.images, split.labels
            if images.dtype != np.uint8 or images.ndim != 4:
                raise UserError(
                    f"{self.name}: images of split {name} must be uint8, of shape (count, height, "
                    f"width, channels), got {images.dtype} of shape {images.shape}"
                )
            if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
                raise UserError(
                    f"{self.name}: labels of split {name} must be integers, one for each of "
                    f"{len(images)} images, got {labels.dtype} of shape {labels.shape}"
                )
            if not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise UserError(
                    f"{self.name}: labels of split {name} must be places in class_names, from 0 "
                    f"to {self.num_classes - 1}, got {labels.min()} to {labels.max()}"
                )
            if images.shape[1:] != self.image_shape:
                raise UserError(
                    f"{self.name}: images of split {name} are of {images.shape[1:]}, those of "
                    f"train of {self.image_shape}; all must have one size"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The height, width and channels of an image."""
        return self.splits["train"].images.shape[1:]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean and standard deviation per channel, without a float copy of the images."""
        images = self.splits["train"].images
        mean, square = channel_sums(images) / math.prod(images.shape[:3])
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        # A constant channel is zero without its mean; do not divide it by zero.
        deviation = np.where(deviation > 0, deviation, 255.0)
        return (mean / 255).astype(np.float32), (deviation / 255).astype(np.float32)

    @property
    def mean(self) -> np.ndarray:
        """The channel means of the training split, for values in [0, 1]; float32 `(channels,)`."""
        return self._moments[0]

    @property
    def std(self) -> np.ndarray:
        """The channels' standard deviations in the training split, for values in [0, 1].

        float32 `(channels,)`.
        """
        return self._moments[1]

    def with_validation(self) -> "ImageData":
        """Returns the data with the validation images added to the training split.

        The final training uses all images but the test split. `mean` and `std` are then those of
        the joined split, as in the authors' code, which trains final networks on all 50,000 CIFAR
        images.
        """
        parts = [self.splits["train"], self.splits["valid"]]
        whole = Split(
            joined(*(part.images for part in parts)),
            np.concatenate([part.labels for part in parts]),
        )
        return replace(self, splits={**self.splits, "train": whole})

    def steps_per_epoch(self, split: str, batch_size: int) -> int:
        """Returns how many full batches the split holds; like the authors', it drops the rest.

        Raises:
            UserError: the split holds no full batch.
        """
        count = len(self.splits[split].labels)
        if not 1 <= batch_size <= count:
            raise UserError(
                f"batch size must be between 1 and {count}, the number of images of the {split} "
                f"split of data set {self.name!r}, got {batch_size}; lower --search.batch_size or "
                f"--train.batch_size, or add images"
            )
        return count // batch_size

    def train_batches(
        self,
        split: str,
        batch_size: int,
        *,
        seed: int,
        num_steps: int,
        first_step: int = 0,
        augment: Augmentation | None = None,
        mixup: float = 0.0,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns shuffled full batches for `num_steps` steps from `first_step` on.

        Step s belongs to epoch `s // steps_per_epoch`, and each epoch has its own order.

        Args:
            split: name of the split.
            batch_size: images per step, over all shards.
            seed: seed of the order of the images and of their augmentation.
            num_steps: number of batches.
            first_step: number of steps to skip; nothing is read for them.
            augment: changes the normalised images; None leaves them as they are.
            mixup: mixes each image with one of another order of the split, by shares drawn for each
                step from a beta distribution of this parameter; 0 mixes none.
            shard: `(index, count)`: yield the `index`-th of `count` equal slices of each batch.

        Returns:
            Pairs of normalised images, float32 `(batch_size / count, height, width, channels)`,
            and labels, int32 `(batch_size / count,)`; with mixup the classes' shares, float32
            `(batch_size / count, classes)`.

        Raises:
            UserError: the batch is larger than the split, or not a multiple of the shard count.
        """
        steps = self.steps_per_epoch(split, batch_size)
        take = self.splits[split].taker()
        mine = equal_slice(batch_size, shard)

        def order(epoch):
            orders = [_shuffled(len(self.splits[split].labels), seed, epoch)]
            if mixup:
                orders.append(_shuffled(len(self.splits[split].labels), ~seed, epoch))
            wholes = (tf.reshape(o[: steps * batch_size], (steps, batch_size)) for o in orders)
            return tf.data.Dataset.from_tensor_slices(tuple(whole[:, mine] for whole in wholes))

        def choose(step, places, seed):
            images, labels = take(places)
            images = normalise(images, self.mean, self.std)
            if augment is not None:
                images = augment(images, (seed, step), shard)
            return images, labels

        def batch(step, places):
            chosen = choose(step, places[0], seed)
            if not mixup:
                return chosen
            others = choose(step, places[1], ~seed)
            return _mixed(chosen, others, _beta(mixup, (seed, -1 - step)), self.num_classes)

        epochs = tf.data.Dataset.range(first_step // steps, (first_step + num_steps) // steps + 1)
        places = epochs.flat_map(order).skip(first_step % steps).take(num_steps)
        return _run_ahead(places.enumerate(first_step), batch)

    def reward_batches(
        self, batch_size: int, *, seed: int, num_steps: int, first_step: int = 0
    ) -> tf.data.Dataset:
        """Returns shuffled validation batches without augmentation, to compute rewards on.

        Arguments, results and errors are as in `train_batches`.
        """
        return self.train_batches(
            "valid", batch_size, seed=seed, num_steps=num_steps, first_step=first_step
        )

    def eval_batches(
        self, split: str, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Returns the whole split once, in order and unchanged; the last batch may be smaller.

        With `shard=(index, count)`, only the `index`-th of `count` slices of each batch. Sizes of
        slices differ by at most one image, and none is empty: batches have at least `count` images,
        and if fewer are left at the end, they become part of the batch before.

        Returns:
            Pairs of normalised images, float32 `(batch, height, width, channels)`, and labels,
            int32 `(batch,)`.

        Raises:
            UserError: the split has fewer images than there are shards.
        """
        index, count = shard
        take = self.splits[split].taker()
        bounds = self._eval_bounds(split, max(batch_size, count), count)
        starts, sizes = bounds[:-1], np.diff(bounds)
        first = starts + index * sizes // count
        end = starts + (index + 1) * sizes // count

        def batch(first, end):
            images, labels = take(tf.range(first, end))
            return normalise(images, self.mean, self.std), labels

        return _run_ahead(tf.data.Dataset.from_tensor_slices((first, end)), batch)

    def _eval_bounds(self, split: str, batch_size: int, count: int) -> np.ndarray:
        """Returns where batches for `count` replicas begin, and where the last one ends."""
        total = len(self.splits[split].labels)
        if total < count:
            raise UserError(
                f"the {split} split of data set {self.name!r} must have an image for each of the "
                f"{count} replicas that share a batch, got {total}; give --strategy=one, or add "
                f"images"
            )
        starts = np.arange(0, total, batch_size)
        # Convolutions on CPUs fail on a batch without images.
        if total - starts[-1] < count:
            starts = starts[:-1]
        return np.append(starts, total)


def resize(images, size: int) -> tf.Tensor:
    """Resizes images to `size` x `size` pixels, bilinearly with antialiasing.

    Does not keep the aspect ratio.

    Args:
        images: uint8 `(height, width, channels)` or `(batch, height, width, channels)`.
        size: side in pixels; 0 leaves the images as they are.

    Returns:
        uint8 images with the same rank.
    """
    if not size:
        return tf.convert_to_tensor(images)
    resized = tf.image.resize(images, (size, size), antialias=True)
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def normalise(images: tf.Tensor, mean: np.ndarray, std: np.ndarray) -> tf.Tensor:
    """Converts bytes to numbers with mean 0 and standard deviation 1.

    Args:
        images: uint8 `(batch, height, width, channels)`; only the batch size may be unknown.
        mean: float32 `(channels,)`, for values in [0, 1].
        std: float32 `(channels,)`, for values in [0, 1].

    Returns:
        float32 `(batch, height, width, channels)`.
    """
    _, height, width, channels = images.shape
    # Whole rows at a time: TensorFlow is four times slower at broadcasting over a few channels.
    scale = np.tile(1 / (255 * std), width)
    shift = np.tile(mean / std, width)
    rows = tf.cast(tf.reshape(images, (-1, width * channels)), tf.float32)
    return tf.reshape(rows * scale - shift, (-1, height, width, channels))


def _mixed(batch: tuple, other: tuple, share: tf.Tensor, num_classes: int) -> tuple:
    """Returns the mix of two batches, the first of which has a share; with the classes' shares."""
    images, labels = zip(batch, other, strict=True)
    first, second = (tf.one_hot(one, num_classes) for one in labels)
    mix = share * images[0] + (1 - share) * images[1]
    return mix, share * first + (1 - share) * second


def _beta(parameter: float, seed) -> tf.Tensor:
    """Draws a number of the beta distribution with twice the same parameter, `()`, float32."""
    one, other = (
        tf.random.stateless_gamma((), (seed[0], tf.cast(seed[1], tf.int64) * 2 + part), parameter)
        for part in (0, 1)
    )
    # Gammas of small parameters may both be rounded to zero.
    return tf.where(one + other > 0, one / (one + other), 0.5)


def _shuffled(count: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Draws the order of an epoch's images: a permutation of 0..count-1."""
    # Augmentation uses the seeds (seed, step), so that negative numbers are free for the order.
    keys = tf.random.stateless_uniform((count,), (seed, -1 - epoch), None, None, tf.int32)
    return tf.argsort(keys)


def _run_ahead(places: tf.data.Dataset, batch) -> tf.data.Dataset:
    """Makes batches in parallel and in advance, in the order of `places`."""
    # There is nothing for Autograph to convert, and it would take time to read the source.
    batch = tf.autograph.experimental.do_not_convert(batch)
    batches = places.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Optimizing the pipeline would copy all the images that the batches are taken from.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
