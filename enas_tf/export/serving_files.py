"""What TensorFlow Serving reads besides a SavedModel: warm-up requests and configurations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

Requests = Mapping[str, Mapping[str, np.ndarray | Sequence]]
"""By signature, the value of each input by its name."""

WARMUP = "tf_serving_warmup_requests"
"""The name, in `assets.extra`, of the file of requests that a server runs before it serves."""

_MODELS_COMMENT = """\
# For tensorflow_model_server --model_config_file. base_path is the folder on the machine that
# exported the model; in a container it is where the folder is mounted, such as /models/{name}.
# An export leaves this file alone where there is one; so changes to it last.
"""

_BATCHING = """\
# For tensorflow_model_server --enable_batching --batching_parameters_file. Requests that wait
# together are run together. A request of more than max_batch_size examples is refused.
max_batch_size { value: 128 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 100 }
# As many as the server's cores serve best.
num_batch_threads { value: 4 }
"""


def write_warmup(path: Path, model_name: str, requests: Requests) -> None:
    """Writes requests that a server runs when it loads the model, before it serves.

    Without them the first caller waits for what TensorFlow does at a graph's first run.

    Reference for the format: TensorFlow Serving's guide to SavedModel warm-up, a TFRecord file of
    `PredictionLog`.

    Args:
        path: of the file.
        model_name: what the server calls the model.
        requests: one for each signature.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def server_configs(folder: Path) -> dict[str, str]:
    """The text of `models.config` and of `batching_params.pbtxt`, by their names.

    Reference for the formats: TensorFlow Serving's `ModelServerConfig` and `BatchingParameters`.

    Args:
        folder: of the model; its name is the model's.
    """
    folder = folder.resolve()
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=folder.name, base_path=str(folder), model_platform="tensorflow"
    )
    models = _MODELS_COMMENT.format(name=folder.name)
    models += text_format.MessageToString(config, as_utf8=True)
    return {"models.config": models, "batching_params.pbtxt": _BATCHING}
