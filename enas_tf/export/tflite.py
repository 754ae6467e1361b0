"""The export for small devices: TensorFlow Lite files, in floats and in 8-bit integers."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from enas_tf.data.base import ImageData, Split

FLOAT, INT8 = "model.tflite", "model_int8.tflite"
"""The names of the files."""

_CALIBRATION_IMAGES = 200
_TESTED_IMAGES = 1000
_BATCH = 50


def convert(model: keras.Model, data: ImageData) -> dict[str, bytes]:
    """Converts an image classifier to TensorFlow Lite.

    Args:
        model: from `image`, uint8, to probabilities; `enas_tf.export.images.deployable` makes it.
        data: whose validation images give the ranges of the 8-bit integers.

    Returns:
        The files' contents by their names. Both map `image`, uint8
        `(batch, height, width, channels)`, to probabilities, float32 `(batch, classes)`; the batch
        is 1 until the input is resized.
    """
    with _silent():
        plain = tf.lite.TFLiteConverter.from_keras_model(model)
        quantised = tf.lite.TFLiteConverter.from_keras_model(_with_float_input(model))
        quantised.optimizations = [tf.lite.Optimize.DEFAULT]
        quantised.representative_dataset = lambda: _calibration(data)
        quantised.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        quantised.inference_input_type = tf.uint8
        return {FLOAT: plain.convert(), INT8: quantised.convert()}


def accuracy(content: bytes, split: Split) -> float:
    """Returns the share of images that a TensorFlow Lite file classifies right, by its interpreter.

    Args:
        content: of the file.
        split: images and labels; the first thousand count.
    """
    with _silent():
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=os.cpu_count())
        source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        images, labels = split.images[:_TESTED_IMAGES], split.labels[:_TESTED_IMAGES]
        right = 0
        for first in range(0, len(images), _BATCH):
            batch = images[first : first + _BATCH]
            interpreter.resize_tensor_input(source["index"], batch.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(source["index"], batch)
            interpreter.invoke()
            found = interpreter.get_tensor(target["index"]).argmax(axis=-1)
            right += int(np.sum(found == labels[first : first + _BATCH]))
    return right / len(images)


def report(files: dict[str, bytes], data: ImageData) -> dict[str, dict[str, float]]:
    """Tells and returns the size in bytes and the test accuracy of each file."""
    test = data.splits["test"]
    count = min(len(test), _TESTED_IMAGES)
    found = {
        name: {"bytes": len(content), "accuracy": accuracy(content, test), "images": count}
        for name, content in files.items()
    }
    for name, one in found.items():
        print(
            f"tflite: {name} has {one['bytes'] / 1024:,.0f} KiB and classifies "
            f"{one['accuracy']:.2%} of {count} test images right"
        )
    return found


def _with_float_input(model: keras.Model) -> keras.Model:
    """Returns the model with a float input, of which the converter makes one of 8-bit integers."""
    image = keras.Input(model.input_shape[1:], dtype="float32", name="image")
    x = image
    for layer in model.layers[1:]:
        x = layer(x)
    return keras.Model(image, x)


def _calibration(data: ImageData) -> Iterator[list[np.ndarray]]:
    """Yields validation images one by one, evenly chosen."""
    images = data.splits["valid"].images
    for place in np.linspace(0, len(images) - 1, min(len(images), _CALIBRATION_IMAGES), dtype=int):
        yield [images[place : place + 1].astype(np.float32)]


@contextmanager
def _silent() -> Iterator[None]:
    """Hides what the converter and the interpreter say, some of it from C++; errors still raise."""
    kept = os.dup(2)
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
