import pytest

from enas_tf.core import store_copies
from enas_tf.core.errors import UserError
from enas_tf.core.store_copies import cache_folder, local_copy, local_folder
from enas_tf.core.stores import Store
from tests.stand_in_store import store

__all__ = ["store"]

URL = "s3://bucket/photos"


def contents(folder):
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.startswith(".")}


@pytest.fixture
def photos(store):
    photos = Store(URL)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        photos.write(name, name.encode())
    return photos


@pytest.fixture
def got(monkeypatch):
    """The names of the files that are got from stores."""
    names, get = [], Store.get

    def noted(self, name, path):
        names.append(name)
        return get(self, name, path)

    monkeypatch.setattr(Store, "get", noted)
    return names


def test_only_what_differs_is_copied_and_what_is_gone_is_removed(photos, got, capsys):
    folder = local_copy(URL)
    assert folder.name == "photos" and sorted(got) == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert contents(folder) == {name: name for name in got}
    assert f"copying 3 files from {URL} to {folder}" in capsys.readouterr().err
    got.clear()
    photos.write("cat/2.png", b"cat/3.png")
    photos.remove("dog/1.png")
    assert local_copy(URL + "/") == folder
    assert contents(folder) == {"cat/1.png": "cat/1.png", "cat/2.png": "cat/3.png"}
    assert got == ["cat/2.png"] and not (folder / "dog").exists()
    capsys.readouterr()
    local_copy(URL)
    assert got == ["cat/2.png"] and capsys.readouterr().err == ""


def test_a_copy_that_was_interrupted_goes_on_where_it_ended(photos, got, monkeypatch):
    monkeypatch.setattr(store_copies, "AT_ONCE", 1)
    get = Store.get

    def failing(self, name, path):
        if name == "dog/1.png" and len(got) < 3:
            got.append(name)
            raise UserError("the network is gone")
        return get(self, name, path)

    monkeypatch.setattr(Store, "get", failing)
    with pytest.raises(UserError, match="the network is gone"):
        local_copy(URL)
    assert got == ["cat/1.png", "cat/2.png", "dog/1.png"]
    local_copy(URL)
    assert got == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/1.png"]


def test_some_files_are_copied_without_a_change_to_others(photos, got):
    folder = local_folder(URL, ["dog/1.png"])
    assert contents(folder) == {"dog/1.png": "dog/1.png"}
    assert contents(local_folder(URL, ["cat/1.png"])).keys() == {"dog/1.png", "cat/1.png"}
    assert got == ["dog/1.png", "cat/1.png"]
    with pytest.raises(UserError, match=f"{URL} does not exist or has no such files"):
        local_folder(URL, ["bird/1.png"])


def test_a_local_path_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(local_folder("~/photos")) == "/home/me/photos"


def test_two_addresses_have_two_folders(store, tmp_path):
    one, other = (cache_folder("runs", f"gs://{name}/mine") for name in "ab")
    assert one != other and one.name == other.name == "mine"
    assert one.parents[1] == tmp_path / "cache" / "runs"
