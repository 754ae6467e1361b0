"""Where images lie: batches are the same from memory, from their files and from one of pixels."""

import errno
import re
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pytest
from PIL import Image

from enas_tf.core.errors import UserError
from enas_tf.data import image_cache
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig
from enas_tf.data.disk_images import DiskImages, PixelFile
from enas_tf.data.encoded import EncodedReader, look_through
from enas_tf.data.images import load_images
from enas_tf.training.distribution import distribute, make_strategy
from tests.data.test_images import store
from tests.data.test_images_folder import fill
from tests.launching import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of the test's own, for small files; and how often all images were looked through."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    looks = []
    monkeypatch.setattr(
        image_cache, "look_through", lambda *args: looks.append(1) or look_through(*args)
    )
    return looks


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of images of many kinds and sizes; one file is no image."""
    root = tmp_path_factory.mktemp("mixed")
    generator = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir()
        for number in range(21):
            size = generator.integers(5, 30, 2)
            picture = Image.fromarray(generator.integers(0, 256, (*size, 3)).astype(np.uint8))
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            kind = ("png", "jpg", "webp", "gif", "bmp", "png", "jpg")[number % 7]
            # The first ones are grey.
            mode = "L" if number % 7 > 4 or number < 2 else "RGB"
            options = {} if kind in ("gif", "bmp") else {"exif": exif}
            picture.convert(mode).save(root / label / f"{number:02}.{kind}", **options)
    (root / "b/05.png").write_bytes(b"no image")
    return root


def everything(data):
    """What a run may see of a data set."""
    whole = data.with_validation()
    steps = {"seed": 3, "num_steps": 5, "first_step": 2, "shard": (1, 2)}
    batches = [
        *whole.train_batches("train", 8, augment=Augment(1, True, 2), mixup=0.5, **steps),
        *data.eval_batches("test", 3),
        (data.mean, data.std),
        (whole.mean, whole.std),
        (data.splits["valid"].images[:], data.splits["valid"].labels),
    ]
    return [np.asarray(some) for batch in batches for some in batch]


def assert_same_everywhere(dataset, data_dir, tmp_path, **options):
    wanted = load_images(dataset, data_dir, DataConfig(in_memory="true", **options))
    assert isinstance(wanted.splits["train"].images, np.ndarray)
    for cache_dir, reader in ((None, EncodedReader), (str(tmp_path / "cache"), PixelFile)):
        config = DataConfig(in_memory="false", cache_dir=cache_dir, **options)
        found = load_images(dataset, data_dir, config)
        assert isinstance(found.splits["train"].images.reader, reader)
        for one, other in zip(everything(found), everything(wanted), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_folders_batches_are_the_same_from_memory_and_from_disk(mixed, tmp_path, capsys):
    options = {"image_size": 12, "skip_unreadable": True}
    assert_same_everywhere(f"folder:{mixed}", None, tmp_path, **options)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and len(set(told)) == 1
    assert "b/05.png cannot be read: Unknown image" in told[0]


def test_batches_of_tfds_are_the_same_from_memory_and_from_disk(tmp_path):
    generator = np.random.default_rng(1)
    splits = {
        name: (generator.integers(0, 256, (count, 5, 7, 1)).astype(np.uint8), np.arange(count) % 3)
        for name, count in (("train", 40), ("validation", 20), ("test", 9))
    }
    store(tmp_path, "shapes", splits)
    assert_same_everywhere("shapes", tmp_path, tmp_path)


def test_later_runs_need_not_look_again_until_a_file_changes(tmp_path, home):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    folder, cache = f"folder:{tmp_path}/images", str(tmp_path / "cache")
    on_disk = DataConfig(in_memory="false")
    in_file = DataConfig(in_memory="false", cache_dir=cache)
    for config, kept, files in (
        (on_disk, tmp_path / "home/.cache/enas_tf/images", [".npz"]),
        (in_file, tmp_path / "cache", [".images", ".npz"]),
    ):
        home.clear()
        for _ in range(2):
            load_images(folder, None, config)
        assert home == [1]
        assert sorted(path.suffix for path in kept.iterdir()) == files
        # Damaged files are made anew.
        for path in kept.iterdir():
            path.write_bytes(b"few")
        data = load_images(folder, None, config)
        assert home == [1, 1] and data.splits["train"].images[0:1].sum() == 0
    fill(tmp_path / "images/a", 11)
    home.clear()
    load_images(folder, None, on_disk)
    assert home == [1]


def test_a_long_look_tells_how_much_is_left(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    monkeypatch.setattr("enas_tf.data.encoded._PLAIN_INTERVAL", 0)
    monkeypatch.setattr("enas_tf.data.encoded._MOST_TOGETHER", 12)
    load_images(f"folder:{tmp_path}/images", None, DataConfig())
    rest = r"of 20 looked through, [\d,]+ images/s, \d+s left"
    for line, done in zip(capsys.readouterr().err.splitlines(), (12, 20), strict=True):
        assert re.fullmatch(f"images: {done} {rest}", line)


def test_up_to_a_size_images_are_in_memory(monkeypatch, tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    monkeypatch.setattr(image_cache, "_MOST_IN_MEMORY", 20 * 4 * 3)
    load = [f"folder:{tmp_path}/images", None, DataConfig()]
    assert isinstance(load_images(*load).splits["train"].images, np.ndarray)
    monkeypatch.setattr(image_cache, "_MOST_IN_MEMORY", 20 * 4 * 3 - 1)
    assert isinstance(load_images(*load).splits["train"].images, DiskImages)


def test_errors_leave_no_half_files(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    load = f"folder:{tmp_path}/images", None
    (tmp_path / "images/b/009.png").write_bytes(b"no image")
    config = DataConfig(in_memory="false", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"b/009.png cannot be read"):
        load_images(*load, config)
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "images/b/009.png").unlink()
    (tmp_path / "file").write_text("")
    wrong = DataConfig(in_memory="false", cache_dir=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*; name another folder by --data"):
        load_images(*load, wrong)


def test_a_full_disk_is_told_in_one_line_and_leaves_no_half_file(tmp_path, monkeypatch):
    class Full:
        name = str(tmp_path / "cache/half")

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = partialmethod(write, b"")

    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/half").write_bytes(b"some")
    monkeypatch.setattr("enas_tf.data.pixels.tempfile.NamedTemporaryFile", lambda **_: Full())
    config = DataConfig(in_memory="false", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"\(No space left on device\), where the images need 0\.0"):
        load_images(f"folder:{tmp_path}/images", None, config)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_place_that_takes_no_files_is_told_and_goes_without(tmp_path, capsys):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 10)
    (tmp_path / "home").write_text("a file")
    data = load_images(f"folder:{tmp_path}/images", None, DataConfig(in_memory="false"))
    assert data.splits["train"].images[:].shape == (16, 3, 4, 1)
    told = capsys.readouterr().err
    assert told.startswith("note: cannot write ") and told.count("\n") == 1


def gone(file):
    file.unlink()


def broken(file):
    file.write_bytes(b"no image")


def of_another_size(file):
    Image.new("L", (9, 9)).save(file)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(gone, "No such file"), (broken, "Unknown image"), (of_another_size, "it has changed")],
)
def test_a_file_that_breaks_later_is_named_in_one_line(tmp_path, spoil, why):
    for name in ("a", "b"):
        fill(tmp_path / "images" / name, 20)
    config = DataConfig(in_memory="false")
    data = load_images(f"folder:{tmp_path}/images", None, config).with_validation()
    for file in (tmp_path / "images/b").iterdir():
        spoil(file)
    message = rf"image .*/b/0.*\.png can no longer be read \(.*{why}.*give the same command again$"
    strategy = make_strategy("one")
    with pytest.raises(UserError, match=message) as caught:
        list(
            distribute(
                strategy,
                lambda shard: data.train_batches("train", 8, seed=0, num_steps=4, shard=shard),
            )
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        data.splits["train"].images[:]


def test_records_that_break_later_are_named_in_one_line(tmp_path):
    images = np.zeros((60, 5, 7, 1), np.uint8)
    store(tmp_path, "shapes", {"train": (images, np.arange(60) % 3)})
    data = load_images("shapes", tmp_path, DataConfig(in_memory="false"))
    (records,) = tmp_path.glob("shapes/1.0.0/*.tfrecord*")
    records.write_bytes(records.read_bytes()[:200])
    with pytest.raises(UserError, match=r"record \d+ of .*tfrecord.* can no longer be read \("):
        data.splits["train"].images[:]


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

small = load_images("digits", None, DataConfig())
list(small.train_batches("train", 8, seed=0, num_steps=2))
before = peak()
config = DataConfig(image_size=512, in_memory={in_memory!r})
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
