import errno

import pytest
import tensorflow as tf

from enas_tf.core import stores
from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store, StoreError, is_local_name, is_remote, read_text
from tests.stand_in_store import store, texts

__all__ = ["store"]


@pytest.fixture(params=["s3://bucket/run", "ram://bucket/run"])
def address(request, store, monkeypatch):
    """An address of a store that fsspec reads, and of one that TensorFlow reads."""
    monkeypatch.setitem(stores._FILES, "ram", stores._TensorFlowFiles)
    # Unlike a store, it lists files only in folders that were made.
    tf.io.gfile.makedirs("ram://bucket/run/x")
    return request.param


def test_files_are_written_listed_read_and_removed(address, tmp_path):
    one, local = Store(address + "/"), tmp_path / "a" / "b.txt"
    assert one.read("x/y.txt") is None and one.list() == {}
    one.write("x/y.txt", b"first")
    first = one.list()
    # TensorFlow's ram:// would append.
    one.remove("x/y.txt")
    one.write("x/y.txt", b"and second")
    assert list(first) == ["x/y.txt"] and one.list() != first
    assert one.read("x/y.txt") == b"and second"
    assert one.get("x/y.txt", local) and local.read_bytes() == b"and second"
    one.put(local, "z.bin")
    assert one.list().keys() == {"x/y.txt", "z.bin"}
    assert one.read("z.bin") == b"and second"
    assert not one.get("none", tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    for name in ("x/y.txt", "z.bin", "none"):
        one.remove(name)
    assert one.list() == {}


def test_errors_of_all_kinds_are_one_line_that_names_the_address(store):
    store.failure = PermissionError("Access Denied\nsecond line")
    with pytest.raises(StoreError, match=r"s3://b/run/x cannot be written \(Access Denied\)") as e:
        Store("s3://b/run").write("x", b"")
    assert "\n" not in str(e.value)


def test_a_full_disk_here_is_no_error_of_the_store(store, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "get_file", full)
    Store("s3://b/run").write("x", b"1")
    with pytest.raises(OSError, match="No space left") as e:
        Store("s3://b/run").get("x", tmp_path / "x")
    assert not isinstance(e.value, StoreError) and not list(tmp_path.iterdir())


def test_a_missing_package_is_named(store, monkeypatch):
    def missing():
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setitem(stores._FILES, "s3", missing)
    with pytest.raises(StoreError, match=r"Install s3fs.*pip install 'enas_tf\[s3\]'"):
        Store("s3://b/run").read("x")


def test_known_stores_are_told_from_paths_and_from_unknown_ones():
    assert is_remote("gs://b/run") and is_remote("s3://b")
    assert not any(map(is_remote, ("runs/mine", "/runs", "0 1 2", '{"a": "x://y"}')))
    with pytest.raises(UserError, match="hdfs://x: stores can be gs:// and s3://"):
        is_remote("hdfs://x")


@pytest.mark.parametrize("name", ["", "../x", "a/../x", "/etc/x", "a//b", "a/", "./x"])
def test_names_that_would_be_elsewhere_are_no_files_of_a_folder(name):
    assert not is_local_name(name)
    assert is_local_name("a/b..c/.d")


def test_text_is_read_from_an_address(store):
    Store("s3://b").write("arc.txt", "\ufeff0 1\n".encode())
    Store("s3://b").write("latin.txt", b"\xe9")
    assert texts(store).keys() == {"/b/arc.txt", "/b/latin.txt"}
    assert read_text("s3://b/arc.txt") == "0 1\n"
    with pytest.raises(UserError, match=r"s3://b/no\.txt does not exist"):
        read_text("s3://b/no.txt")
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        read_text("s3://b/latin.txt")
