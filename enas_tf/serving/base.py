"""What a server's start and its clients share; loads no TensorFlow."""

import json
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Protocol

from enas_tf.core.errors import UserError, one_line

# A server of one's own is asked directly, whatever proxy the environment names for the web.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RefusedError(UserError):
    """The server says that what it was sent is wrong; the message is the server's."""


class Client(Protocol):
    """Asks a running server."""

    def predict(
        self, signature: str, name: str, values: Sequence[bytes] | Sequence[str]
    ) -> list[dict[str, Any]]:
        """What a signature of one input makes of a batch.

        Args:
            signature: its name.
            name: the input's.
            values: one for each example.

        Returns:
            For each example its outputs by their names: numbers, strings or lists of them.

        Raises:
            RefusedError: the values are not what the signature takes.
            UserError: there is no such server or model.
        """


def model_url(server: str, model: str) -> str:
    """Where a model's status is in TensorFlow Serving's REST interface.

    Args:
        server: `host:port`.
        model: its name.
    """
    return f"http://{server}/v1/models/{urllib.parse.quote(model, safe='')}"


def fetch(url: str, timeout: float, body: dict | None = None) -> Any:
    """Gets a JSON document, or posts one and gets the answer.

    Args:
        url: of HTTP.
        timeout: seconds.
        body: what to post; None gets.

    Raises:
        OSError: no answer, of which `urllib.error.HTTPError` is an answer of failure.
        http.client.HTTPException: the answer is no HTTP.
        ValueError: the answer is no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=timeout) as response:
        return json.load(response)


def no_server(server: str, reason: Exception | str) -> UserError:
    """The error where nothing of use answers."""
    return UserError(
        f"no model server answers at {server} ({one_line(reason)}); start one with "
        "python -m launchers.serve --export_dir=..., or give its address by --server=HOST:PORT"
    )


def no_model(server: str, model: str, reason: str) -> UserError:
    """The error where the server does not know the model."""
    return UserError(
        f"the server at {server} serves no model {model!r} ({one_line(reason)}); give the name "
        "of the export's folder by --model"
    )
