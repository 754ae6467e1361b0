"""A client of TensorFlow Serving's REST interface; does not import TensorFlow."""

import base64
import http.client
import json
import urllib.error
from collections.abc import Sequence
from typing import Any

from enas_tf.core.errors import UserError, one_line
from enas_tf.serving.base import RefusedError, fetch, model_url, no_model, no_server


class RestClient:
    """An `enas_tf.serving.base.Client` of TensorFlow Serving's RESTful API.

    It uses the predict API in row format.

    Args:
        server: the server's address, `host:port`, with its REST port.
        model: the name of the model.
        timeout: the seconds to wait for a response.
    """

    def __init__(self, server: str, model: str, timeout: float) -> None:
        self._server = server
        self._model = model
        self._timeout = timeout

    def predict(
        self, signature: str, name: str, values: Sequence[bytes] | Sequence[str]
    ) -> list[dict[str, Any]]:
        """Runs a signature on a batch, with bytes sent in base 64 and text as it is."""
        instances = [{name: _json_value(value)} for value in values]
        body = {"signature_name": signature, "instances": instances}
        url = model_url(self._server, self._model) + ":predict"
        try:
            return fetch(url, self._timeout, body)["predictions"]
        except urllib.error.HTTPError as error:
            raise self._failure(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise no_server(self._server, getattr(error, "reason", error)) from error
        except (ValueError, KeyError, TypeError) as error:
            reason = "its answer is not TensorFlow Serving's; --server takes the REST port"
            raise no_server(self._server, reason) from error

    def _failure(self, error: urllib.error.HTTPError) -> UserError:
        reason = _reason(error)
        if error.code == 404:
            return no_model(self._server, self._model, reason)
        if error.code == 400:
            return RefusedError(one_line(reason))
        return UserError(
            f"the server at {self._server} fails with HTTP status {error.code}: {one_line(reason)}"
        )


def _json_value(value: bytes | str) -> str | dict[str, str]:
    if isinstance(value, str):
        return value
    return {"b64": base64.b64encode(value).decode()}


def _reason(error: urllib.error.HTTPError) -> str:
    """Returns the server's own message if there is one, else the meaning of the status."""
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
