"""Local copies of what is in stores."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from enas_tf.core.errors import UserError
from enas_tf.core.stores import AT_ONCE, Store, is_remote, note

CACHE = "ENAS_TF_REMOTE_CACHE"
"""The environment variable that names the folder for local copies."""

_SECONDS_BETWEEN_NOTES = 10
_RECORD = ".fetched.json"


def cache_folder(kind: str, url: str) -> Path:
    """Returns the local folder for what is at an address; creates nothing.

    Args:
        kind: what it is for, `runs` or `data`.
        url: the address.
    """
    root = Path(os.environ.get(CACHE) or Path.home() / ".cache/enas_tf/remote").expanduser()
    url = url.rstrip("/")
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return root.absolute() / kind / digest / url.rpartition("/")[2]


def get_all(store: Store, names: Iterable[str], folder: Path) -> Iterator[tuple[str, bool]]:
    """Copies files from a store, several at once, and says how it goes where it takes long.

    Yields:
        The name of each file that has been dealt with, and whether it was in the store.
    """
    names, start = [*names], time.monotonic()
    noted = start
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {pool.submit(store.get, name, folder / name): name for name in names}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                yield jobs[job], job.result()
                now = time.monotonic()
                if now - noted > _SECONDS_BETWEEN_NOTES and done < len(names):
                    left = (now - start) / done * (len(names) - done)
                    note(f"{store.url}: {done:,} of {len(names):,} files, {left:,.0f} s left")
                    noted = now
        finally:
            pool.shutdown(cancel_futures=True)


def local_folder(path: str | Path, only: Collection[str] | None = None) -> Path:
    """Returns the local folder for a path of a user; of one in a store a copy, made by now.

    Args:
        path: the path, which may begin with `~`, or the address of a store.
        only: the names of the files to copy from a store; None copies all.

    Raises:
        UserError: as of `local_copy`.
    """
    if is_remote(path):
        return local_copy(str(path), lambda name: only is None or name in only)
    return Path(path).expanduser()


def local_copy(url: str, only: Callable[[str], bool] = lambda name: True) -> Path:
    """Copies the files at an address into the cache; files that are there already are used again.

    Args:
        url: the address of a folder.
        only: which files to copy, by their names there.

    Returns:
        The local folder that holds them.

    Raises:
        UserError: there are none, they cannot be read, or the cache cannot be written.
    """
    store, folder = Store(url), cache_folder("data", url)
    found = {name: signature for name, signature in store.list().items() if only(name)}
    if not found:
        raise UserError(f"{url} does not exist or has no such files; check the address")
    record = folder / _RECORD
    known = json.loads(record.read_text("utf-8")) if record.exists() else {}
    missing = [n for n, s in found.items() if known.get(n) != s or not (folder / n).exists()]
    try:
        remove_files(folder, (name for name in known if only(name) and name not in found))
        known = {n: s for n, s in known.items() if n in found or not only(n)}
        if missing:
            note(f"copying {len(missing):,} files from {url} to {folder}")
            _copy(store, missing, folder, known, found)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror}); make room there, or name another folder by "
            f"the environment variable {CACHE}"
        ) from error
    return folder


def _copy(
    store: Store,
    names: Iterable[str],
    folder: Path,
    known: dict[str, str],
    found: Mapping[str, str],
) -> None:
    """Copies files, and records in the folder which ones it has."""
    saved = time.monotonic()
    try:
        for name, _ in get_all(store, names, folder):
            known[name] = found[name]
            # Now and then, so that a killed process does not have to begin anew.
            if time.monotonic() - saved > _SECONDS_BETWEEN_NOTES:
                write_json(folder / _RECORD, known)
                saved = time.monotonic()
    finally:
        write_json(folder / _RECORD, known)


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Removes local files, and folders that are empty then."""
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        with suppress(OSError):
            while path.parent != folder:
                path = path.parent
                path.rmdir()


def write_json(path: Path, value: Any) -> None:
    """Writes a local file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.replace(path)
