"""A client of TensorFlow Serving's gRPC interface; imports TensorFlow, whose messages it sends."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from enas_tf.core.errors import UserError, one_line
from enas_tf.serving.base import RefusedError, no_model, no_server

# A batch of images may exceed the size of messages that gRPC allows by default.
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class GrpcClient:
    """An `enas_tf.serving.base.Client` of TensorFlow Serving's `PredictionService`.

    Args:
        server: the server's address, `host:port`, with its gRPC port.
        model: the name of the model.
        timeout: the seconds to wait for a response.
    """

    def __init__(self, server: str, model: str, timeout: float) -> None:
        self._server = server
        self._model = model
        self._timeout = timeout
        channel = grpc.insecure_channel(server, [*_NO_LIMIT, ("grpc.enable_http_proxy", 0)])
        self._stub = PredictionServiceStub(channel)

    def predict(
        self, signature: str, name: str, values: Sequence[bytes] | Sequence[str]
    ) -> list[dict[str, Any]]:
        """Runs a signature on a batch, sent as one tensor of strings."""
        request = PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(tf.make_tensor_proto(list(values), tf.string))
        try:
            outputs = self._stub.Predict(request, timeout=self._timeout).outputs
        except grpc.RpcError as error:
            raise self._failure(error) from error
        columns = {key: _plain(tf.make_ndarray(value)) for key, value in outputs.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _failure(self, error: grpc.RpcError) -> UserError:
        code, reason = error.code(), error.details() or ""
        if code == grpc.StatusCode.NOT_FOUND:
            return no_model(self._server, self._model, reason)
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            return RefusedError(one_line(reason))
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return no_server(self._server, reason)
        return UserError(f"the server at {self._server} fails with {code.name}: {one_line(reason)}")


def _plain(array: np.ndarray) -> list:
    """Converts an output to what REST returns for it: strings, or nested lists of numbers."""
    if array.dtype == object:
        return [value.decode("utf-8", "replace") for value in array.tolist()]
    return array.tolist()
