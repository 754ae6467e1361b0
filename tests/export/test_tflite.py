import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.data.base import ImageData, Split
from enas_tf.export.images import deployable, export_images
from enas_tf.export.tflite import FLOAT, INT8, accuracy
from enas_tf.layers.dropout import Dropout, StepRng
from enas_tf.layers.norm import BatchNorm

NAMES = ("cat", "dog", "Übergröße")


def image_data():
    generator = np.random.default_rng(0)

    def split(count):
        images = generator.integers(0, 256, (count, 6, 5, 3)).astype(np.uint8)
        return Split(images, generator.integers(0, 3, count).astype(np.int32))

    return ImageData("some", {n: split(70) for n in ("train", "valid", "test")}, NAMES, flip=False)


def build():
    """A network of the layers that final networks have, whose averages are no identities."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5, 3))
    x = keras.layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(image)
    x = keras.layers.ReLU()(BatchNorm()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.MaxPooling2D(3, 1, "same")(x))
    logits = keras.layers.Dense(3)(Dropout(0.5, StepRng(1, 0))(x))
    network = keras.Model(image, [logits])
    for variable in network.variables:
        if "moving" in variable.path:
            variable.assign(variable + 0.3)
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    data, network = image_data(), build()
    folder = tmp_path_factory.mktemp("model")
    formats = ("saved_model", "tflite")
    return data, network, export_images(network, data, folder, "0 0", {}, formats)


def run(file, images):
    interpreter = tf.lite.Interpreter(model_path=str(file))
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert (source["dtype"], target["dtype"]) == (np.uint8, np.float32)
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def test_both_files_compute_what_the_network_does(exported):
    data, network, version = exported
    images = data.splits["test"].images
    wanted = deployable(network, data)(images).numpy()
    assert wanted.std(axis=0).min() > 0.01
    np.testing.assert_allclose(run(version / "tflite" / FLOAT, images), wanted, atol=1e-5)
    found = run(version / "tflite" / INT8, images)
    np.testing.assert_allclose(found, wanted, atol=0.03)
    assert np.unique(found).size < 257
    sizes = [(version / "tflite" / name).stat().st_size for name in (FLOAT, INT8)]
    assert min(sizes) > 1000


def test_tells_what_they_reach(exported):
    data, network, version = exported
    test = data.splits["test"]
    found = json.loads((version / "tflite/tflite.json").read_text())
    predicted = deployable(network, data)(test.images).numpy().argmax(axis=1)
    assert found[FLOAT]["accuracy"] == pytest.approx(np.mean(predicted == test.labels))
    for name, one in found.items():
        content = (version / "tflite" / name).read_bytes()
        quantised = run(version / "tflite" / name, test.images).argmax(axis=1)
        right = np.mean(quantised == test.labels)
        assert one == {"bytes": len(content), "accuracy": pytest.approx(right), "images": 70}
        assert accuracy(content, Split(test.images, quantised)) == 1
    labels = (version / "tflite/labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == list(NAMES)


def test_the_saved_model_is_there_as_always(exported):
    _, _, version = exported
    assert (version / "saved_model.pb").exists() and (version.parent / "model.keras").exists()
