"""Decodes image files within pipelines and graphs."""

import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from enas_tf.data.image_files import orientation

# Files without these words have nothing that could turn them: EXIF data begin with the first, and
# Pillow reads the second from XMP data too.
_MAY_BE_TURNED = r"(?s)\C*((?i:exif)|tiff:Orientation)\C*"

# The first bytes of files.
_PNG, _JPEG = b"\x89PN", b"\xff\xd8\xff"


def each(function: Callable, arguments: tuple, specs) -> tuple:
    """Calls a function for each row of a batch; it may fail for some of the rows.

    Args:
        function: from a row of each argument to a structure of tensors of fixed shapes.
        arguments: tensors `(n, ...)`.
        specs: the structure of `tf.TensorSpec` that it returns.

    Returns:
        The structure of results, `(n, ...)`, zeros where there is none; and where there is one,
        bool `(n,)`.
    """
    count = tf.shape(arguments[0])[0]
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count), arguments))

    def call(row: tf.Tensor, arguments: tuple) -> tuple:
        return row, function(*arguments)

    # There is nothing for Autograph to convert, and it would take time to read the source.
    call = tf.autograph.experimental.do_not_convert(call)
    results = rows.map(call, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    # One more, so that there is a batch even where none succeeds.
    nothing = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
    last = tf.data.Dataset.from_tensors((count, nothing))
    batch = results.concatenate(last).batch(tf.cast(count, tf.int64) + 1).get_single_element()
    found, values = tf.nest.map_structure(lambda some: some[:-1], batch)

    def spread(some: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([[count], tf.shape(some)[1:]], 0)
        return tf.ensure_shape(
            tf.scatter_nd(found[:, tf.newaxis], some, shape), (None, *some.shape[1:])
        )

    return tf.nest.map_structure(spread, values), spread(tf.ones_like(found, tf.bool))


def decode_upright(content: tf.Tensor, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image file as a server of the trained network does, and turns it upright.

    Args:
        content: of the file, string `()`.
        turn: its EXIF orientation, from 1 to 8, int64 `()`; 0 has it looked up.

    Returns:
        The image, uint8 `(height, width, channels)`, of 1 or 3 channels, without transparency; and
        its orientation.
    """
    image = _decoded(content)
    turn = tf.cond(turn > 0, lambda: turn, lambda: _orientation(content))
    return tf.cond(turn > 1, lambda: _turned(image, turn), lambda: image), turn


def decode_to_channels(content: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes an image file for a network of grey or of coloured images.

    Files that have these channels give the pixels that `decode_upright` gives.

    Args:
        content: of the file, string `()`.
        channels: of the network's images. Only PNG and JPEG files can have others than 1 or 3.

    Returns:
        uint8 `(height, width, channels)`, without transparency.
    """

    def converted() -> tf.Tensor:
        # TensorFlow refuses to decode the other kinds to channels that they do not have.
        image = _decoded(content)
        if channels == 1:
            colours = tf.broadcast_to(image, [*tf.unstack(tf.shape(image)[:2]), 3])
            return tf.image.rgb_to_grayscale(colours)
        return tf.broadcast_to(image, [*tf.unstack(tf.shape(image)[:2]), channels])

    kind = tf.strings.substr(content, 0, 3)
    image = tf.cond(
        (kind == _PNG) | (kind == _JPEG),
        lambda: tf.io.decode_image(content, channels, expand_animations=False),
        converted,
    )
    return tf.ensure_shape(image, (None, None, channels))


def _decoded(content: tf.Tensor) -> tf.Tensor:
    """Decodes an image file to its own channels, 1 or 3, without transparency."""
    image = tf.io.decode_image(content, expand_animations=False)
    image.set_shape((None, None, None))
    return image[..., : tf.where(tf.shape(image)[-1] < 3, 1, 3)]


def _orientation(content: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a file, int64 `()`."""

    def look(content: bytes | np.ndarray) -> np.int64:
        # Outside graphs it is an array of one.
        return np.int64(orientation(io.BytesIO(np.asarray(content, object).item())))

    # Python takes longer to look than TensorFlow to decode a small file.
    return tf.cond(
        tf.strings.regex_full_match(content, _MAY_BE_TURNED),
        lambda: tf.ensure_shape(tf.numpy_function(look, [content], tf.int64, stateful=False), ()),
        lambda: tf.constant(1, tf.int64),
    )


def _turned(image: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """Turns an image by its EXIF orientation."""
    kind = (turn - 1) % 4
    flipped = tf.boolean_mask([0, 1], tf.stack([kind >= 2, (kind == 1) | (kind == 2)]))
    return tf.reverse(tf.transpose(image, tf.where(turn > 4, [1, 0, 2], [0, 1, 2])), flipped)
