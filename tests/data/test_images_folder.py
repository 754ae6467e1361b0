"""Folders of image files, which the tests write."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from enas_tf.core.errors import UserError
from enas_tf.data.base import DataConfig
from enas_tf.data.image_files import orientation, upright_bytes
from enas_tf.data.images import load_images

KEEP_SIZE = DataConfig()


def counts(data):
    return {name: len(split.labels) for name, split in data.splits.items()}


def fill(folder, count, value=0, suffix="png", size=(4, 3), mode="L"):
    """Writes images of one value each; value and place in the folder make up the pixel value."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        color = value + i if mode == "L" else (value + i, 0, 255)
        Image.new(mode, size, color).save(folder / f"{i:03}.{suffix}")


def test_folder_of_classes_is_split_80_10_10_within_each_class(tmp_path):
    fill(tmp_path / "cat", 20, value=0)
    fill(tmp_path / "dog", 30, value=100)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    data = load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (3, 4, 1)
    assert data.flip
    shown = []
    for name, (cats, dogs) in {"train": (16, 24), "valid": (2, 3), "test": (2, 3)}.items():
        split = data.splits[name]
        values = split.images[:, 0, 0, 0]
        assert np.bincount(split.labels).tolist() == [cats, dogs]
        np.testing.assert_array_equal(split.labels, values >= 100)
        np.testing.assert_array_equal(split.images, values[:, None, None, None] + 0 * split.images)
        shown += values.tolist()
    assert sorted(shown) == [*range(20), *range(100, 130)]


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_folders_of_splits_are_kept(tmp_path, valid):
    for place, split in enumerate(["train", valid, "test"]):
        for label, name in enumerate(["a", "b"]):
            fill(tmp_path / split / name, place + 1, value=100 * label + 10 * place)
    data = load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert counts(data) == {"train": 2, "valid": 4, "test": 6}
    assert data.splits["valid"].images[:, 0, 0, 0].tolist() == [10, 11, 110, 111]
    assert data.splits["valid"].labels.tolist() == [0, 0, 1, 1]


def test_a_missing_split_is_taken_from_the_training_folder(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "train" / name, 20)
        fill(tmp_path / "test" / name, 3)
    data = load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert counts(data) == {"train": 36, "valid": 4, "test": 6}


def test_a_class_may_be_called_train(tmp_path):
    for name in ("plane", "train"):
        fill(tmp_path / name, 10)
    data = load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert data.class_names == ("plane", "train")


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "jpg", "jpeg"])
def test_grey_files_have_one_channel_and_coloured_ones_three(tmp_path, suffix):
    for name, mode in {"grey": "L", "coloured": "RGB"}.items():
        for label in ("a", "b"):
            fill(tmp_path / name / label, 10, value=50, suffix=suffix, mode=mode)
    grey = load_images(f"folder:{tmp_path}/grey", None, KEEP_SIZE).splits["train"].images
    coloured = load_images(f"folder:{tmp_path}/coloured", None, KEEP_SIZE).splits["train"].images
    assert grey.shape[1:] == (3, 4, 1)
    assert coloured.shape[1:] == (3, 4, 3)
    # JPEG's values are a little off.
    assert abs(coloured[:, 0, 0].mean(0) - [54.5, 0, 255]).max() < 3
    assert abs(grey.mean() - 54.5) < 3


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 7, [7, 7, 7]),
        ("LA", (7, 0), [7, 7, 7]),
        ("1", 1, [255, 255, 255]),
        ("I;16", 7 * 256 + 200, [7, 7, 7]),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
        ("P", 0, [9, 8, 7]),
    ],
)
def test_all_kinds_of_png_join_coloured_ones(tmp_path, mode, color, expected):
    fill(tmp_path / "a", 3, mode="RGB")
    (tmp_path / "b").mkdir()
    image = Image.new(mode, (4, 3), color)
    if mode == "P":
        image.putpalette([9, 8, 7])
    for i in range(3):
        image.save(tmp_path / "b" / f"{i}.png")
    train = load_images(f"folder:{tmp_path}", None, KEEP_SIZE).splits["train"]
    assert train.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(train.images[1], np.tile(expected, (3, 4, 1)))


def test_images_of_differing_sizes_are_refused_unless_resized(tmp_path):
    fill(tmp_path / "a", 10, size=(4, 3))
    fill(tmp_path / "b", 10, size=(6, 5))
    with pytest.raises(UserError, match=r"4 x 3, .*/b/.* is 6 x 5 pixels; pass --data.image_size"):
        load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    data = load_images(f"folder:{tmp_path}", None, DataConfig(image_size=5))
    assert data.image_shape == (5, 5, 1)


def test_webp_is_read_and_what_is_left_out_is_counted_by_kind(tmp_path, capsys):
    fill(tmp_path / "a", 10, mode="RGB", suffix="webp")
    fill(tmp_path / "b", 10, mode="RGB")
    fill(tmp_path / "b", 3, suffix="tiff")
    for name in ("a/notes.txt", "b/README", "a/.DS_Store", "b/._000.png", "a/.hidden.png"):
        (tmp_path / name).write_bytes(b"no image")
    data = load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert counts(data) == {"train": 16, "valid": 2, "test": 2}
    assert capsys.readouterr().err == (
        "note: 5 of the files in the class folders are left out, since they are none of .bmp, "
        ".gif, .jpeg, .jpg, .png, .webp: 3 .tiff, 1 .txt, 1 without an ending\n"
    )


@pytest.mark.parametrize("number", range(1, 9))
def test_photos_are_turned_by_their_exif_orientation(tmp_path, number):
    corners = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for place in range(10):
            exif = Image.Exif()
            exif[0x0112] = number
            Image.fromarray(corners).save(tmp_path / name / f"{place}.png", exif=exif)
    with Image.open(tmp_path / "a/0.png") as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert (number == 1) == np.array_equal(wanted, corners)
    assert wanted.shape == ((2, 4, 3) if number < 5 else (4, 2, 3))
    images = load_images(f"folder:{tmp_path}", None, KEEP_SIZE).splits["train"].images
    np.testing.assert_array_equal(images, np.broadcast_to(wanted, images.shape))
    # What `predict` sends to a server, which knows no EXIF.
    sent = tf.io.decode_image(upright_bytes(tmp_path / "a/0.png"))
    np.testing.assert_array_equal(sent, wanted)


def test_a_turned_jpeg_is_sent_as_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.kron(np.arange(0, 240, 40, np.uint8).reshape(2, 3), np.ones((16, 16), np.uint8))
    Image.fromarray(picture).save(tmp_path / "photo.jpg", exif=exif)
    sent = upright_bytes(tmp_path / "photo.jpg")
    assert sent != (tmp_path / "photo.jpg").read_bytes()
    turned = tf.io.decode_jpeg(sent).numpy()[..., 0].astype(int)
    assert abs(turned - np.rot90(picture, -1)).max() < 8
    assert orientation(tmp_path / "photo.jpg") == 6
    cut = (tmp_path / "photo.jpg").read_bytes()[:-300]
    for content in (b"no image", cut):
        (tmp_path / "broken.jpg").write_bytes(content)
        assert upright_bytes(tmp_path / "broken.jpg") == content


def test_all_unreadable_files_are_listed_and_may_be_skipped(tmp_path, capsys):
    fill(tmp_path / "a", 10, value=0)
    fill(tmp_path / "b", 30, value=100)
    for number in range(12):
        (tmp_path / "b" / f"{number:03}.png").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    told = str(caught.value)
    assert told.startswith("12 images cannot be read: ")
    assert told.count(".png cannot be read: Unknown image file format") == 10
    assert told.endswith(
        "; and 2 more; mend or remove what is wrong, or go on without by --data.skip_unreadable"
    )
    data = load_images(f"folder:{tmp_path}", None, DataConfig(skip_unreadable=True))
    assert sum(counts(data).values()) == 28
    for split in data.splits.values():
        np.testing.assert_array_equal(split.labels, split.images[:, 0, 0, 0] >= 100)
    assert capsys.readouterr().err.startswith("note: left out: 12 images cannot be read: ")
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="none of the image files can be read"):
        load_images(f"folder:{tmp_path}", None, DataConfig(skip_unreadable=True))


def break_file(root):
    (root / "b" / "000.png").write_bytes(b"no image at all")


def cut_file(root):
    whole = (root / "b" / "000.png").read_bytes()
    (root / "b" / "000.png").write_bytes(whole[:40])


def empty_class(root):
    (root / "c").mkdir()


def deeper_class(root):
    fill(root / "c" / "batch 1", 5)


def one_class(root):
    for file in (root / "b").iterdir():
        file.unlink()
    (root / "b").rmdir()


def tiny_class(root):
    fill(root / "c", 2)


def strange_class(root):
    for name in ("a", "b"):
        (root / name).rename(root / f"moved_{name}")
    for name in ("train/moved_a", "train/moved_b"):
        fill(root / name, 5)
    fill(root / "test" / "stranger", 5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_file, r"image .*/b/000.png cannot be read: .*Unknown image file format"),
        (cut_file, r"image .*/b/000.png cannot be read: "),
        (empty_class, r"class folder .*/c has no images"),
        (deeper_class, r"class folder .*/c has no images .*, but .*/c/batch 1 has: move them up"),
        (one_class, r"has training images of 1 class; classification needs two"),
        (tiny_class, r"class 'c' of data set .* has 2 training images, too few"),
        (strange_class, r"class folder .*/test/stranger has no namesake in the train folder"),
    ],
)
def test_faults_of_folders_are_named_in_one_line(tmp_path, spoil, message):
    for name in ("a", "b"):
        fill(tmp_path / name, 5)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; .*=digits"):
        load_images(f"folder:{tmp_path}/nowhere", None, KEEP_SIZE)
    with pytest.raises(UserError, match="has no folders; put the images into one folder per class"):
        load_images(f"folder:{tmp_path}", None, KEEP_SIZE)
