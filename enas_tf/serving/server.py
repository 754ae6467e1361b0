"""Starts TensorFlow Serving on an export; does not import TensorFlow."""

import http.client
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.serving.base import fetch, model_url

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_STOP = 10


@dataclass(frozen=True)
class ServeConfig:
    """What to serve, and where."""

    export_dir: str | None = option(
        None, "required: the model's folder, runs/.../export/NAME, which holds its versions"
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
    folder = _export_folder(config)
    is_text = _is_text(folder)
    batching = not is_text if config.batching is None else config.batching
    command = _command(config, folder, batching)
    for port in (config.port, config.rest_port):
        _check_free(port)
    # Ctrl-C reaches all processes of the terminal's foreground group. A session of its own keeps
    # the server out of that group, so that it is stopped only once, below.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        version = _wait_until_available(process, config, folder.name)
        print(_how_to_ask(config, folder.name, version, is_text), flush=True)
        raise _ended(process.wait())
    finally:
        _stop(process)


def _export_folder(config: ServeConfig) -> Path:
    if config.export_dir is None:
        raise UserError("give the model's folder, --export_dir=runs/.../export/NAME")
    folder = Path(config.export_dir).resolve()
    if not _versions(folder):
        raise UserError(
            f"{config.export_dir} holds no exported model: no version, a folder named by a "
            "number; give runs/.../export/NAME, or run a launcher's verb export first"
        )
    return folder


def _versions(folder: Path) -> list[Path]:
    """Returns the folders of an exported model's versions, oldest first."""
    found = [path.parent for path in folder.glob("*/saved_model.pb") if path.parent.name.isdigit()]
    return sorted(found, key=lambda version: int(version.name))


def _is_text(folder: Path) -> bool:
    """Returns whether the newest version is a language model."""
    # Searches the bytes for a signature's name: parsing the file would need TensorFlow.
    return b"score_text" in (_versions(folder)[-1] / "saved_model.pb").read_bytes()


def _command(config: ServeConfig, folder: Path, batching: bool) -> list[str]:
    """Returns the command line of the server, or of its container."""
    binary = shutil.which("tensorflow_model_server")
    if binary:
        return [binary, *_server_flags(config, folder.name, folder, batching)]
    engine = shutil.which("docker") or shutil.which("podman")
    if not engine:
        raise UserError(
            "found no tensorflow_model_server, docker or podman on the PATH; install one, such as "
            "by `apt-get install docker.io` or `apt-get install podman`, which run the image "
            "tensorflow/serving, or the server itself: https://www.tensorflow.org/tfx/serving/setup"
        )
    inside = Path("/models") / folder.name
    ports = [f"--publish={port}:{port}" for port in (config.port, config.rest_port)]
    mount = f"--mount=type=bind,source={folder},target={inside},readonly"
    # The image's own entry point is a shell script, which does not forward signals.
    entry = ["--init", "--entrypoint=tensorflow_model_server"]
    flags = _server_flags(config, folder.name, inside, batching)
    return [engine, "run", "--rm", *entry, *ports, mount, "tensorflow/serving", *flags]


def _server_flags(config: ServeConfig, name: str, folder: Path, batching: bool) -> list[str]:
    """Returns the flags of the server.

    Args:
        config: the configuration, which gives the ports.
        name: the name of the model.
        folder: the model's folder as the server sees it, which may be inside a container.
        batching: whether to run waiting requests together.
    """
    flags = [
        f"--port={config.port}",
        f"--rest_api_port={config.rest_port}",
        f"--model_name={name}",
        f"--model_base_path={folder}",
        "--enable_model_warmup=true",
    ]
    if batching:
        file = folder / "batching_params.pbtxt"
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
