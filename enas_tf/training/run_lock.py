"""The lock of a run's folder, which one process at a time may write."""

import functools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import filelock

from enas_tf.core.errors import UserError
from enas_tf.training.run_folder import raise_write_errors

_LOCK, _OWNER = ".lock", ".lock.json"

Result = TypeVar("Result")


class RunLock:
    """Keeps other processes from writing a run's folder while this one does.

    A context within which the folder may be written; contexts may be nested. It is locked from the
    first write on. The operating system frees the lock of a process that has ended, however it
    ended; over NFS, so does the server. Where a file system has no locks, the file's existence is
    the lock, and what a dead process of the same machine has left is taken over. `.lock.json` says
    who holds it.

    Args:
        folder: of the run; need not exist.
        at_start: called as soon as the folder is locked.
        at_end: called at the end of the outermost context, before the lock is freed, with the error
            that ends it, if any.
    """

    def __init__(
        self,
        folder: Path,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[BaseException | None], None] = lambda error: None,
    ) -> None:
        self._folder = folder
        self._at_start = at_start
        self._at_end = at_end
        self._lock = filelock.FileLock(folder / _LOCK, timeout=0, thread_local=False)
        self._contexts = 0

    def __enter__(self) -> None:
        self._contexts += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._contexts -= 1
        if not self._contexts:
            try:
                self._at_end(error)
            finally:
                self._lock.release()

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock.is_locked

    def before_a_write(self) -> None:
        """Makes the folder and locks it, within a context; outside of all, does nothing.

        Raises:
            UserError: another process has locked it, or the folder cannot be written.
        """
        if not self._contexts or self._lock.is_locked:
            return
        with raise_write_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout as error:
                raise UserError(
                    f"{self._folder} is in use by {self._owner()}; wait until it has ended, or use "
                    "another --workdir"
                ) from error
            owner = {"process": os.getpid(), "machine": platform.node(), "since": time.time()}
            (self._folder / _OWNER).write_text(json.dumps(owner) + "\n", encoding="utf-8")
        self._at_start()

    def _owner(self) -> str:
        """Returns who holds the lock, in words."""
        try:
            owner = json.loads((self._folder / _OWNER).read_text(encoding="utf-8"))
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
            return f"process {owner['process']} on {owner['machine']}, since {since}"
        except (OSError, ValueError, KeyError):
            # It has taken the lock just now, or its file cannot be read.
            return "another process"


def locked(method: Callable[..., Result]) -> Callable[..., Result]:
    """Makes a method, of an object with a `lock`, a context of this lock."""

    @functools.wraps(method)
    def in_context(self: Any, *args: Any, **kwargs: Any) -> Result:
        with self.lock:
            return method(self, *args, **kwargs)

    return in_context
