"""The lock of a run in a store, which one process at a time may write."""

import json
import os
import platform
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store, StoreError

_LOCK = ".owner.json"
_BEAT_SECONDS = 60
_DEAD_SECONDS = 300
_SECONDS_TO_WAIT = 10


class StoreLock:
    """A file in the store that says who works on the run, renewed every minute while it is held.

    It is advisory, since a store cannot create a file on the condition that there is none: of two
    processes that take it at once, the one whose file is there a moment later has it.

    Args:
        store: the run in the store.
        folder: the local folder in which the run is worked on, whose own lock is held.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._owner: str | None = None

    @property
    def is_held(self) -> bool:
        """Returns whether this process has taken the lock and not released it."""
        return self._owner is not None

    def take(self) -> None:
        """Takes the lock, also that of a process that has ended.

        Raises:
            UserError: another process has it, or the store fails.
        """
        owner = self._other_owner()
        if owner and not self._is_dead(owner):
            self._refuse(owner)
        self._owner = uuid.uuid4().hex
        try:
            self._write()
            self.check()
        except UserError:
            self._owner = None
            raise
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._keep_beating, daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Raises UserError if another process has taken the lock."""
        owner = self._other_owner()
        if owner:
            self._refuse(owner)

    def release(self) -> None:
        """Frees the lock, if this process still has it."""
        self._ended.set()
        # Or it might write the lock once more after it was removed.
        self._beating.join(_SECONDS_TO_WAIT)
        try:
            if not self._other_owner():
                self._store.remove(_LOCK)
        except StoreError as error:
            print(f"warning: {error}; the lock is free later", file=sys.stderr, flush=True)
        self._owner = None

    def _keep_beating(self) -> None:
        """Renews the lock, by whose time others see that this process lives, until it is lost."""
        while not self._ended.wait(_BEAT_SECONDS):
            # The next push reports a store that fails, or of another owner.
            with suppress(UserError):
                if self._other_owner():
                    return
                self._write()

    def _write(self) -> None:
        owner = {"owner": self._owner, "machine": platform.node(), "process": os.getpid()}
        owner |= {"folder": str(self._folder), "time": time.time()}
        self._store.write(_LOCK, json.dumps(owner).encode())

    def _other_owner(self) -> dict | None:
        content = self._store.read(_LOCK)
        try:
            owner = json.loads(content or "null")
        except ValueError as error:
            raise UserError(f"{self._store.url}/{_LOCK} is not JSON; remove it") from error
        return owner if owner and owner["owner"] != self._owner else None

    def _is_dead(self, owner: dict) -> bool:
        # This process has the lock of the local folder, so that the other one has ended.
        same = owner["machine"] == platform.node() and owner["folder"] == str(self._folder)
        return same or time.time() - owner["time"] > _DEAD_SECONDS

    def _refuse(self, owner: dict) -> None:
        seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["time"]))
        raise UserError(
            f"{self._store.url} is in use by process {owner['process']} on {owner['machine']}, "
            f"last seen {seen}; wait until it has ended (a dead one's lock is free after "
            f"{_DEAD_SECONDS // 60} minutes), or use another --workdir"
        )
