"""Labels image files and scores text with a running server; does not import TensorFlow."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.data.image_files import FILE_TYPES, is_hidden, upright_bytes
from enas_tf.serving.base import Client, RefusedError

# In seconds; sockets hold a timeout as milliseconds in 31 bits.
_LONGEST_TIMEOUT = 1_000_000


@dataclass(frozen=True)
class PredictConfig:
    """Which server to ask, and how."""

    model: str | None = option(None, "required: name of the model, that of the export's folder")
    server: str | None = option(
        None, "the server's HOST:PORT; none: localhost:8501, with --grpc localhost:8500"
    )
    grpc: bool = option(
        False, "ask by gRPC, which sends bytes as they are; else by REST, which starts faster"
    )
    text: bool = option(
        False, "score lines of text, of the files given or else of standard input, not images"
    )
    batch_size: int = option(64, "files or lines in a request; a server sets a limit, ours 128")
    timeout: float = option(60.0, "seconds to wait for each answer")

    def __post_init__(self) -> None:
        """Raises UserError if a value is out of range or the address is malformed."""
        if self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 < self.timeout <= _LONGEST_TIMEOUT:
            raise UserError(
                f"timeout must be above 0 and at most {_LONGEST_TIMEOUT} seconds, got "
                f"{self.timeout}"
            )
        host, _, port = self.address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise UserError(f"server must be HOST:PORT, such as localhost:8501, got {self.server}")

    @property
    def address(self) -> str:
        """The server's address, `host:port`."""
        return self.server or ("localhost:8500" if self.grpc else "localhost:8501")


class Label(NamedTuple):
    """The most likely label of an image file."""

    file: str
    label: str
    probability: float


class Unlabelled(NamedTuple):
    """An image file that has no label, and why."""

    file: str
    reason: str


class Score(NamedTuple):
    """The score of a line of text by a language model; the end of the line is a token too."""

    text: str
    perplexity: float
    num_tokens: int


def label_images(
    client: Client, paths: Sequence[str], batch_size: int
) -> Iterator[Label | Unlabelled]:
    """Labels image files, batch by batch; a file that cannot be labelled leaves the others theirs.

    Args:
        client: a client of a server with an image classifier.
        paths: image files, and folders, which stand for all image files below them that are not
            hidden; photos are turned upright by their EXIF data.
        batch_size: the number of files in a request.

    Raises:
        UserError: if a folder has no image files, the server does not respond, or its model is of
            another kind.
    """
    files, ask = iter(_image_files(paths)), _AskForLabels(client)
    while batch := list(islice(files, batch_size)):
        contents = [_content(file) for file in batch]
        answers = iter(_ask_each(ask, [one for one in contents if isinstance(one, bytes)]))
        for file, content in zip(map(str, batch), contents, strict=True):
            found = next(answers) if isinstance(content, bytes) else {"error": content}
            if found.get("error"):
                yield Unlabelled(file, found["error"])
            else:
                yield Label(file, found["label"], max(found["probabilities"]))


class _AskForLabels:
    """Asks for the labels of images, file by file where the export has that signature."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._signature = "serve_bytes_each"

    def __call__(self, values: Sequence[bytes]) -> list[dict[str, Any]]:
        try:
            return self._client.predict(self._signature, "image_bytes", values)
        except UserError as error:
            if not re.search("signature.* not found", str(error), re.IGNORECASE):
                raise
            if self._signature == "serve_bytes":
                raise UserError(f"the model labels no image files: {error}") from error
        # Exports of earlier versions have this one alone.
        self._signature = "serve_bytes"
        return self(values)


def _ask_each(ask: Callable, values: Sequence[bytes]) -> list[dict[str, Any]]:
    """Returns the result of each value; one by one, with errors, where the server refuses all."""
    if not values:
        return []
    try:
        return ask(values)
    except RefusedError as error:
        if len(values) == 1:
            return [{"error": str(error)}]
        return [result for value in values for result in _ask_each(ask, [value])]


def _content(file: Path) -> bytes | str:
    """Returns the content of an image file, or the reason why it cannot be read."""
    try:
        return upright_bytes(file)
    except OSError as error:
        return error.strerror or str(error)


def score_lines(client: Client, lines: Iterator[str], batch_size: int) -> Iterator[Score]:
    """Scores lines of text, batch by batch; skips empty lines.

    Args:
        client: a client of a server with a language model.
        lines: lines of words separated by white space, as in the training text.
        batch_size: the number of lines in a request.

    Raises:
        UserError: if the server does not respond, or its model is of another kind.
    """
    texts = (" ".join(line.split()) for line in lines)

    def ask(values: Sequence[str]) -> list[dict[str, Any]]:
        return client.predict("score_text", "text", values)

    texts = filter(None, texts)
    while batch := list(islice(texts, batch_size)):
        try:
            results = ask(batch)
        except RefusedError:
            # A server rejects a batch as a whole; one by one, the error can name the invalid line.
            results = (_ask_for_one(ask, text) for text in batch)
        for text, result in zip(batch, results, strict=True):
            yield Score(text, result["perplexity"], result["num_tokens"])


def read_lines(paths: Sequence[str]) -> Iterator[str]:
    """Yields the lines of text files in turn, or of standard input if no files are given.

    Raises:
        UserError: if a file cannot be read, or its text is not UTF-8.
    """
    for path in paths:
        yield from _decoded(_read(Path(path)).splitlines(), path)
    if not paths:
        yield from _decoded(sys.stdin.buffer, "standard input")


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    try:
        for number, line in enumerate(lines):
            # Some editors write a byte order mark.
            yield line.decode("utf-8" if number else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text in UTF-8; leave out --text for images") from error


def _ask_for_one(ask: Callable, text: str) -> dict[str, Any]:
    try:
        return ask([text])[0]
    except RefusedError as error:
        raise UserError(f"the server refuses {text}: {error}") from error


def _image_files(paths: Sequence[str]) -> list[Path]:
    files = []
    for path in map(Path, paths):
        found = [path]
        if path.is_dir():
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in FILE_TYPES
                and not any(map(is_hidden, (file, *file.relative_to(path).parents)))
            )
        if not found:
            raise UserError(f"{path} holds no files named *{', *'.join(FILE_TYPES)}")
        files += found
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
