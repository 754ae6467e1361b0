"""Starts TensorFlow Serving on an export; does not import TensorFlow."""

import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.store_copies import local_folder
from enas_tf.core.stores import Store, is_remote, note
from enas_tf.serving.base import fetch, model_url

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_STOP = 10
_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True)
class ServeConfig:
    """What to serve, and where."""

    export_dir: str | None = option(
        None,
        "required: the model's folder, runs/.../export/NAME, which holds its versions; it may be "
        "at gs://, which the server reads itself, or at s3://, from which it is copied first",
    )
    port: int = option(8500, "port of gRPC")
    rest_port: int = option(8501, "port of REST")
    batching: bool | None = option(
        None,
        "run requests that wait together, as export_dir/batching_params.pbtxt says; none, the "
        "default: on for images, off for text, whose requests differ in length and so cannot be "
        "joined",
    )
    timeout: float = option(
        60.0, "seconds that the server may take until it answers, a pull of its image included"
    )


def serve(config: ServeConfig) -> None:
    """Runs a server until it ends, or until KeyboardInterrupt, which stops it.

    The server is `tensorflow_model_server` if that is on the PATH, else the image
    tensorflow/serving, run by docker or podman. It runs the warm-up requests of the export before
    it responds. When it does, its addresses and examples of requests are printed.

    Args:
        config: what to serve, and where.

    Raises:
        UserError: if there is no export or no server to start, a port is taken, or the server ends
            by itself, cannot load the model or does not respond in time.
    """
    model = _find_model(config)
    batching = not model.is_text if config.batching is None else config.batching
    command = _command(config, model, batching)
    for port in (config.port, config.rest_port):
        _check_free(port)
    # Ctrl-C reaches all processes of the terminal's foreground group. A session of its own keeps
    # the server out of that group, so that it is stopped only once, below.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        version = _wait_until_available(process, config, model.name)
        print(_how_to_ask(config, model.name, version, model.is_text), flush=True)
        raise _ended(process.wait())
    finally:
        _stop(process)


@dataclass(frozen=True)
class _Model:
    """An exported model.

    Attributes:
        path: of its folder, or its address in a store that the server reads itself.
        name: of the model.
        is_text: whether the newest version is a language model.
    """

    path: str
    name: str
    is_text: bool


def _find_model(config: ServeConfig) -> _Model:
    if config.export_dir is None:
        raise UserError("give the model's folder, --export_dir=runs/.../export/NAME")
    if config.export_dir.startswith("gs://"):
        store = Store(config.export_dir)
        path, files, read = store.url, store.list(), store.read
    else:
        folder = _local_folder(config.export_dir)
        path, read = str(folder), lambda name: (folder / name).read_bytes()
        files = [file.relative_to(folder).as_posix() for file in folder.glob("*/saved_model.pb")]
    versions = [name.split("/")[0] for name in files if re.fullmatch(r"\d+/saved_model\.pb", name)]
    if not versions:
        raise UserError(
            f"{config.export_dir} holds no exported model: no version, a folder named by a "
            "number; give runs/.../export/NAME, or run a launcher's verb export first"
        )
    # Searches the bytes for a signature's name: parsing the file would need TensorFlow.
    is_text = b"score_text" in read(f"{max(versions, key=int)}/saved_model.pb")
    return _Model(path, path.rpartition("/")[2], is_text)


def _local_folder(export_dir: str) -> Path:
    if is_remote(export_dir):
        note("the server cannot read s3://: it serves a copy, made now, without later versions")
    return local_folder(export_dir).resolve()


def _command(config: ServeConfig, model: _Model, batching: bool) -> list[str]:
    """Returns the command line of the server, or of its container."""
    binary = shutil.which("tensorflow_model_server")
    if binary:
        return [binary, *_server_flags(config, model.name, model.path, batching)]
    engine = shutil.which("docker") or shutil.which("podman")
    if not engine:
        raise UserError(
            "found no tensorflow_model_server, docker or podman on the PATH; install one, such as "
            "by `apt-get install docker.io` or `apt-get install podman`, which run the image "
            "tensorflow/serving, or the server itself: https://www.tensorflow.org/tfx/serving/setup"
        )
    ports = [f"--publish={port}:{port}" for port in (config.port, config.rest_port)]
    # The image's own entry point is a shell script, which does not forward signals.
    entry = ["--init", "--entrypoint=tensorflow_model_server"]
    if is_remote(model.path):
        inside, mounts = model.path, _credentials()
    else:
        inside = f"/models/{model.name}"
        mounts = [f"--mount=type=bind,source={model.path},target={inside},readonly"]
    flags = _server_flags(config, model.name, inside, batching)
    return [engine, "run", "--rm", *entry, *ports, *mounts, "tensorflow/serving", *flags]


def _credentials() -> list[str]:
    """Returns the flags by which a container gets the credentials of a store, if a file has them.

    On a machine of the store's own cloud the container gets them as the machine does.
    """
    file = os.environ.get(_CREDENTIALS)
    if not file:
        return []
    inside = "/credentials.json"
    mount = f"--mount=type=bind,source={Path(file).resolve()},target={inside},readonly"
    return [mount, f"--env={_CREDENTIALS}={inside}"]


def _server_flags(config: ServeConfig, name: str, path: str, batching: bool) -> list[str]:
    """Returns the flags of the server.

    Args:
        config: the configuration, which gives the ports.
        name: the name of the model.
        path: the model's folder as the server sees it, which may be inside a container.
        batching: whether to run waiting requests together.
    """
    flags = [
        f"--port={config.port}",
        f"--rest_api_port={config.rest_port}",
        f"--model_name={name}",
        f"--model_base_path={path}",
        "--enable_model_warmup=true",
    ]
    if batching:
        file = f"{path}/batching_params.pbtxt"
        flags += ["--enable_batching=true", f"--batching_parameters_file={file}"]
    return flags


def _check_free(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"cannot listen on port {port} ({error}); give others by --port and --rest_port"
            ) from error


def _wait_until_available(process: subprocess.Popen, config: ServeConfig, name: str) -> str:
    """Waits until a version is served; returns the newest one that is."""
    url = model_url(f"localhost:{config.rest_port}", name)
    end = time.monotonic() + config.timeout
    while time.monotonic() < end:
        status = process.poll()
        if status is not None:
            raise _ended(status)
        versions = _version_states(url)
        available = [v["version"] for v in versions if v["state"] == "AVAILABLE"]
        if available:
            return max(available, key=int)
        if versions and all(version["state"] == "END" for version in versions):
            message = versions[0].get("status", {}).get("error_message", "it does not say why")
            raise UserError(f"the server cannot load {name}: {' '.join(message.split())}")
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UserError(
        f"the server does not answer after {config.timeout:g} seconds; its own lines above may "
        "say why; give it longer by --timeout"
    )


def _version_states(url: str) -> list[dict]:
    """Returns the status of each version of the model; none while the server does not respond."""
    try:
        return fetch(url, timeout=5)["model_version_status"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []


def _ended(status: int) -> UserError:
    return UserError(f"the server ended with status {status}; its own lines above may say why")


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _how_to_ask(config: ServeConfig, name: str, version: str, is_text: bool) -> str:
    """Returns the server's addresses, and examples of a request by curl and by our client."""
    request = '{"signature_name": "serve_bytes", "instances": [{"image_bytes": {"b64": "%s"}}]}'
    request %= "'$(base64 -w0 FILE.png)'"
    if is_text:
        request = '{"signature_name": "score_text", "instances": [{"text": "some words"}]}'
    url = model_url(f"localhost:{config.rest_port}", name)
    what = "--text FILE.txt" if is_text else "FILE.png"
    return f"""\
serving {name}, version {version}; Ctrl-C stops it
  gRPC: localhost:{config.port}
  REST: {url}
Ask it, for example:
  echo '{request}' | curl -d @- {url}:predict
  python -m launchers.predict --server=localhost:{config.rest_port} --model={name} {what}"""
