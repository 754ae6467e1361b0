"""The client, as a user gives its commands, against a real export behind the documented API."""

import os
import shutil
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image

from launchers import predict
from tests.launching import ROOT, environment
from tests.small_exports import export_small_images, export_small_text
from tests.stand_in_server import stand_in_server, web_server


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A running server of a classifier, and a folder with ten test images in two folders."""
    folder = tmp_path_factory.mktemp("images")
    version, data = export_small_images(folder / "pictures")
    (folder / "files/more").mkdir(parents=True)
    for number, image in enumerate(data.splits["test"].images[:10]):
        place = folder / ("files/more" if number > 6 else "files")
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")
    (folder / "files/notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes((folder / "files/0.png").read_bytes()[:40])
    with stand_in_server(version, "pictures") as (served, rest, rpc):
        yield {"rest": rest, "grpc": rpc, "served": served, "folder": folder, "data": data}


@pytest.fixture(scope="module")
def real_server(images):
    """A running `tensorflow_model_server` of the same classifier."""
    if not shutil.which("tensorflow_model_server"):
        pytest.skip("no tensorflow_model_server on the PATH: no real server is asked")
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "launchers.serve", f"--export_dir={images['folder']}/pictures"]
    command += [f"--port={ports[0]}", f"--rest_port={ports[1]}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().startswith("serving pictures, version 1;")
        yield {"grpc": f"localhost:{ports[0]}", "rest": f"localhost:{ports[1]}"}
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A running server of a language model."""
    version, _ = export_small_text(tmp_path_factory.mktemp("text") / "prose")
    with stand_in_server(version, "prose") as (served, rest, rpc):
        yield {"rest": rest, "grpc": rpc, "served": served}


def ask(capfd, *arguments):
    """Status, rows of the table and standard error of a command."""
    status = predict.main(["predict", *map(str, arguments)])
    out, err = capfd.readouterr()
    return status, [line.split("\t") for line in out.splitlines()], err


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def address(server, way):
    flags = ["--grpc"] if way == "grpc" else []
    return [f"--server={server[way]}", *flags]


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_labels_of_files_and_folders(images, way, capfd):
    folder, served = images["folder"], images["served"]
    served.sizes.clear()
    flags = [*address(images, way), "--model=pictures", "--batch_size=4"]
    status, rows, err = ask(capfd, *flags, folder / "files", folder / "files/0.png")
    assert (status, err) == (0, "")
    assert served.sizes == [4, 4, 3]
    test = images["data"].splits["test"].images
    answers = served.run("pictures", "serving_default", {"image": test[:10]})
    wanted = [
        (label.decode(), max(p))
        for label, p in zip(answers["label"], answers["probabilities"], strict=True)
    ]
    assert len({label for label, _ in wanted}) > 1
    files = [*(f"files/{n}.png" for n in range(7)), *(f"files/more/{n}.png" for n in (7, 8, 9))]
    assert rows[0] == ["file", "label", "probability"]
    for row, file, (label, probability) in zip(
        rows[1:], [*files, files[0]], [*wanted, wanted[0]], strict=True
    ):
        assert row == [str(folder / file), label, f"{probability:.4f}"]


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_real_server_answers_as_the_stand_in_does(images, real_server, way, capfd):
    arguments = ["--model=pictures", images["folder"] / "files"]
    answers = [ask(capfd, *address(server, way), *arguments) for server in (images, real_server)]
    assert answers[0] == answers[1] and len(answers[0][1]) == 11


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_scores_of_lines(text, way, capfd, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat  sat\n\n fraß\nunheard of\n", encoding="utf-8")
    flags = [*address(text, way), "--model=prose", "--text"]
    status, rows, err = ask(capfd, *flags, tmp_path / "lines.txt")
    assert (status, err) == (0, "")
    lines = ["the cat sat", "fraß", "unheard of"]
    inputs = {"text": np.array([line.encode() for line in lines], object)}
    answers = text["served"].run("prose", "score_text", inputs)
    assert rows[0] == ["text", "perplexity", "num_tokens"]
    wanted = zip(lines, answers["perplexity"], ["4", "2", "3"], strict=True)
    assert rows[1:] == [[line, f"{perplexity:.4f}", count] for line, perplexity, count in wanted]


def test_lines_from_standard_input_without_tensorflow(text):
    code = (
        "import sys\nfrom launchers.predict import main\nstatus = main(sys.argv)\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\nsys.exit(status)"
    )
    flags = [f"--server={text['rest']}", "--model=prose", "--text"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags],
        input="the cat\n",
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["text", "the cat"]


def test_standard_input_that_is_no_text_is_the_users_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "launchers.predict", "--model=prose", "--text"],
        input=b"the \xff cat\n",
        cwd=ROOT,
        env=environment(),
        capture_output=True,
    )
    line = b"error: standard input is no text in UTF-8; leave out --text for images\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", line)


def test_the_longest_timeout_is_one_that_both_clients_take(images, capfd):
    for way in ("rest", "grpc"):
        flags = [*address(images, way), "--model=pictures", "--timeout=1000000"]
        status, rows, _ = ask(capfd, *flags, images["folder"] / "files/0.png")
        assert (status, len(rows)) == (0, 2)


def test_it_ends_quietly_when_nobody_reads_on(images):
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [f"--server={images['rest']}", "--model=pictures", f"{images['folder']}/files"]
    command = [sys.executable, "-m", "launchers.predict", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize("is_old", [False, True], ids=["each", "an older export"])
def test_files_without_a_label_are_named_and_leave_the_others_theirs(
    images, way, is_old, capfd, monkeypatch
):
    folder, served = images["folder"], images["served"]
    if is_old:
        monkeypatch.delitem(served.signatures, "serve_bytes_each")
    served.sizes.clear()
    names = ["broken.png", "files/0.png", "files/notes.txt", "none.png", "files/1.png"]
    flags = [*address(images, way), "--model=pictures", "--batch_size=4"]
    status, rows, err = ask(capfd, *flags, *(folder / name for name in names))
    # One by one where one fails all; the file that is not there is not sent.
    assert served.sizes == ([3, 1, 1, 1, 1] if is_old else [3, 1])
    # TensorFlow's runtime, in this very process, writes to standard error too.
    told = [line for line in err.splitlines() if line.startswith(("note: ", "error: "))]
    reasons = ["", "Unknown image file"] if is_old else 2 * ["this is no image that can be decoded"]
    reasons.append("No such file or directory")
    bad = [name for name in names if name not in ("files/0.png", "files/1.png")]
    for line, name, reason in zip(told, bad, reasons, strict=False):
        assert line.startswith(f"note: {folder / name} has no label: {reason}")
        assert "node" not in line
    assert told[3:] == ["error: 3 of 5 files could not be labelled, see above"]
    assert status == 2
    _, wanted, _ = ask(capfd, *flags, folder / "files/0.png", folder / "files/1.png")
    assert rows == wanted and len(rows) == 3


def test_a_model_without_the_signatures_is_told_once(images, capfd, monkeypatch):
    for name in ("serve_bytes", "serve_bytes_each"):
        monkeypatch.delitem(images["served"].signatures, name)
    flags = [*address(images, "rest"), "--model=pictures", "--batch_size=2"]
    status, rows, err = ask(capfd, *flags, images["folder"] / "files")
    assert (status, rows) == (2, [])
    assert err == (
        'error: the model labels no image files: Serving signature key "serve_bytes" not found.\n'
    )


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_mistakes_that_servers_tell(images, text, way, capfd):
    file = images["folder"] / "files/0.png"
    status, _, err = ask(capfd, *address(images, way), "--model=other", file)
    assert (status, err.count("\n")) == (2, 1)
    assert "serves no model 'other'" in err and "Latest(other)" in err
    status, _, err = ask(capfd, *address(text, way), "--model=prose", file)
    assert (status, err.count("\n")) == (2, 1)
    assert 'Serving signature key "serve_bytes" not found' in err


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_no_server(images, way, capfd):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        server = {way: f"localhost:{taken.getsockname()[1]}"}
        file = images["folder"] / "files/0.png"
        status, _, err = ask(capfd, *address(server, way), "--model=pictures", file)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: no model server answers at {server[way]} (")
    assert "python -m launchers.serve" in err


def test_the_port_of_grpc_is_no_port_of_rest(images, capfd):
    file = images["folder"] / "files/0.png"
    status, _, err = ask(capfd, f"--server={images['grpc']}", "--model=pictures", file)
    assert (status, err.count("\n")) == (2, 1)
    assert f"no model server answers at {images['grpc']}" in err


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"<html>", "no model server answers"),
        (200, b"[1]", "no model server answers"),
        (503, b"busy", "fails with HTTP status 503"),
        (500, b'{"error": "out of memory"}', "out of memory"),
    ],
)
def test_servers_of_another_kind(images, capfd, status, body, told):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            """Prints nothing."""

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    with web_server(Handler) as server:
        file = images["folder"] / "files/0.png"
        ended, _, err = ask(capfd, f"--server={server}", "--model=pictures", file)
    assert (ended, err.count("\n")) == (2, 1)
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{folder}/files/0.png"], "--model=NAME"),
        (["--model=x"], "give image files"),
        (["--model=x", "--text", "{folder}/none"], "cannot read {folder}/none (No such file"),
        (["--model=x", "--text", "{folder}/files/more/7.png/x"], "Not a directory"),
        (["--model=x", "{folder}/empty"], "{folder}/empty holds no files named *.bmp, *.gif"),
        (["--model=x", "--text", "{folder}/files/0.png"], "no text in UTF-8"),
        (["--model=x", "--batch_size=0", "a"], "batch_size must be at least 1, got 0"),
        (["--model=x", "--timeout=0", "a"], "timeout must be above 0"),
        (["--model=x", "--timeout=1e30", "a"], "at most 1000000 seconds, got 1e+30"),
        (["--model=x", "--server=8501", "a"], "server must be HOST:PORT"),
        (["--model=x", "--server=http://localhost:8501", "a"], "server must be HOST:PORT"),
    ],
)
def test_mistakes_that_need_no_server(images, capfd, arguments, told):
    folder = images["folder"]
    (folder / "empty").mkdir(exist_ok=True)
    status, _, err = ask(capfd, *(argument.format(folder=folder) for argument in arguments))
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("error: ") and told.format(folder=folder) in err
