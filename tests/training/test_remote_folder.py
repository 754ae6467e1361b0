import json
import shutil

import pytest

from enas_tf.core.errors import UserError
from enas_tf.training import remote_folder
from enas_tf.training.remote_folder import RemoteFolder
from tests.stand_in_store import Killed, store, texts

__all__ = ["store"]

URL = "s3://bucket/runs/mine"
ROOT = "/bucket/runs/mine/"


def write(folder, name, text="text"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_checkpoint(folder, step, text):
    for name in ("variables.data", "variables.index", "state.json"):
        write(folder, f"search/checkpoints/step_{step}/{name}", text)


def write_version(folder, number):
    for name in ("variables/data", "assets.extra/labels.txt", "saved_model.pb", "fingerprint.pb"):
        write(folder, f"export/model/{number}/{name}", f"version {number}")


def mark_done(folder, *outputs):
    write(folder, "done.json", json.dumps(outputs))


def begin(folder):
    write(folder, "flags.txt")
    write(folder, "config.json")
    write(folder, "search/.hidden")


def search(folder, first, last):
    for step in range(first, last + 1):
        write_checkpoint(folder, step, f"step {step}")
        write(folder, "search/metrics.jsonl", "record\n" * step)
        shutil.rmtree(folder / f"search/checkpoints/step_{step - 2}", ignore_errors=True)
        yield


def replace_a_checkpoint(folder):
    write_checkpoint(folder, 3, "step 3 again")


def finish(folder):
    write(folder, "train/result.json")
    write(folder, "report.html")
    mark_done(folder, "train/result.json", "report.html")


def export(folder, number):
    write(folder, "export/model/model.keras", f"version {number}")
    write_version(folder, number)
    mark_done(folder, "train/result.json", f"export/model/{number}")


def work(remote):
    """Does all that a run does, and pushes where it would."""
    folder = remote.folder
    begin(folder)
    for _ in search(folder, 1, 3):
        remote.push()
    for do in (replace_a_checkpoint, finish, lambda f: export(f, 1), lambda f: export(f, 2)):
        do(folder)
        remote.push()


def check_whole(files):
    """Checks that each file is there, in its final form, that another one refers to."""
    names = files.keys()
    assert "config.json" not in names or "flags.txt" in names
    for name in names:
        home = name.rpartition("/")[0]
        if name.endswith("state.json"):
            beside = {text for other, text in files.items() if other.startswith(home)}
            assert beside == {files[name]} and f"{home}/variables.index" in names
        if name.endswith("saved_model.pb"):
            assert sum(other.startswith(home) for other in names) == 4
    for output in json.loads(files.get("done.json", "[]")):
        assert any(name.startswith(output) for name in names), output


def local(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in files.items() if "/." not in f"/{name}"}


def pushed(store):
    """The run's files in the store, but not its list of them."""
    return {name: text for name, text in texts(store, ROOT).items() if not name.startswith(".")}


def count_changes(store, tmp_path):
    store.changes_left = 10_000
    work(RemoteFolder(URL, tmp_path / "counted"))
    count = 10_000 - store.changes_left
    store.store.clear()
    return count


def test_whoever_reads_finds_a_whole_run_wherever_a_push_was_killed(store, tmp_path):
    count = count_changes(store, tmp_path)
    assert count > 40
    for changes in range(count):
        store.store.clear()
        store.changes_left = changes
        remote = RemoteFolder(URL, tmp_path / f"{changes}")
        with pytest.raises(Killed):
            work(remote)
        store.changes_left = None
        check_whole(pushed(store))
        # As another machine gets it, if there is a run already.
        other = RemoteFolder(URL, tmp_path / f"{changes} elsewhere")
        other.fetch()
        check_whole(local(other.folder))
        kept = [name for name in local(other.folder) if name.endswith("state.json")]
        listed = json.loads(texts(store, ROOT).get(".manifest.json", '{"files": {}}'))
        assert kept or not listed["files"]
        # On the same machine all is there still.
        again = RemoteFolder(URL, remote.folder)
        again.claim()
        again.end(None)
        assert pushed(store) == local(remote.folder)


def test_another_machine_goes_on_and_no_leftovers_stay(store, tmp_path):
    count = count_changes(store, tmp_path)
    for changes in range(0, count, 3):
        store.store.clear()
        store.changes_left = changes
        with pytest.raises(Killed):
            work(RemoteFolder(URL, tmp_path / f"{changes}"))
        store.changes_left = None
        other = RemoteFolder(URL, tmp_path / f"{changes} elsewhere")
        other.claim()
        work(other)
        other.end(None)
        assert pushed(store) == local(other.folder)
        assert ".owner.json" not in texts(store, ROOT)


def test_a_removed_run_is_none_wherever_the_removal_was_killed(store, tmp_path):
    whole = RemoteFolder(URL, tmp_path / "whole")
    work(whole)
    before = dict(store.store)
    for changes in range(len(before)):
        store.store.update(before)
        store.changes_left = changes
        with pytest.raises(Killed):
            RemoteFolder(URL, tmp_path / "x", afresh=True).clear()
        store.changes_left = None
        check_whole(pushed(store))
        RemoteFolder(URL, tmp_path / "x", afresh=True).clear()
        left = [n for n in pushed(store) if n in ("config.json", "done.json")]
        assert ".manifest.json" not in texts(store, ROOT) and not left


@pytest.fixture
def two(store, tmp_path):
    """A run in the store, with the folders of two machines, which are equal."""
    one, other = (RemoteFolder(URL, tmp_path / name) for name in ("one", "other"))
    begin(one.folder)
    list(search(one.folder, 1, 2))
    one.push()
    other.fetch()
    assert local(one.folder) == local(other.folder) == pushed(store)
    return one, other


def test_only_what_has_changed_is_pushed_and_fetched(two, store, capsys):
    one, other = two
    store.changes_left = 2
    one.push()
    assert store.changes_left == 2
    write(one.folder, "search/metrics.jsonl", "longer")
    one.push()
    assert store.changes_left == 0
    capsys.readouterr()
    other.fetch()
    assert "copying 1 of 9 files" in capsys.readouterr().err
    assert local(other.folder)["search/metrics.jsonl"] == "longer"


def test_what_makes_a_folder_whole_is_there_again_after_other_files_were_replaced(two, store):
    one, _ = two
    write(one.folder, "search/checkpoints/step_2/variables.data", "other")
    one.push()
    assert pushed(store) == local(one.folder)


def test_the_newer_side_is_known_and_two_new_ones_are_refused(two, store):
    one, other = two
    list(search(one.folder, 3, 3))
    one.fetch()  # keeps what is newer here
    assert "search/checkpoints/step_3/state.json" in local(one.folder)
    # What a resume writes again is no work.
    write(other.folder, "search/metrics.jsonl", "of a killed process")
    one.push()
    other.fetch()
    assert local(other.folder) == local(one.folder)
    assert not (other.folder / "search/checkpoints/step_1").exists()
    for side, step in ((one, 4), (other, 5)):
        write_checkpoint(side.folder, step, "own")
    one.push()
    told = f"{URL} has newer work of .*{other.folder} has work that was never pushed"
    for refused in (other.fetch, other.push):
        with pytest.raises(UserError, match=told):
            refused()
    assert "search/checkpoints/step_5/state.json" in local(other.folder)
    store.store.clear()
    with pytest.raises(UserError, match=f"{URL} is gone, and {one.folder} holds its last copy"):
        one.fetch()
    (one.folder / ".remote.json").unlink()
    one.fetch()
    one.push()
    assert pushed(store) == local(one.folder)


def test_an_interrupted_copy_is_no_work_of_its_own(two, monkeypatch):
    one, other = two
    list(search(one.folder, 3, 3))
    one.push()
    with monkeypatch.context() as patch:
        patch.setattr(remote_folder, "get_all", lambda *_: write(other.folder, "arc.txt") or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            other.fetch()
    other.fetch()
    assert local(other.folder) == local(one.folder)


def test_a_run_that_was_copied_there_by_hand_is_fetched(two, store, tmp_path):
    one, _ = two
    del store.store[ROOT + ".manifest.json"]
    third = RemoteFolder(URL, tmp_path / "third")
    third.fetch()
    assert local(third.folder) == local(one.folder)
    finish(third.folder)
    third.push()
    assert pushed(store) == local(third.folder)


def test_a_store_that_fails_is_a_warning_until_the_end(two, store, capsys):
    one, _ = two
    one.claim()
    list(search(one.folder, 3, 3))
    store.failure = OSError("the network is gone")
    one.push()
    told = capsys.readouterr().err
    assert "warning: s3://bucket/runs/mine/search/" in told and "the network is gone" in told
    with pytest.raises(UserError, match=f"only in {one.folder}, not in {URL}: .*gone.*pushes it"):
        one.end(None)
    store.failure = None
    one.claim()
    one.end(None)
    assert pushed(store) == local(one.folder)
