"""Random augmentation of training images: pad and crop, horizontal flip, cutout."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Augment:
    """Augments training images; called as `Augment(...)(images, seed, shard)`.

    Args:
        pad: zeros added on each side, in pixels, before a crop to the old size; 0 means no crop.
        flip: whether to mirror images left to right with probability 1/2.
        cutout: side in pixels of the square that is set to zero; 0 means none.
    """

    pad: int
    flip: bool
    cutout: int

    def __call__(self, images, seed, shard: tuple[int, int] = (0, 1)) -> tf.Tensor:
        """Pads, crops, flips and cuts out, with different random numbers for each image.

        The order is the authors': padding with zeros (the mean, since images are normalised), a
        random crop, a flip with probability 1/2, then cutout. The upper left corner of the cutout
        square is uniform over the image, and what lies outside is clipped, so that the square may
        be incomplete. (DeVries and Taylor, arXiv 1708.04552, draw its centre instead.)

        Args:
            images: normalised images, float32 `(batch, height, width, channels)`.
            seed: integers `(2,)`, which determine all random numbers.
            shard: `(index, count)`: `images` are the `index`-th of `count` equal slices of a larger
                batch. Random numbers are drawn for the larger batch, so that the joined results of
                all slices equal the result of the larger batch.

        Returns:
            float32 `(batch, height, width, channels)`.
        """
        index, count = shard
        batch = tf.shape(images)[0]
        draws = tf.random.stateless_uniform((5, count * batch), seed)
        mine = draws[:, index * batch : (index + 1) * batch]
        top, left, flip, cut_top, cut_left = tf.unstack(mine)
        cropped = _crop_and_flip(images, top, left, flip, self)
        return _cut_out(cropped, cut_top, cut_left, self.cutout) if self.cutout else cropped


def _crop_and_flip(images, top, left, flip, config: Augment) -> tf.Tensor:
    """Gathers the rows of the crop, then its columns, in reverse order where it is flipped."""
    pad = config.pad
    rows = _spread(top, 2 * pad + 1)[:, None] + tf.range(images.shape[1])
    columns = tf.range(images.shape[2])[None, :]
    if config.flip:
        columns = tf.where(flip[:, None] < 0.5, columns[:, ::-1], columns)
    columns += _spread(left, 2 * pad + 1)[:, None]
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def _cut_out(images, top, left, side: int) -> tf.Tensor:
    """Sets a square of `side` pixels to zero in each image."""
    in_rows = _in_square(top, images.shape[1], side)
    in_columns = _in_square(left, images.shape[2], side)
    outside = ~(in_rows[:, :, None] & in_columns[:, None, :])
    return images * tf.cast(outside, images.dtype)[..., None]


def _in_square(draw, length: int, side: int) -> tf.Tensor:
    """Returns which positions along one axis the square covers, bool `(batch, length)`."""
    start = _spread(draw, length)[:, None]
    positions = tf.range(length)
    return (positions >= start) & (positions < start + side)


def _spread(draw, count: int) -> tf.Tensor:
    """Turns uniform numbers in [0, 1) into uniform integers in 0..count-1."""
    return tf.cast(draw * count, tf.int32)
