"""The launcher that starts a model server, with scripts on the PATH in the server's place."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.launching import ROOT, environment

# Writes its arguments to a file, and answers a REST client as a server does that loads a model.
SERVER = """#!{python}
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
record = os.environ["RECORD"]
json.dump([os.getpid(), *sys.argv], open(record + ".part", "w"))
os.rename(record + ".part", record)
mood = os.environ["MOOD"]
if mood == "broken":
    print("bad flag", file=sys.stderr)
    sys.exit(3)
if mood == "babbling":
    BaseHTTPRequestHandler.handle = lambda self: self.wfile.write(b"hello\\n")
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
asked = 0

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        global asked
        asked += 1
        assert self.path == "/v1/models/" + flags["model_name"].replace(" ", "%20")
        states = ["START", "LOADING", "AVAILABLE"]
        state = {{"slow": "LOADING", "unloadable": "END"}}.get(mood) or states[min(asked, 3) - 1]
        status = {{"error_code": "INTERNAL", "error_message": "no such op\\n Foo"}}
        versions = [{{"version": v, "state": state, "status": status}} for v in ("9", "10")]
        body = json.dumps({{"model_version_status": versions}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

time.sleep(0.3)
HTTPServer(("localhost", int(flags["rest_api_port"])), Handler).serve_forever()
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


class Place:
    """A folder with programs, which are the whole PATH, and an export that no real server loads."""

    def __init__(self, folder, programs, mood="well", signature=b"serve_bytes"):
        self.export = folder / "export" / "my model"
        self.record = folder / "record.json"
        for version in ("9", "10"):
            (self.export / version).mkdir(parents=True)
            (self.export / version / "saved_model.pb").write_bytes(b"..." + signature)
        (folder / "bin").mkdir()
        for program in programs:
            (folder / "bin" / program).write_text(SERVER.format(python=sys.executable))
            (folder / "bin" / program).chmod(0o755)
        self.environment = environment() | {
            "PATH": str(folder / "bin"),
            "RECORD": str(self.record),
            "MOOD": mood,
        }
        self.ports = free_port(), free_port()

    def command(self, *flags):
        ports = [f"--port={self.ports[0]}", f"--rest_port={self.ports[1]}"]
        export = f"--export_dir={self.export}"
        return [sys.executable, "-m", "launchers.serve", export, *ports, *flags]

    def start(self, *flags, ignored=None):
        def prepare():
            # A shell that runs the tests in the background has it ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if ignored:
                signal.signal(ignored, signal.SIG_IGN)

        return subprocess.Popen(
            self.command(*flags),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )

    def fail(self, *flags):
        """The only line of standard error that is an error of the launcher's."""
        process = self.start(*flags)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
        [line] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in err
        return line

    def recorded(self):
        """Process id, program and arguments of what was started."""
        return json.loads(self.record.read_text())


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_stopped(tmp_path, sent):
    place = Place(tmp_path, ["tensorflow_model_server", "docker"])
    process = place.start()
    shown = [process.stdout.readline() for _ in range(6)]
    pid, program, *arguments = place.recorded()
    assert program.endswith("/tensorflow_model_server")
    port, rest_port = place.ports
    assert arguments == [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        "--model_name=my model",
        f"--model_base_path={place.export}",
        "--enable_model_warmup=true",
        "--enable_batching=true",
        f"--batching_parameters_file={place.export}/batching_params.pbtxt",
    ]
    assert shown[0].startswith("serving my model, version 10;")
    assert f"localhost:{port}" in shown[1]
    url = f"http://localhost:{rest_port}/v1/models/my%20model"
    assert url in shown[2]
    assert '"signature_name": "serve_bytes"' in shown[4] and f"{url}:predict" in shown[4]
    assert f"--server=localhost:{rest_port}" in shown[5]
    assert process.poll() is None and not has_ended(pid)
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    assert has_ended(pid)


def test_serves_on_where_nohup_has_it_ignore_the_terminals_end(tmp_path):
    place = Place(tmp_path, ["tensorflow_model_server"])
    process = place.start(ignored=signal.SIGHUP)
    for _ in range(6):
        process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "stopped\n")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_runs_the_image_where_there_is_no_binary(tmp_path, engine):
    place = Place(tmp_path, [engine], mood="unloadable")
    # Its arguments are what matters; the script then plays the server inside.
    assert "cannot load my model: no such op Foo" in place.fail()
    pid, program, *arguments = place.recorded()
    assert program.endswith(f"/{engine}")
    port, rest_port = place.ports
    image = arguments.index("tensorflow/serving")
    assert arguments[:image] == [
        "run",
        "--rm",
        "--init",
        "--entrypoint=tensorflow_model_server",
        f"--publish={port}:{port}",
        f"--publish={rest_port}:{rest_port}",
        f"--mount=type=bind,source={place.export},target=/models/my model,readonly",
    ]
    assert "--model_base_path=/models/my model" in arguments[image:]
    file = "/models/my model/batching_params.pbtxt"
    assert f"--batching_parameters_file={file}" in arguments[image:]
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("signature", "flags", "joined"),
    [
        (b"serve_bytes", ["--nobatching"], False),
        (b"score_text", [], False),
        (b"score_text", ["--batching"], True),
    ],
)
def test_text_of_different_lengths_is_not_joined(tmp_path, signature, flags, joined):
    place = Place(tmp_path, ["tensorflow_model_server"], mood="broken", signature=signature)
    assert "the server ended with status 3" in place.fail(*flags)
    assert ("--enable_batching=true" in place.recorded()) is joined


def test_a_server_that_does_not_get_ready(tmp_path):
    place = Place(tmp_path, ["tensorflow_model_server"], mood="slow")
    began = time.monotonic()
    assert "does not answer after 1 seconds" in place.fail("--timeout=1")
    assert time.monotonic() - began < 10
    assert has_ended(place.recorded()[0])


def test_a_port_that_answers_no_http(tmp_path):
    place = Place(tmp_path, ["tensorflow_model_server"], mood="babbling")
    assert "does not answer after 2 seconds" in place.fail("--timeout=2")
    assert has_ended(place.recorded()[0])


def test_a_server_that_ends_by_itself(tmp_path):
    place = Place(tmp_path, ["tensorflow_model_server"])
    process = place.start()
    assert process.stdout.readline().startswith("serving")
    os.kill(place.recorded()[0], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert err.startswith("error: the server ended with status -9")


def test_mistakes(tmp_path):
    place = Place(tmp_path, [])
    line = place.fail()
    assert all(part in line for part in ("tensorflow_model_server", "docker", "apt-get install"))
    assert "holds no exported model" in place.fail(f"--export_dir={place.export / '10'}")
    assert "holds no exported model" in place.fail(f"--export_dir={tmp_path / 'none'}")
    assert "give the folder by --export_dir; got 'x'" in place.fail("x")
    place = Place(tmp_path / "again", ["tensorflow_model_server"])
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on port {port}" in place.fail(f"--rest_port={port}")
    assert not place.record.exists()
