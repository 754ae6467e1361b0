"""Object stores, `gs://` and `s3://`, whose files are read and written through `etils.epath`.

TensorFlow itself reads and writes `gs://`; for `s3://`, which it lacks, there is s3fs. A store has
no rename, no append and no lock: a file is there whole or not at all, and that is all that is used.
Nothing is imported before the first address of a store is used.
"""

import errno
import importlib
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from enas_tf.core.errors import UserError, one_line

AT_ONCE = 16
"""Transfers of small files at once: they wait for the network most of the time."""


class StoreError(UserError):
    """Raised where a store cannot be reached, read or written."""


class _Files(ABC):
    """What a store can do, by full addresses; each raises errors of its own kinds."""

    backend: ClassVar[str]

    def __init__(self) -> None:
        self._backend = getattr(importlib.import_module("etils.epath.backend"), self.backend)

    def read(self, url: str) -> bytes:
        with self._backend.open(url, "rb") as file:
            return file.read()

    @abstractmethod
    def write(self, url: str, content: bytes) -> None: ...

    @abstractmethod
    def get(self, url: str, path: str) -> None: ...

    @abstractmethod
    def put(self, path: str, url: str) -> None: ...

    @abstractmethod
    def remove(self, url: str) -> None: ...

    @abstractmethod
    def list(self, url: str) -> dict[str, str]:
        """Returns all files below an address: their names there, and what a change changes."""


class _TensorFlowFiles(_Files):
    """The stores that TensorFlow reads and writes itself."""

    backend = "tf_backend"

    def write(self, url: str, content: bytes) -> None:
        with self._backend.open(url, "wb") as file:
            file.write(content)

    def get(self, url: str, path: str) -> None:
        try:
            self._backend.gfile.copy(url, path, overwrite=True)
        except self._backend.tf.errors.NotFoundError as error:
            raise FileNotFoundError(url) from error

    def put(self, path: str, url: str) -> None:
        self._backend.gfile.copy(path, url, overwrite=True)

    def remove(self, url: str) -> None:
        self._backend.remove(url)

    def list(self, url: str) -> dict[str, str]:
        names = [
            f"{folder.rstrip('/')}/{name}"[len(url) + 1 :]
            for folder, _, files in self._backend.walk(url)
            for name in files
        ]

        def signature(name: str) -> str:
            found = self._backend.stat(f"{url}/{name}")
            return f"{found.length} {found.mtime}"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(names, pool.map(signature, names), strict=True))


class _FsspecFiles(_Files):
    """The stores for which fsspec has a package."""

    backend = "fsspec_backend"

    def write(self, url: str, content: bytes) -> None:
        self._backend.fs(url).pipe_file(url, content)

    def get(self, url: str, path: str) -> None:
        self._backend.fs(url).get_file(url, path)

    def put(self, path: str, url: str) -> None:
        self._backend.fs(url).put_file(path, url)

    def remove(self, url: str) -> None:
        self._backend.fs(url).rm_file(url)

    def list(self, url: str) -> dict[str, str]:
        files = self._backend.fs(url)
        # A kept listing would hide what others write.
        files.invalidate_cache()
        found = files.find(url, detail=True)
        files.invalidate_cache()
        # By addresses without `s3://`.
        start = len(files._strip_protocol(url)) + 1
        return {
            path[start:]: f"{info['size']} {info.get('ETag', info.get('created'))}"
            for path, info in found.items()
        }


_FILES: dict[str, Callable[[], _Files]] = {"gs": _TensorFlowFiles, "s3": _FsspecFiles}


def is_remote(path: object) -> bool:
    """Returns whether a path is the address of a store.

    Raises:
        UserError: it is one of a store that is not known.
    """
    scheme = re.match(r"(\w+)://", str(path))
    if scheme and scheme[1] not in _FILES:
        known = " and ".join(f"{name}://" for name in _FILES)
        raise UserError(f"{path}: stores can be {known}; give one of them, or a local path")
    return scheme is not None


class Store:
    """The files below an address.

    Names of files are relative to the address. All methods raise `StoreError`, with one line that
    says why, if the store cannot be reached, read or written, or its package is missing.

    Args:
        url: the address, such as `gs://bucket/runs/mine`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def _files(self) -> _Files:
        return _FILES[self.url.partition("://")[0]]()

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none of this name."""
        with self._reporting("read", name) as url, suppress(FileNotFoundError):
            return self._files.read(url)
        return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        with self._reporting("written", name) as url:
            self._files.write(url, content)

    def get(self, name: str, path: Path) -> bool:
        """Copies a file to a local path, whole or not at all; returns whether there is such a file.

        Folders of the local path are made.

        Raises:
            OSError: the local disk is full.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with self._reporting("read", name) as url, suppress(FileNotFoundError):
                self._files.get(url, str(aside))
                aside.replace(path)
                return True
        finally:
            aside.unlink(missing_ok=True)
        return False

    def put(self, path: Path, name: str) -> None:
        """Copies a local file to the store."""
        with self._reporting("written", name) as url:
            self._files.put(str(path), url)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with self._reporting("removed", name) as url, suppress(FileNotFoundError):
            self._files.remove(url)

    def list(self) -> dict[str, str]:
        """Returns the names of all files, each with a text that is another once the file is."""
        with self._reporting("listed") as url, suppress(FileNotFoundError):
            return {n: s for n, s in self._files.list(url).items() if is_local_name(n)}
        return {}

    @contextmanager
    def _reporting(self, done: str, name: str = "") -> Iterator[str]:
        """Gives a file's address, and raises StoreError for what goes wrong there."""
        url = f"{self.url}/{name}".rstrip("/")
        try:
            yield url
        except ImportError as error:
            raise StoreError(
                f"{self.url} needs a package that is not there ({one_line(error)}); install it: "
                "pip install 'enas_tf[s3]'"
            ) from error
        # Each store, and each version of its package, has errors of its own.
        except Exception as error:
            # It is the disk here that is full.
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"{url} cannot be {done} ({one_line(error)}); check the address, the credentials "
                "and the network"
            ) from error


def is_local_name(name: str) -> bool:
    """Returns whether a name in a store can be that of a file below a local folder.

    A store's names are any text; one with `..` would be a file elsewhere.
    """
    parts = name.split("/")
    return bool(name) and not {"", ".", ".."} & {*parts} and "\0" not in name


def read_text(url: str) -> str:
    """Returns the text of a file in a store.

    Raises:
        UserError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    folder, _, name = url.rpartition("/")
    content = Store(folder).read(name)
    if content is None:
        raise UserError(f"{url} does not exist; check the address")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{url} is not UTF-8 text ({error.reason}); convert it") from error


def note(text: str) -> None:
    """Prints a line on standard error: some verbs print nothing but JSON on standard output."""
    print(f"note: {text}", file=sys.stderr, flush=True)
