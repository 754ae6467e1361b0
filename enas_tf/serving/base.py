"""The parts that starting a server and its clients share; does not import TensorFlow."""

import json
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Protocol

from enas_tf.core.errors import UserError, one_line

# Ignores the proxies that the environment names: they are for the web, not for a user's own server.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RefusedError(UserError):
    """The error for a request that the server rejects as invalid, with the server's message."""


class Client(Protocol):
    """Sends requests to a running server."""

    def predict(
        self, signature: str, name: str, values: Sequence[bytes] | Sequence[str]
    ) -> list[dict[str, Any]]:
        """Runs a signature that has one input on a batch.

        Args:
            signature: the name of the signature.
            name: the name of its input.
            values: the value of the input for each example.

        Returns:
            The outputs of each example by name: numbers, strings or lists of these.

        Raises:
            RefusedError: if the signature does not accept the values.
            UserError: if there is no such server or model.
        """


def model_url(server: str, model: str) -> str:
    """Returns the URL of a model's status in TensorFlow Serving's REST interface.

    Args:
        server: the server's address, `host:port`.
        model: the name of the model.
    """
    return f"http://{server}/v1/models/{urllib.parse.quote(model, safe='')}"


def fetch(url: str, timeout: float, body: dict | None = None) -> Any:
    """Gets a JSON document, or posts one; returns the JSON of the response.

    Args:
        url: an HTTP URL.
        timeout: the seconds to wait for a response.
        body: the document to post; None sends a GET request.

    Raises:
        OSError: if there is no response, or, as `urllib.error.HTTPError`, one with an error status.
        http.client.HTTPException: if the response is not HTTP.
        ValueError: if the response is not JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=timeout) as response:
        return json.load(response)


def no_server(server: str, reason: Exception | str) -> UserError:
    """Returns the error for an address at which no model server responds."""
    return UserError(
        f"no model server answers at {server} ({one_line(reason)}); start one with "
        "python -m launchers.serve --export_dir=..., or give its address by --server=HOST:PORT"
    )


def no_model(server: str, model: str, reason: str) -> UserError:
    """Returns the error for a model that the server does not serve."""
    return UserError(
        f"the server at {server} serves no model {model!r} ({one_line(reason)}); give the name "
        "of the export's folder by --model"
    )
