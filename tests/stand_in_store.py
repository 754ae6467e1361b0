"""A store for tests: files of this process' memory, reached by epath at s3:// as real ones are."""

from typing import ClassVar

import pytest
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Killed(BaseException):
    """Ends a process in the middle of what it does, as far as the store can see."""


class StandInStore(MemoryFileSystem):
    """Files by their addresses without `s3://`; each change may be the last one."""

    protocol = "s3"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    changes_left = None
    failure: Exception | None = None

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).rpartition("://")[2].strip("/")

    def _change(self):
        if StandInStore.failure:
            raise StandInStore.failure
        if StandInStore.changes_left is not None:
            if not StandInStore.changes_left:
                raise Killed
            StandInStore.changes_left -= 1

    def pipe_file(self, path, value, **kwargs):
        self._change()
        super().pipe_file(path, value, **kwargs)

    def put_file(self, lpath, rpath, **kwargs):
        self._change()
        super().put_file(lpath, rpath, **kwargs)

    def rm_file(self, path):
        if self._strip_protocol(path) not in self.store:
            raise FileNotFoundError(path)
        self._change()
        del self.store[self._strip_protocol(path)]


@pytest.fixture
def store(monkeypatch, tmp_path):
    """The stand-in for s3://, empty; copies of what it holds are in a folder of the test."""
    StandInStore.store.clear()
    StandInStore.changes_left = StandInStore.failure = None
    files = StandInStore(skip_instance_cache=True)
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: files)
    monkeypatch.setenv("ENAS_TF_REMOTE_CACHE", str(tmp_path / "cache"))
    return StandInStore


def texts(store, below=""):
    """The files in the store as texts, by their addresses without `s3://`."""
    found = {n: f.getvalue().decode(errors="replace") for n, f in store.store.items()}
    return {n.removeprefix(below): t for n, t in found.items() if n.startswith(below)}
