"""The export of image classifiers."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from enas_tf.data.base import ImageData
from enas_tf.data.decoding import decode_to_channels, each
from enas_tf.export.base import extra_texts, write_version
from enas_tf.export.checks import checked, of_shape
from enas_tf.export.exporters import ExportedModel, Signatures, exporters_of
from enas_tf.export.serving_files import Requests
from enas_tf.layers.dropout import Dropout, DropPath
from enas_tf.layers.norm import BatchNorm

# Of image files that TensorFlow decodes: grey, coloured, coloured and transparent.
_CHANNELS_OF_FILES = (1, 3, 4)


def deployable(network: keras.Model, data: ImageData) -> keras.Model:
    """Builds a self-contained model, from bytes to probabilities, of Keras' own layers.

    It includes the normalisation, and leaves out auxiliary head, dropout and drop path.

    Args:
        network: the trained network, whose first output is the logits.
        data: the data that it was trained on.

    Returns:
        A model that maps `image`, uint8 `(batch, height, width, channels)`, to probabilities,
        float32 `(batch, classes)`.
    """
    trained = keras.Model(network.inputs, network.outputs[0])
    plain = keras.models.clone_model(trained, clone_function=_plain_layer)
    for layer in plain.layers:
        layer.set_weights(trained.get_layer(layer.name).get_weights() if layer.weights else [])
    image = keras.Input(data.image_shape, dtype="uint8", name="image")
    normalise = keras.layers.Normalization(
        mean=255 * data.mean, variance=np.square(255 * data.std), name="normalise", dtype="float32"
    )
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(image, probabilities(plain(normalise(image))), name=network.name)


def _plain_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the layer of Keras that computes the same as ours outside training."""
    # The policy's name, since Keras cannot save an Identity layer that has a policy object.
    policy = layer.dtype_policy.name
    if isinstance(layer, BatchNorm):
        return keras.layers.BatchNormalization(
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            name=layer.name,
            dtype=policy,
        )
    if isinstance(layer, Dropout | DropPath):
        return keras.layers.Identity(name=layer.name, dtype=policy)
    return layer.__class__.from_config(layer.get_config())


def export_images(
    network: keras.Model,
    data: ImageData,
    folder: Path,
    arc: str,
    card: dict,
    formats: Sequence[str] = ("saved_model",),
) -> Path:
    """Writes the next version of an image classifier; see `enas_tf.export.base.write_version`.

    Args:
        network: the trained network.
        data: the data that it was trained on.
        folder: the model's folder; its versions are folders named by integers.
        arc: the architecture's text.
        card: the content of `assets.extra/model.json`.
        formats: keys of `enas_tf.export.exporters.FORMATS`.

    Returns:
        The version's folder.

    Raises:
        UserError: if the folder cannot be written.
    """
    model = deployable(network, data)
    extra = extra_texts(arc, card, {"labels.txt": data.class_names})
    signatures = _signatures(model, data.class_names)
    exported = ExportedModel(folder, model, signatures, extra, _warmup(data), images=data)
    return write_version(exported, exporters_of(formats))


def predict(version: Path, images: np.ndarray) -> list[tuple[str, float]]:
    """Returns the label and its probability for each image, computed by an export alone.

    Args:
        version: the version's folder.
        images: uint8, `(batch, height, width, channels)`.
    """
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    outputs = signature(image=tf.constant(images))
    labels = [label.decode() for label in outputs["label"].numpy()]
    return list(zip(labels, outputs["probabilities"].numpy().max(axis=-1), strict=True))


def _warmup(data: ImageData) -> Requests:
    """Returns a request for each signature, with one test image in the form that it takes."""
    images = data.splits["test"].images[:1]
    if data.image_shape[-1] not in _CHANNELS_OF_FILES:
        return {"serving_default": {"image": images}}
    encoded = tf.io.encode_png(images[0]).numpy()
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(encoded)
    return {
        "serving_default": {"image": images},
        "serve_bytes": {"image_bytes": [encoded]},
        "serve_bytes_each": {"image_bytes": [encoded]},
        "classify": {"inputs": [example.SerializeToString()]},
    }


def _signatures(model: keras.Model, class_names: Sequence[str]) -> Signatures:
    """Returns the signatures; those that decode files only if files have so many channels."""
    height, width, channels = image_shape = model.input_shape[1:]
    labels = tf.constant(list(class_names))
    images = tf.TensorSpec((None, height, width, channels), tf.uint8, name="image")
    image_spec = tf.TensorSpec(image_shape, tf.uint8)

    # One graph, which all signatures share: a trace takes seconds.
    @tf.function(input_signature=[images])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        image = of_shape(image, (None, *image_shape), "image")
        probabilities = model(image, training=False)
        class_id = tf.argmax(probabilities, axis=-1)
        label = tf.gather(labels, class_id)
        return {"probabilities": probabilities, "class_id": class_id, "label": label}

    pixels_only = {"serving_default": serve.get_concrete_function()}
    if channels not in _CHANNELS_OF_FILES:
        return pixels_only

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        image = decode_to_channels(encoded, channels)
        image = tf.image.resize(image, (height, width), antialias=True)
        return tf.saturate_cast(tf.round(image), tf.uint8)

    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return serve(tf.map_fn(decode, image_bytes, fn_output_signature=image_spec))

    def serve_bytes_each(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, is_image = each(decode, (image_bytes,), image_spec)
        found = serve(images)
        return {
            "probabilities": tf.where(is_image[:, tf.newaxis], found["probabilities"], 0.0),
            "class_id": tf.where(is_image, found["class_id"], tf.constant(-1, tf.int64)),
            "label": tf.where(is_image, found["label"], ""),
            "error": tf.where(is_image, "", "this is no image that can be decoded"),
        }

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {"image/encoded": tf.io.FixedLenFeature((), tf.string, default_value="")}
        encoded = tf.io.parse_example(inputs, features)["image/encoded"]
        is_there = tf.reduce_all(tf.strings.length(encoded) > 0)
        encoded = checked(encoded, is_there, "each Example must have a file in image/encoded")
        scores = serve_bytes(encoded)["probabilities"]
        classes = tf.repeat(labels[tf.newaxis], tf.shape(scores)[0], axis=0)
        return {"classes": classes, "scores": scores}

    strings = tf.TensorSpec((None,), tf.string)
    return pixels_only | {
        "serve_bytes": tf.function(serve_bytes).get_concrete_function(
            _named(strings, "image_bytes")
        ),
        "serve_bytes_each": tf.function(serve_bytes_each).get_concrete_function(
            _named(strings, "image_bytes")
        ),
        "classify": tf.function(classify).get_concrete_function(_named(strings, "inputs")),
    }


def _named(spec: tf.TensorSpec, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(spec.shape, spec.dtype, name)
