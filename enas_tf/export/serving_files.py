"""Files that TensorFlow Serving reads besides a SavedModel: warm-up and configurations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from enas_tf.core.stores import is_remote

Requests = Mapping[str, Mapping[str, np.ndarray | Sequence]]
"""The requests: for each signature, the value of each input by its name."""

WARMUP = "tf_serving_warmup_requests"
"""The name of the file in `assets.extra` with the requests that a server runs first."""

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

    Without them, the first caller waits for what TensorFlow does when a graph first runs. The
    format is a TFRecord file of `PredictionLog`; see TensorFlow Serving's guide to SavedModel
    warm-up.

    Args:
        path: the path of the file.
        model_name: the name of the model on the server.
        requests: one request for each signature.
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


def server_configs(folder: Path | str) -> dict[str, str]:
    """Returns the texts of `models.config` and `batching_params.pbtxt`, by file name.

    The formats are TensorFlow Serving's `ModelServerConfig` and `BatchingParameters`.

    Args:
        folder: the path of the model's folder, whose name is also the model's name, or its address
            in a store.
    """
    path = str(folder if is_remote(folder) else Path(folder).resolve())
    name = path.rpartition("/")[2]
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    models = _MODELS_COMMENT.format(name=name)
    models += text_format.MessageToString(config, as_utf8=True)
    return {"models.config": models, "batching_params.pbtxt": _BATCHING}
