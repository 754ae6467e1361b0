import os
import threading
import time

import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.export.base import versions
from tests.small_exports import export_small_images

BESIDE = {"model.keras", "models.config", "batching_params.pbtxt"}
WITHIN = [
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/labels.txt",
    "assets.extra/arc.txt",
    "assets.extra/model.json",
    "assets.extra/tf_serving_warmup_requests",
]


def test_versions_count_up_past_what_is_none(tmp_path):
    folder = tmp_path / "model"
    assert versions(folder) == []
    assert export_small_images(folder)[0] == folder / "1"
    for stray in ("backup", "1.5", "007x"):
        (folder / stray).mkdir()
    (folder / "9").mkdir()
    assert versions(folder) == ["1", "9"]
    (folder / "models.config").write_text("the user's own")
    assert export_small_images(folder)[0] == folder / "10"
    assert versions(folder) == ["1", "9", "10"]
    names = {path.name for path in folder.iterdir()}
    assert names == {"1", "9", "10", "1.5", "007x", "backup", *BESIDE}
    assert (folder / "models.config").read_text() == "the user's own"


def test_a_server_that_polls_never_sees_half_a_version(tmp_path):
    """What a model server does, a thousand times a second: it takes whatever is an integer."""
    folder = tmp_path / "model"
    folder.mkdir()
    polls, lacking, stop = [], set(), threading.Event()

    def poll():
        while not stop.is_set():
            names = [name for name in os.listdir(folder) if name.isdigit()]
            for name in names:
                lacking.update(
                    (name, file) for file in WITHIN if not (folder / name / file).exists()
                )
            polls.append(len(names))
            time.sleep(0.001)

    reader = threading.Thread(target=poll)
    reader.start()
    for _ in range(3):
        export_small_images(folder)
    while polls[-1] < 3:
        time.sleep(0.01)
    stop.set()
    reader.join()
    assert not lacking
    # It looked while versions were being written, and saw them appear one by one.
    assert {0, 1, 2, 3} <= set(polls)
    assert len(polls) > 100


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot export to"):
        export_small_images(tmp_path / "file" / "model")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
    ],
    ids=["of Python", "of TensorFlow"],
)
def test_a_failure_leaves_no_half_version(tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        export_small_images(tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []
