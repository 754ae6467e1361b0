"""The files beside a SavedModel, read and replayed as TensorFlow Serving does."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from enas_tf.export.serving_files import server_configs
from tests.small_exports import export_small_images, export_small_text
from tests.stand_in_server import Served


def requests(version):
    """The warm-up requests by signature, their inputs as arrays."""
    path = str(version / "assets.extra/tf_serving_warmup_requests")
    logs = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    specs = [log.predict_log.request.model_spec for log in logs]
    assert {spec.name for spec in specs} == {version.parent.name}
    return {
        spec.signature_name: {
            key: tf.make_ndarray(value) for key, value in log.predict_log.request.inputs.items()
        }
        for spec, log in zip(specs, logs, strict=True)
    }


def replay(version):
    """What the C++ runtime answers to them; every signature must be asked."""
    served, asked = Served(version, "model"), requests(version)
    assert set(asked) == set(served.signatures)
    return asked, {name: served.run("model", name, inputs) for name, inputs in asked.items()}


def test_an_image_warms_up_every_signature(tmp_path):
    version, data = export_small_images(tmp_path / "model")
    asked, answers = replay(version)
    image = data.splits["test"].images[:1]
    np.testing.assert_array_equal(asked["serving_default"]["image"], image)
    [png] = asked["serve_bytes"]["image_bytes"]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png))), image[0, :, :, 0])
    wanted = answers["serving_default"]["probabilities"]
    assert wanted.shape == (1, 3)
    np.testing.assert_allclose(answers["serve_bytes"]["probabilities"], wanted, atol=1e-6)
    np.testing.assert_allclose(answers["classify"]["scores"], wanted, atol=1e-6)


def test_a_text_warms_up_every_signature(tmp_path):
    version, data = export_small_text(tmp_path / "model")
    asked, answers = replay(version)
    words = data.splits["test"][:20]
    np.testing.assert_array_equal(asked["serving_default"]["tokens"], [words])
    shape = answers["serving_default"]["log_probabilities"].shape
    assert shape == (1, 20, len(data.vocabulary))
    [text] = asked["score_text"]["text"]
    spoken = text.decode().replace("\n", " <eos> ").split()
    assert spoken == [data.vocabulary[word] for word in words][-len(spoken) :]
    assert answers["score_text"]["num_tokens"][0] > 15


def test_which_model_is_served_from_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = server_configs(Path("a 'model'"))["models.config"]
    config = text_format.Parse(text, ModelServerConfig())
    [model] = config.model_config_list.config
    assert (model.name, model.base_path) == ("a 'model'", str(tmp_path / "a 'model'"))
    assert model.model_platform == "tensorflow"
    assert "/models/a 'model'" in text


@pytest.fixture(scope="module")
def batching_parameters():
    """TensorFlow Serving's message, whose fields are in its session_bundle_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", syntax="proto3")
    file.dependency.append(WRAPPERS.name)
    message = file.message_type.add(name="BatchingParameters")
    names = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    for number, name in enumerate(names, 1):
        message.field.add(
            name=name,
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            type_name=".google.protobuf.Int64Value",
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))


def test_how_requests_are_joined(tmp_path, batching_parameters):
    text = server_configs(tmp_path)["batching_params.pbtxt"]
    parameters = text_format.Parse(text, batching_parameters())
    # predict sends requests of 64.
    assert parameters.max_batch_size.value >= 64
    assert 0 < parameters.batch_timeout_micros.value < 100_000
    assert parameters.max_enqueued_batches.value > 0
    assert parameters.num_batch_threads.value > 0
