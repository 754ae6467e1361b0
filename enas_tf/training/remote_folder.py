"""A run in a store: worked on in a local folder, and pushed to the store as it goes on.

A store has no append, no rename and no lock, so that no file is written there directly. `push`
copies what has changed in an order in which no file is there before what it refers to, so that
whoever reads the run meanwhile, or after the process was killed, finds a whole one:

1. all files but those named below, such as a checkpoint's variables;
2. what makes a folder whole: a checkpoint's `state.json`, a version's `saved_model.pb`;
3. `result.json`, then `config.json`;
4. `.manifest.json`, which lists all files of the run, and then `done.json`;
5. then removes the files that the list no longer has, such as those of an older checkpoint.
"""

import fnmatch
import hashlib
import json
import platform
import sys
import time
import uuid
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from enas_tf.core.errors import UserError
from enas_tf.core.store_copies import cache_folder, get_all, remove_files, write_json
from enas_tf.core.stores import Store, StoreError, is_local_name, note
from enas_tf.training.run_folder import raise_write_errors
from enas_tf.training.store_lock import StoreLock
from enas_tf.training.trackers import Tracker

_MANIFEST, _STATE = ".manifest.json", ".remote.json"

# Those that make their folder whole, and then those that say what is there; in this order.
_WHOLE = ("state.json", "saved_model.pb")
_DONE = "done.json"
_LAST = (*_WHOLE, "result.json", "config.json", _DONE)

# What a process writes between two checkpoints or at its start, and what a resume writes again.
_WRITTEN_AGAIN = ("config.json", "*.jsonl", "*/events.out.tfevents.*", "events.out.tfevents.*")

# Files of this class and of locks; checkpoints that cannot be read, kept for a look at them.
_NOT_PUSHED = (".", "damaged_")

_NOTED_BYTES = 100 * 2**20


class RemoteFolder(Tracker):
    """A run's folder in a store, with the local folder in which the run is worked on.

    Of two copies that differ, the manifest's number says which is newer: the local folder
    remembers that of the manifest to which it was last equal. If the store still has that one, the
    local folder is the newer; if it has another, the store is, and a run that has gone on in the
    local folder too is refused.

    Args:
        url: the address of the run.
        folder: the local folder; None takes one in the cache.
        afresh: whether the run in the store is to be removed, as by `--overwrite`.
    """

    def __init__(self, url: str, folder: Path | None = None, afresh: bool = False) -> None:
        self.url = url.rstrip("/")
        self.folder = folder or cache_folder("runs", url)
        self._store = Store(url)
        self._afresh = afresh
        self._lock = StoreLock(self._store, self.folder)

    def fetch(self) -> None:
        """Makes the local folder equal to the store, unless the local one is newer.

        Raises:
            UserError: both have gone on by themselves, the store cannot be read, or the local
                folder cannot be written.
        """
        if self._afresh:
            return
        state, manifest = self._state(), self._manifest()
        if _is_known(manifest, state):
            return
        if manifest is None:
            raise UserError(
                f"{self.url} is gone, and {self.folder} holds its last copy: remove that folder to "
                f"start afresh, or only its file {_STATE} to push it again"
            )
        if not state["fetching"] and self._has_own_work(state["files"]):
            self._refuse_two_versions(manifest)
        with raise_write_errors(self.folder):
            self._get(manifest, state)

    def claim(self) -> None:
        """Takes the lock in the store, which is advisory, and fetches the run; then `push` may.

        Raises:
            UserError: another process holds it, or as for `fetch`.
        """
        self._lock.take()
        note(f"{self.url} is worked on in {self.folder} and pushed after each checkpoint")
        self.fetch()
        self._remove_leftovers()

    def clear(self) -> None:
        """Removes the run in the store and its local copy.

        The list of the files goes first, as it makes them a run.
        """
        manifest = self._manifest()
        self._store.remove(_MANIFEST)
        for name in _removal_order(manifest["files"] if manifest else ()):
            self._store.remove(name)
        self._afresh = False
        with raise_write_errors(self.folder):
            remove_files(self.folder, [*self._local_names(), _STATE])

    def saved(self, folder: Path) -> None:
        """Pushes a checkpoint."""
        self.push()

    def marked(self) -> None:
        """Pushes what a phase has made."""
        self.push()

    def of_part(self) -> "RemoteFolder":
        """Returns this one: what is in a folder of the run is pushed with it."""
        return self

    def push(self) -> StoreError | None:
        """Copies to the store what has changed; without a change, only looks for one.

        A store that fails is reported in a warning and returned, for the run is worth more than its
        copy; the next push makes up for it.

        Raises:
            UserError: another process has gone on with the run in the store.
        """
        try:
            self._push()
        except StoreError as error:
            print(
                f"warning: {error}; the run goes on in {self.folder}, and the next checkpoint is "
                "pushed with this one",
                file=sys.stderr,
                flush=True,
            )
            return error
        return None

    def push_or_fail(self) -> None:
        """Pushes, and raises UserError where the store fails."""
        error = self.push()
        if error:
            raise UserError(
                f"the run's last work is only in {self.folder}, not in {self.url}: {error}; the "
                "same command pushes it"
            ) from error

    def end(self, error: BaseException | None) -> None:
        """Pushes what has changed since the last push and frees the lock, if this process has it.

        Args:
            error: what ended the work, if anything did; then a failure to push is a warning.

        Raises:
            UserError: as of `push_or_fail`, if the work ended by itself.
        """
        if not self._lock.is_held:
            return
        try:
            if error is None:
                self.push_or_fail()
            # After Ctrl-C the process should end at once; the last checkpoint has been pushed.
            elif not isinstance(error, KeyboardInterrupt):
                with suppress(UserError):
                    self.push()
        finally:
            self._lock.release()

    def _push(self) -> None:
        state = self._state()
        files = self._scan(state["files"])
        known = state["files"]
        changed = [n for n, one in files.items() if one["sha256"] != known.get(n, {}).get("sha256")]
        removed = [name for name in known if name not in files]
        if not changed and not removed:
            return
        state["id"] = self._refuse_another(state)
        if state["id"] is None:
            # An empty list, so that what a killed process leaves is not taken for a whole run.
            self._write_list(state, {})
        self._report_if_long([files[name]["size"] for name in changed])
        replaced = _to_be_replaced(changed, known)
        for name in replaced:
            self._store.remove(name)
        for name in sorted({*changed, *replaced} & files.keys() - {_DONE}, key=_order):
            self._store.put(self.folder / name, name)
        self._write_list(state, files)
        if _DONE in changed:
            self._store.put(self.folder / _DONE, _DONE)
        self._write_state(state | {"files": files})
        for name in _removal_order(removed):
            self._store.remove(name)

    def _get(self, manifest: dict, state: dict) -> None:
        """Copies from the store what differs, and removes what it does not have."""
        own, theirs = self._scan(state["files"]), manifest["files"]
        wanted = [n for n, f in theirs.items() if n not in own or f["sha256"] != own[n]["sha256"]]
        # What a killed process leaves is no work of this folder.
        self._write_state(state | {"fetching": True})
        note(f"copying {len(wanted):,} of {len(theirs):,} files from {self.url} to {self.folder}")
        remove_files(self.folder, own.keys() - theirs.keys())
        got = get_all(self._store, wanted, self.folder)
        # A file that is listed and gone was being replaced when a process was killed.
        remove_files(self.folder, [name for name, is_there in got if not is_there])
        files = self._scan({})
        self._write_state({"id": manifest["id"], "next": None, "fetching": False, "files": files})

    def _scan(self, known: dict[str, dict]) -> dict[str, dict]:
        """Lists the local files; reads only those that are not as they were."""
        files = {}
        for name in self._local_names():
            stat = (self.folder / name).stat()
            one = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            if not one.items() <= known.get(name, {}).items():
                one["sha256"] = _sha256(self.folder / name)
            files[name] = known.get(name, {}) | one
        return files

    def _local_names(self) -> list[str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        return [name for name in names if all(map(is_pushed, name.split("/")))]

    def _has_own_work(self, known: dict[str, dict]) -> bool:
        """Returns whether the local folder has more than a resume would write again."""
        return any(
            one["sha256"] != known.get(name, {}).get("sha256")
            for name, one in self._scan(known).items()
            if not any(fnmatch.fnmatch(name, pattern) for pattern in _WRITTEN_AGAIN)
        )

    def _remove_leftovers(self) -> None:
        """Removes checkpoints in the store that no list has, left by a killed process."""
        listed = (self._manifest() or {"files": {}})["files"]
        for name in _removal_order(self._store.list().keys() - listed.keys()):
            if "checkpoints" in name.split("/"):
                self._store.remove(name)

    def _state(self) -> dict[str, Any]:
        path = self.folder / _STATE
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        return {"id": None, "next": None, "fetching": False, "files": {}}

    def _write_state(self, state: dict) -> None:
        with raise_write_errors(self.folder):
            write_json(self.folder / _STATE, state)

    def _manifest(self) -> dict | None:
        """Returns the list of the run's files; makes one for a run that was copied there."""
        manifest = self._read_json(_MANIFEST)
        if manifest is None and self._store.read("config.json") is not None:
            names = [n for n in self._store.list() if all(map(is_pushed, n.split("/")))]
            files = {name: {"size": None, "sha256": None} for name in names}
            return {"id": "listed", "machine": "unknown", "time": time.time(), "files": files}
        if manifest and not all(map(is_local_name, manifest["files"])):
            raise UserError(f"{self.url}/{_MANIFEST} is not a run's; use another --workdir")
        return manifest

    def _write_list(self, state: dict, files: dict[str, dict]) -> None:
        """Writes the list of the run's files to the store; the state then has its number."""
        # Known before the store has it: a process that is killed between knows its own list again.
        state["next"] = uuid.uuid4().hex
        self._write_state(state)
        listed = {n: {"size": f["size"], "sha256": f["sha256"]} for n, f in files.items()}
        manifest = {"id": state["next"], "machine": platform.node(), "time": time.time()}
        self._store.write(_MANIFEST, json.dumps(manifest | {"files": listed}, indent=1).encode())
        state |= {"id": state["next"], "next": None, "fetching": False}

    def _read_json(self, name: str) -> Any:
        content = self._store.read(name)
        try:
            return None if content is None else json.loads(content)
        except ValueError as error:
            raise UserError(f"{self.url}/{name} is not JSON ({error}); remove it") from error

    def _refuse_another(self, state: dict) -> str | None:
        """Refuses what another process has written; returns the number of the store's manifest."""
        manifest = self._manifest()
        if self._lock.is_held:
            self._lock.check()
        if not _is_known(manifest, state):
            self._refuse_two_versions(manifest)
        return manifest and manifest["id"]

    def _refuse_two_versions(self, manifest: dict | None) -> None:
        now = "is gone" if manifest is None else f"has newer work of {_when(manifest)}"
        raise UserError(
            f"{self.url} {now}, and {self.folder} has work that was never pushed: remove or move "
            "that folder to go on from the store, or use another --workdir"
        )

    def _report_if_long(self, sizes: list[int]) -> None:
        if sum(sizes) > _NOTED_BYTES:
            note(f"pushing {len(sizes)} files, {sum(sizes) / 2**20:,.0f} MiB, to {self.url}")


def is_pushed(name: str) -> bool:
    """Returns whether files or folders of a name are pushed."""
    return not name.startswith(_NOT_PUSHED)


def _is_known(manifest: dict | None, state: dict) -> bool:
    """Returns whether a manifest of the store is one that the local folder has been equal to."""
    found = manifest["id"] if manifest else None
    return found in (state["id"], state["next"] or state["id"])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _order(name: str) -> tuple[int, str]:
    """Places a file among those to be pushed: none comes before what it refers to."""
    last = name.rpartition("/")[2]
    return (1 + _LAST.index(last) if last in _LAST else 0, name)


def _removal_order(names: Iterable[str]) -> list[str]:
    """Sorts files to be removed: what refers to others goes first."""
    return sorted(names, key=_order, reverse=True)


def _to_be_replaced(changed: Collection[str], known: Iterable[str]) -> list[str]:
    """Returns what makes those folders whole whose other files are replaced in the store."""
    replaced = [name for name in changed if name in known]

    def is_replaced(maker: str) -> bool:
        home = maker.rpartition("/")[0] + "/"
        return any(name.startswith(home) and name != maker for name in replaced)

    makers = {name for name in known if name.rpartition("/")[2] in _WHOLE and is_replaced(name)}
    # A killed process may have pushed a version of this number before its list.
    return sorted(makers | {name for name in changed if name.endswith("saved_model.pb")})


def _when(record: dict) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"]))
    return f"{record['machine']}, {when}"
