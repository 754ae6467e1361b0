import json
import time

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store
from enas_tf.training import store_lock
from enas_tf.training.store_lock import StoreLock
from tests.stand_in_store import store, texts

__all__ = ["store"]

URL = "s3://bucket/runs/mine"
FILE = "/bucket/runs/mine/.owner.json"


@pytest.fixture
def two(store, tmp_path):
    """The locks of two machines."""
    return [StoreLock(Store(URL), tmp_path / name) for name in ("one", "other")]


def write(store, **changed):
    owner = json.loads(texts(store)[FILE]) | changed
    store().pipe_file(FILE, json.dumps(owner).encode())


def test_one_process_at_a_time_holds_the_lock(two, store):
    one, other = two
    one.take()
    with pytest.raises(UserError, match=f"{URL} is in use by process .*free after 5 minutes"):
        other.take()
    assert one.is_held and not other.is_held
    one.release()
    assert FILE not in texts(store)
    other.take()
    other.release()


def test_a_dead_owners_lock_is_taken_over_and_the_owner_notices(two, store):
    one, other = two
    one.take()
    # A process that starts in the same folder has its local lock: the owner has ended.
    again = StoreLock(Store(URL), one._folder)
    again.take()
    write(store, time=time.time() - 301)
    other.take()
    with pytest.raises(UserError, match="is in use by"):
        again.check()
    again.release()
    assert FILE in texts(store)
    other.release()
    assert FILE not in texts(store)


def test_of_two_that_take_it_at_once_the_last_one_has_it(two, store, monkeypatch):
    one, _ = two
    write_own = StoreLock._write

    def overtaken(self):
        write_own(self)
        write(store, owner="another")

    monkeypatch.setattr(StoreLock, "_write", overtaken)
    with pytest.raises(UserError, match="is in use by"):
        one.take()
    assert not one.is_held


def test_the_lock_is_renewed_until_another_has_it(two, store, monkeypatch):
    monkeypatch.setattr(store_lock, "_BEAT_SECONDS", 0.01)
    one, _ = two
    one.take()
    first = texts(store)[FILE]
    for _ in range(500):
        if texts(store)[FILE] != first:
            break
        time.sleep(0.01)
    assert json.loads(texts(store)[FILE])["time"] > json.loads(first)["time"]
    while one._beating.is_alive():  # it may have been in the middle of renewing it
        write(store, owner="another")
        one._beating.join(0.1)
    one.release()
    assert json.loads(texts(store)[FILE])["owner"] == "another"
