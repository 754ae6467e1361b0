import errno
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.data.base import DataConfig
from enas_tf.data.image_cache import keep
from enas_tf.data.images import load_images
from enas_tf.data.pixels import FileImages
from tests.data.test_images_folder import fill
from tests.data.test_pixels import pictures
from tests.launching import ROOT


def test_what_is_in_a_file_is_not_made_again(tmp_path):
    wanted, made = pictures(6), []
    config = DataConfig(in_memory="false", cache_dir=str(tmp_path))

    def images():
        for image in wanted:
            made.append(1)
            yield image

    for times in (1, 1):
        found, facts = keep(images(), 6, config, "some", lambda: {"labels": [1]})
        np.testing.assert_array_equal(found[:], wanted)
        assert facts == {"labels": [1]} and len(made) == 6 * times
    keep(images(), 6, config, "others")
    assert len(made) == 12
    # Damaged files are made anew.
    for path in tmp_path.glob("*.images"):
        path.write_bytes(b"few")
    found, _ = keep(images(), 6, config, "some")
    np.testing.assert_array_equal(found[:], wanted)


def test_up_to_a_size_images_are_in_memory(monkeypatch, tmp_path):
    config = DataConfig(cache_dir=str(tmp_path))
    assert isinstance(keep(iter(pictures(6)), 6, config, "some")[0], np.ndarray)
    monkeypatch.setattr("enas_tf.data.image_cache._MOST_IN_MEMORY", 6 * 60 - 1)
    assert isinstance(keep(iter(pictures(6)), 6, config, "some")[0], FileImages)
    in_memory = DataConfig(cache_dir=str(tmp_path), in_memory="true")
    assert isinstance(keep(iter(pictures(6)), 6, in_memory, "some")[0], np.ndarray)


def test_errors_leave_no_half_files(tmp_path):
    config = DataConfig(in_memory="false", cache_dir=str(tmp_path / "cache"))

    def images():
        yield from pictures(3)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        keep(images(), 6, config, "some")
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "file").write_text("")
    wrong = DataConfig(in_memory="false", cache_dir=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*; name another folder by --data"):
        keep(images(), 6, wrong, "some")


def test_a_full_disk_is_told_in_one_line_and_leaves_no_half_file(tmp_path, monkeypatch):
    class Full:
        name = str(tmp_path / "half")

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = partialmethod(write, b"")

    (tmp_path / "half").write_bytes(b"some")
    monkeypatch.setattr("enas_tf.data.pixels.tempfile.NamedTemporaryFile", lambda **_: Full())
    config = DataConfig(in_memory="false", cache_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"\(No space left on device\), where the images need 0\.0"):
        keep(iter(pictures(3)), 3, config, "some")
    assert list(tmp_path.iterdir()) == []


def test_a_folders_batches_are_the_same_from_a_file(tmp_path, capsys):
    for name, value in (("a", 0), ("b", 100)):
        fill(tmp_path / "images" / name, 20, value=value)
    (tmp_path / "images/b/005.png").write_bytes(b"no image")
    cache = {"cache_dir": str(tmp_path / "cache"), "skip_unreadable": True}
    shown, told = [], []
    for in_memory in ("true", "false", "false"):
        config = DataConfig(in_memory=in_memory, **cache)
        data = load_images(f"folder:{tmp_path}/images", None, config)
        told.append(capsys.readouterr().err)
        assert isinstance(data.splits["valid"].images, FileImages) is (in_memory == "false")
        whole = data.with_validation()
        batches = whole.train_batches("train", 8, seed=3, num_steps=7, first_step=2)
        shown.append([*batches, *whole.eval_batches("test", 3), (data.mean, data.std)])
    for other in shown[1:]:
        for (images, labels), (same, same_labels) in zip(shown[0], other, strict=True):
            np.testing.assert_array_equal(images, same)
            np.testing.assert_array_equal(labels, same_labels)
    assert len(set(told)) == 1 and "005.png cannot be read: Unknown image" in told[0]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read off /proc")
@pytest.mark.parametrize(("in_memory", "most"), [("true", 1.3), ("false", 0.35)])
def test_memory_never_holds_the_pixels_twice(tmp_path, in_memory, most):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 200, mode="RGB", size=(3, 3))
    # Each file becomes 3/4 MiB of pixels.
    code = f"""
import resource
from enas_tf.data.base import DataConfig
from enas_tf.data.images import load_images

def peak():  # MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

options = dict(in_memory={in_memory!r}, cache_dir={str(tmp_path / "cache")!r})
small = load_images("digits", None, DataConfig())
list(small.train_batches("train", 8, seed=0, num_steps=2))
before = peak()
config = DataConfig(image_size=512, **options)
data = load_images("folder:{tmp_path}/images", None, config).with_validation()
batches = data.train_batches("train", 2, seed=0, num_steps=3)
images = sum(float(images[0, 0, 0, 0]) for images, _ in batches)
print(peak() - before, 400 * 0.75)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, size = map(float, done.stdout.split())
    assert size == 300 and grown < most * size + 80, grown
