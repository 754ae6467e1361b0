"""Labels image files and scores text with a running server; does not import TensorFlow."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.data.image_files import FILE_TYPES, is_hidden, upright_bytes
from enas_tf.serving.base import Client, RefusedError

# In seconds; sockets hold a timeout as milliseconds in 31 bits.
_LONGEST_TIMEOUT = 1_000_000

Item = TypeVar("Item")


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


class Score(NamedTuple):
    """The score of a line of text by a language model; the end of the line is a token too."""

    text: str
    perplexity: float
    num_tokens: int


def label_images(client: Client, paths: Sequence[str], batch_size: int) -> Iterator[Label]:
    """Labels image files, batch by batch.

    Args:
        client: a client of a server with an image classifier.
        paths: image files, and folders, which stand for all image files below them that are not
            hidden; photos are turned upright by their EXIF data.
        batch_size: the number of files in a request.

    Raises:
        UserError: if a file cannot be read or is not an image, the server does not respond, or its
            model is of another kind.
    """
    images = ((str(path), _read(path, upright_bytes)) for path in _image_files(paths))

    def ask(values: Sequence[bytes]) -> list[dict[str, Any]]:
        return client.predict("serve_bytes", "image_bytes", values)

    for name, result in _in_batches(ask, images, batch_size):
        yield Label(name, result["label"], max(result["probabilities"]))


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

    for text, result in _in_batches(ask, ((text, text) for text in texts if text), batch_size):
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
        for line in lines:
            yield line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text in UTF-8; leave out --text for images") from error


def _in_batches(
    ask: Callable[[Sequence[Item]], list[dict[str, Any]]],
    items: Iterator[tuple[str, Item]],
    batch_size: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and the result of each item.

    A server rejects a batch as a whole. The items of a rejected batch are sent again one by one, so
    that the error can name the invalid item.
    """
    while batch := list(islice(items, batch_size)):
        names, values = zip(*batch, strict=True)
        try:
            yield from zip(names, ask(values), strict=True)
        except RefusedError:
            for name, value in batch:
                yield name, _ask_for_one(ask, name, value)


def _ask_for_one(ask: Callable, name: str, value: Item) -> dict[str, Any]:
    try:
        return ask([value])[0]
    except RefusedError as error:
        raise UserError(f"the server refuses {name}: {error}") from error


def _image_files(paths: Sequence[str]) -> list[Path]:
    files = []
    for path in map(Path, paths):
        found = [path]
        if path.is_dir():
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in FILE_TYPES and not is_hidden(file)
            )
        if not found:
            raise UserError(f"{path} holds no files named *{', *'.join(FILE_TYPES)}")
        files += found
    return files


def _read(path: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
