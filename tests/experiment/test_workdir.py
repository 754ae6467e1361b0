from types import SimpleNamespace

import pytest
import tensorflow as tf

from enas_tf.experiment import workdir
from enas_tf.experiment.settings import CommonConfig
from enas_tf.experiment.workdir import Workdir
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.training.run_lock import locked
from enas_tf.training.trackers import Tracker
from tests.stand_in_store import StandInStore, store, texts

__all__ = ["store"]

URL = "s3://bucket/runs/mine"
ROOT = "/bucket/runs/mine/"
SETTINGS = CIFAR_MICRO.presets["tiny"]


class Work:
    """A run in the store, as one process after another works on it."""

    def __init__(self, overwrite=False):
        common = CommonConfig(overwrite=overwrite)
        self.place = Workdir(URL, tf.distribute.get_strategy(), common, Tracker())
        self.lock = self.place.lock

    @locked
    def do(self, name, fails=False):
        self.lock.before_a_write()
        run = self.place.open(SETTINGS, [f"--workdir={self.place.address}"])
        run.part("derive/1").write_text(name, name)
        run.part("derive/1").mark_done("train", outputs=[name])
        assert texts(StandInStore, ROOT)[f"derive/1/{name}"] == name
        run.write_text(f"after_{name}", "")
        if fails:
            raise ZeroDivisionError
        return run


def test_a_run_is_pushed_at_its_marks_and_at_the_end_however_it_ends(store, capsys):
    run = Work().do("one")
    with pytest.raises(ZeroDivisionError):
        Work().do("two", fails=True)
    files = texts(store, ROOT)
    assert {"flags.txt", "config.json", "after_one", "after_two", "derive/1/two"} <= files.keys()
    assert files["flags.txt"] == f"--workdir={URL}\n" and ".owner.json" not in files
    assert f"{URL} is worked on in {run.folder}" in capsys.readouterr().err
    assert not (run.folder / ".lock").exists() or (run.folder / ".lock").stat().st_size == 0


def test_overwrite_removes_the_run_in_the_store_and_the_copy(store):
    Work().do("one")
    run = Work(overwrite=True).do("two")
    names = texts(store, ROOT).keys()
    assert "derive/1/two" in names and not {"derive/1/one", "after_one"} & names
    assert not run.path("after_one").exists()


def test_a_job_pushes_what_it_starts_from_only_if_it_may_write(store, monkeypatch):
    monkeypatch.setattr(workdir, "wait_for_copies", lambda *args: None)
    run = Work().do("one")
    (run.folder / "never_pushed").write_text("work of a process that was killed")
    common = CommonConfig(strategy="multiworker")
    place = Workdir(URL, tf.distribute.get_strategy(), common, Tracker())
    given = SETTINGS, [f"--workdir={URL}"]
    place.open(*given)
    assert "never_pushed" not in texts(store, ROOT)
    with place.lock:
        place.lock.before_a_write()
        place.open(*given)
        assert "never_pushed" in texts(store, ROOT)


def test_paths_are_shown_as_they_are_in_the_store(store):
    place = Work().place
    assert place.shown(place.folder / "export" / "m") == f"{URL}/export/m"
    place.write_server_configs(place.folder / "export" / "m")
    config = (place.folder / "export/m/models.config").read_text()
    assert f'base_path: "{URL}/export/m"' in config and 'name: "m"' in config


def test_a_local_path_stays_one_and_knows_no_store(tmp_path, monkeypatch):
    common = SimpleNamespace(overwrite=False, strategy="auto")
    place = Workdir(str(tmp_path), tf.distribute.get_strategy(), common, Tracker())
    assert place.folder == tmp_path and place.shown(tmp_path / "x") == str(tmp_path / "x")
    place.publish()
    place.write_server_configs(tmp_path)
    assert list(tmp_path.iterdir()) == []
