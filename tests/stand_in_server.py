"""A stand-in for TensorFlow Serving, which no package index has: one real SavedModel behind it.

It speaks what TensorFlow Serving's documents say of the REST interface (status and predict, row
format), and gRPC by TensorFlow Serving's own messages. TensorFlow's C++ runtime runs the model.
"""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)


class Mistake(Exception):
    """A request that is the caller's mistake: a code of gRPC and a message."""


class Served:
    """A SavedModel in a session.

    Args:
        version: its folder.
        name: what clients call it.
    """

    def __init__(self, version, name):
        self.version, self.name = version, name
        self.sizes = []
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(version))
        self.signatures = {
            key: value
            for key, value in loaded.signature_def.items()
            if not key.startswith("__saved_model")
        }

    def signature(self, model, name):
        if model != self.name:
            raise Mistake("NOT_FOUND", f"Servable not found for request: Latest({model})")
        if name not in self.signatures:
            raise Mistake("INVALID_ARGUMENT", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def run(self, model, name, inputs):
        """The outputs' arrays by their names."""
        signature = self.signature(model, name)
        if set(inputs) != set(signature.inputs):
            raise Mistake("INVALID_ARGUMENT", "input keys are not the signature's")
        self.sizes.append(len(next(iter(inputs.values()))))
        fetched = {key: tensor.name for key, tensor in signature.outputs.items()}
        fed = {signature.inputs[key].name: value for key, value in inputs.items()}
        try:
            return self._session.run(fetched, fed)
        except tf.errors.InvalidArgumentError as error:
            # Python's session puts words of its own before those of the runtime.
            message = error.message.removeprefix("Graph execution error:\n\n")
            raise Mistake("INVALID_ARGUMENT", message) from error

    def run_rows(self, model, body):
        """The answer to a REST request in row format."""
        name = body.get("signature_name", "serving_default")
        signature = self.signature(model, name)
        inputs = {
            key: np.array(
                [_from_json(row[key]) for row in body["instances"]],
                tf.as_dtype(tensor.dtype).as_numpy_dtype,
            )
            for key, tensor in signature.inputs.items()
        }
        outputs = self.run(model, name, inputs)
        columns = {key: _to_json(value) for key, value in outputs.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"predictions": [next(iter(r.values())) if len(r) == 1 else r for r in rows]}


def _from_json(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _to_json(array):
    return [value.decode() for value in array] if array.dtype == object else array.tolist()


def _handler(served):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            """Prints nothing."""

        def answer(self, status, document):
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            if self.path != f"/v1/models/{served.name}":
                return self.answer(404, {"error": f"Could not find any versions of {self.path}"})
            state = {"version": served.version.name, "state": "AVAILABLE"}
            self.answer(200, {"model_version_status": [state]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model, _, verb = self.path.removeprefix("/v1/models/").partition(":")
            try:
                assert verb == "predict"
                self.answer(200, served.run_rows(model, body))
            except Mistake as mistake:
                code, message = mistake.args
                self.answer(404 if code == "NOT_FOUND" else 400, {"error": message})

    return Handler


class _Servicer(PredictionServiceServicer):
    def __init__(self, served):
        self._served = served

    def Predict(self, request, context):
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        spec = request.model_spec
        try:
            outputs = self._served.run(spec.name, spec.signature_name, inputs)
        except Mistake as mistake:
            code, message = mistake.args
            context.abort(getattr(grpc.StatusCode, code), message)
        response = PredictResponse()
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextmanager
def web_server(handler):
    """A running web server; its `host:port`."""
    server = ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def stand_in_server(version, name):
    """A running server: the model, the address of REST and that of gRPC."""
    served = Served(version, name)
    rpc = grpc.server(ThreadPoolExecutor(2))
    add_PredictionServiceServicer_to_server(_Servicer(served), rpc)
    rpc_port = rpc.add_insecure_port("localhost:0")
    rpc.start()
    try:
        with web_server(_handler(served)) as rest:
            yield served, rest, f"localhost:{rpc_port}"
    finally:
        rpc.stop(None)
