import io
import json
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from enas_tf.core.network_config import CellChildConfig
from enas_tf.data.base import ImageData, Split
from enas_tf.data.decoding import decode_upright
from enas_tf.export.images import export_images, predict
from enas_tf.layers.dropout import StepRng
from enas_tf.macro import network as macro
from enas_tf.macro.space import MacroSpace
from enas_tf.micro import network as micro
from enas_tf.micro.space import MicroSpace

# Every op, on both inputs of the reduction cell too.
ARC = "0 0 1 1 0 2 1 3 2 4 0 0, 0 0 1 1 0 2 1 3 0 4 1 4"
CONFIG = CellChildConfig(num_layers=3, out_filters=4, keep_prob=0.5, drop_path_keep_prob=0.5)
MACRO_ARC = "0  1 1  2 0 1  3 1 0 1  4 0 1 0 1  5 1 1 0 0 1"
MACRO_CONFIG = macro.MacroChildConfig(out_filters=4, keep_prob=0.5, aux_head=True)
CARD = {"accuracy": 0.5}
NAMES = ("cat", "dog", "Übergröße")

# Runs an export where the project cannot be imported: by TensorFlow's C++ runtime, and by Keras.
FRESH = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

sys.modules["enas_tf"] = None
version, inputs, outputs = sys.argv[1:]
calls = np.load(inputs, allow_pickle=True)
results = {}
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], version)
    signatures = {}
    for name, signature in graph.signature_def.items():
        if name.startswith("__"):
            continue
        [fed] = signature.inputs.values()
        options = config_pb2.CallableOptions(
            feed=[fed.name], fetch=[tensor.name for tensor in signature.outputs.values()]
        )
        # Like a server, and unlike `session.run`, this checks no shapes.
        signatures[name] = session._make_callable_from_options(options), [*signature.outputs]
    for call in calls:
        run, names = signatures[call.split("/")[0]]
        try:
            shown = dict(zip(names, run(calls[call])))
        except tf.errors.OpError as error:
            shown = {"error": np.array(type(error).__name__), "message": np.array(error.message)}
        results |= {f"{call}/{name}": value for name, value in shown.items()}

import keras
model = keras.saving.load_model(version + "/../model.keras")
results["keras"] = model.predict(calls["serving_default/7"], verbose=0)
np.savez(outputs, **results)
"""


def image_data(channels):
    generator = np.random.default_rng(channels)

    def split(count):
        shape = (count, 7, 6, channels)
        labels = np.arange(count, dtype=np.int32) % 3
        return Split(generator.integers(0, 256, shape).astype(np.uint8), labels)

    splits = {"train": split(30), "valid": split(9), "test": split(70)}
    return ImageData("some", splits, NAMES, flip=False)


def build(data):
    """A network, a macro one for grey images; its weights and moving averages all differ."""
    keras.utils.set_random_seed(4)
    if data.image_shape[-1] == 1:
        build, arc, config = macro.build, MacroSpace.of(MACRO_ARC)[1], MACRO_CONFIG
    else:
        build, arc, config = micro.build, MicroSpace.of(ARC)[1], CONFIG
    network = build(arc, config, data.image_shape, 3, StepRng(10, 0))
    generator = np.random.default_rng(5)
    for variable in network.variables:
        positive = "variance" in variable.path or "scale" in variable.path
        noise = generator.normal(0, 0.1, variable.shape)
        variable.assign(variable + np.abs(noise) if positive else variable + noise)
    # Logits of a few, so that no probability is all but 1.
    kernel = network.get_layer("classifier").kernel
    kernel.assign(kernel / (8 if data.image_shape[-1] == 1 else 1))
    return network


def encoded(image, kind, mode=None, **options):
    file = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.convert(mode or picture.mode).save(file, kind, **options)
    return file.getvalue()


def example_of(file):
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(file)
    return example.SerializeToString()


def kinds_of_files(colour, image):
    """Files of all kinds, grey, coloured and transparent; of a grey image, its colours are grey."""
    clear = np.concatenate([colour, colour[..., :1] // 2], axis=-1)
    files = [encoded(colour, "WEBP", lossless=True), encoded(clear, "WEBP", lossless=True)]
    files += [encoded(x, kind) for x in (colour, clear) for kind in ("PNG", "BMP")]
    files += [encoded(colour[..., :1], kind) for kind in ("PNG", "BMP", "GIF")]
    grey = Image.fromarray(colour[..., 0])
    with_alpha, two_frames = io.BytesIO(), io.BytesIO()
    Image.merge("LA", [grey, grey.rotate(180)]).save(with_alpha, "PNG")
    grey.save(two_frames, "GIF", save_all=True, append_images=[grey.rotate(180)])
    return [*files, with_alpha.getvalue(), two_frames.getvalue()]


class Exported:
    """A network, its export, and what a fresh process got from it.

    Args:
        folder: of the model.
        channels: of its images.
    """

    def __init__(self, folder, channels):
        self.data = image_data(channels)
        self.network = build(self.data)
        self.folder = folder / "model"
        self.version = export_images(self.network, self.data, self.folder, ARC, CARD)
        self.images = self.data.splits["test"].images
        self.results = self._call_in_a_fresh_process(folder)

    def probabilities(self, images):
        normalised = (images / 255 - self.data.mean) / self.data.std
        logits = self.network(tf.constant(normalised, tf.float32), training=False)[0].numpy()
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def _call_in_a_fresh_process(self, folder):
        (folder / "elsewhere").mkdir()
        np.savez(folder / "inputs.npz", **self._calls())
        arguments = [self.version, folder / "inputs.npz", folder / "outputs.npz"]
        command = [sys.executable, "-c", FRESH, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder / "elsewhere", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return dict(np.load(folder / "outputs.npz", allow_pickle=True))

    def _calls(self):
        first = self.images[0]
        colour = np.repeat(first, 3, axis=-1) if first.shape[-1] == 1 else first
        large = np.kron(first, np.ones((2, 2, 1), np.uint8))
        png = encoded(first, "PNG")
        strings = {
            "png": [png, encoded(self.images[1], "PNG")],
            "jpeg": [encoded(colour, "JPEG"), encoded(first, "JPEG", "L")],
            "grey": [encoded(first, "PNG", "L")],
            "colour": [encoded(colour, "PNG")],
            "large": [encoded(large, "PNG")],
            "kinds": kinds_of_files(colour, first),
            "broken": [png[:40]],
            "text": [b"no image"],
        }
        calls = {f"serve_bytes/{name}": value for name, value in strings.items()}
        calls["classify/one"] = [example_of(png)]
        calls["classify/kinds"] = [example_of(file) for file in strings["kinds"]]
        calls["serve_bytes_each/kinds"] = strings["kinds"]
        calls["classify/empty"] = [tf.train.Example().SerializeToString()]
        each = [png, b"no image", encoded(self.images[1], "PNG"), png[:40]]
        calls |= {"serve_bytes_each/some": each, "serve_bytes_each/none": [b""]}
        calls = {name: np.array(value, object) for name, value in calls.items()}
        images = {f"serving_default/{n}": self.images[:n] for n in (1, 7, 64)}
        images["serving_default/small"] = self.images[:2, :1, :2]
        images["serving_default/flat"] = self.images[:2, ..., 0]
        return calls | images


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def exported(request, tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("exported"), request.param)


@pytest.mark.parametrize("count", [1, 7, 64])
def test_serves_the_networks_own_probabilities(exported, count):
    wanted = exported.probabilities(exported.images[:count])
    call = f"serving_default/{count}"
    shown = exported.results[f"{call}/probabilities"]
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, wanted, atol=1e-5)
    # Else the weights do not matter, and neither does the test.
    assert wanted.std(axis=0).max() > 0.01 or count == 1
    ids = exported.results[f"{call}/class_id"]
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, wanted.argmax(axis=1))
    labels = [label.decode() for label in exported.results[f"{call}/label"]]
    assert labels == [NAMES[i] for i in wanted.argmax(axis=1)]


def test_keras_loads_the_model_without_the_project(exported):
    wanted = exported.probabilities(exported.images[:7])
    np.testing.assert_allclose(exported.results["keras"], wanted, atol=1e-5)


def test_serves_png_files(exported):
    wanted = exported.probabilities(exported.images[:2])
    shown = exported.results["serve_bytes/png/probabilities"]
    np.testing.assert_allclose(shown, wanted, atol=1e-5)
    names = {n.split("/")[2] for n in exported.results if n.startswith("serve_bytes/png/")}
    assert names == {"probabilities", "class_id", "label"}


def test_serves_jpeg_files_grey_and_coloured(exported):
    channels = exported.data.image_shape[-1]
    first = exported.images[0]
    colour = np.repeat(first, 3, axis=-1) if channels == 1 else first
    files = [encoded(colour, "JPEG"), encoded(first, "JPEG", "L")]
    images = np.stack([tf.io.decode_jpeg(file, channels).numpy() for file in files])
    shown = exported.results["serve_bytes/jpeg/probabilities"]
    np.testing.assert_allclose(shown, exported.probabilities(images), atol=1e-4)


def test_grey_and_coloured_files_fit_either_network(exported):
    first = exported.images[:1]
    same = ["grey", "colour"] if exported.data.image_shape[-1] == 1 else ["colour"]
    for name in same:
        shown = exported.results[f"serve_bytes/{name}/probabilities"]
        np.testing.assert_allclose(shown, exported.probabilities(first), atol=1e-4)
    if "grey" not in same:
        grey = np.array(Image.fromarray(first[0]).convert("L"))[None, :, :, None]
        shown = exported.results["serve_bytes/grey/probabilities"]
        wanted = exported.probabilities(np.repeat(grey, 3, axis=-1))
        np.testing.assert_allclose(shown, wanted, atol=1e-5)


@pytest.mark.parametrize("call", ["serve_bytes", "serve_bytes_each", "classify"])
def test_all_kinds_of_files_give_the_pixels_that_training_reads(exported, call):
    first = exported.images[0]
    colour = np.repeat(first, 3, axis=-1) if first.shape[-1] == 1 else first
    read = []
    for file in kinds_of_files(colour, first):
        image, _ = decode_upright(tf.constant(file), tf.constant(1, tf.int64))
        # Grey files of a coloured data set repeat their channel; a grey one has grey files alone.
        read.append(np.broadcast_to(image[..., : first.shape[-1]], first.shape))
    wanted = exported.probabilities(np.stack(read))
    output = "scores" if call == "classify" else "probabilities"
    np.testing.assert_allclose(exported.results[f"{call}/kinds/{output}"], wanted, atol=1e-5)


def test_files_of_another_size_are_resized(exported):
    large = np.kron(exported.images[:1], np.ones((1, 2, 2, 1), np.uint8))
    small = tf.image.resize(large, exported.data.image_shape[:2], antialias=True)
    wanted = exported.probabilities(np.round(small.numpy()).astype(np.uint8))
    shown = exported.results["serve_bytes/large/probabilities"]
    np.testing.assert_allclose(shown, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["broken", "text"])
def test_bytes_that_are_no_image_are_the_callers_mistake(exported, name):
    assert exported.results[f"serve_bytes/{name}/error"] == "InvalidArgumentError"


def test_one_broken_file_leaves_the_others_their_answers(exported):
    found = {
        name: exported.results[f"serve_bytes_each/some/{name}"]
        for name in ("probabilities", "class_id", "label", "error")
    }
    wanted = exported.probabilities(exported.images[:2])
    np.testing.assert_allclose(found["probabilities"][::2], wanted, atol=1e-5)
    assert not found["probabilities"][1::2].any()
    first, second = wanted.argmax(axis=1).tolist()
    assert found["class_id"].tolist() == [first, -1, second, -1]
    labels = [label.decode() for label in found["label"]]
    assert labels == [NAMES[first], "", NAMES[second], ""]
    broken = b"this is no image that can be decoded"
    assert found["error"].tolist() == [b"", broken, b"", broken]
    assert exported.results["serve_bytes_each/none/error"].tolist() == [broken]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("serving_default/small", "image must be of shape Nx7x6x{}, not 2x1x2x{}"),
        ("serving_default/flat", "image must be of shape Nx7x6x{}, not 2x7x6]"),
        ("classify/empty", "each Example must have a file in image/encoded"),
    ],
)
def test_a_wrong_request_is_told_what_is_wanted(exported, call, told):
    assert exported.results[f"{call}/error"] == "InvalidArgumentError"
    channels = exported.data.image_shape[-1]
    assert told.replace("{}", str(channels)) in str(exported.results[f"{call}/message"])


def test_classifies_examples(exported):
    scores = exported.results["classify/one/scores"]
    np.testing.assert_allclose(scores, exported.probabilities(exported.images[:1]), atol=1e-5)
    classes = exported.results["classify/one/classes"]
    assert [[name.decode() for name in row] for row in classes] == [list(NAMES)]


def test_says_what_it_is(exported):
    extra = exported.version / "assets.extra"
    assert (extra / "labels.txt").read_text(encoding="utf-8").splitlines() == list(NAMES)
    assert (extra / "arc.txt").read_text().strip() == ARC
    assert json.loads((extra / "model.json").read_text()) == CARD


def test_holds_each_weight_once(exported):
    reader = tf.train.load_checkpoint(str(exported.version / "variables/variables"))
    stored = sum(map(math.prod, reader.get_variable_to_shape_map().values()))
    main = keras.Model(exported.network.inputs, exported.network.outputs[0])
    # One more for the graph of objects, a string.
    assert stored == main.count_params() + 1


@pytest.mark.parametrize("channels", [2, 5])
def test_images_that_no_file_holds_are_served_as_pixels_alone(tmp_path, channels):
    data = image_data(channels)
    network = build(data)
    version = export_images(network, data, tmp_path / "model", ARC, CARD)
    assert list(tf.saved_model.load(str(version)).signatures) == ["serving_default"]
    images = data.splits["test"].images[:3]
    normalised = tf.constant((images / 255 - data.mean) / data.std, tf.float32)
    wanted = tf.nn.softmax(network(normalised, training=False)[0]).numpy()
    _, found = zip(*predict(version, images), strict=True)
    np.testing.assert_allclose(found, wanted.max(axis=1), atol=1e-5)


def test_predicts_by_the_export_alone(exported):
    wanted = exported.probabilities(exported.images)
    labels, probabilities = zip(*predict(exported.version, exported.images), strict=True)
    assert list(labels) == [NAMES[i] for i in wanted.argmax(axis=1)]
    np.testing.assert_allclose(probabilities, wanted.max(axis=1), atol=1e-5)


def saved_model_cli(*arguments):
    command = [str(Path(sys.executable).with_name("saved_model_cli")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("exported", [1], indirect=True, ids=["grey"], scope="module")
def test_tensorflows_own_tool_shows_and_runs_it(exported, tmp_path):
    chosen = ["--dir", exported.version, "--tag_set", "serve"]
    shown = saved_model_cli("show", *chosen, "--signature_def", "serving_default")
    assert all(words in shown for words in ("inputs['image']", "DT_UINT8", "(-1, 7, 6, 1)"))
    np.save(tmp_path / "image.npy", exported.images[:2])
    inputs = f"image={tmp_path / 'image.npy'}"
    options = ["--signature_def", "serving_default", "--inputs", inputs, "--outdir", tmp_path]
    saved_model_cli("run", *chosen, *options)
    wanted = exported.probabilities(exported.images[:2])
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), wanted, atol=1e-5)
