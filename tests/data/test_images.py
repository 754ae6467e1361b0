"""Digits, data sets that the tests store, and CIFAR-10 where it is at hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.data.base import DataConfig, resize
from enas_tf.data.images import load_images

SHARED_TFDS = Path(__file__).parents[2] / "../shared/data/tfds"
KEEP_SIZE = DataConfig()


def counts(data):
    return {name: len(split.labels) for name, split in data.splits.items()}


def test_digits_are_scikit_learns_in_fixed_stratified_splits():
    from sklearn.datasets import load_digits

    data = load_images("digits", None, KEEP_SIZE)
    assert counts(data) == {"train": 1439, "valid": 179, "test": 179}
    assert data.image_shape == (8, 8, 1)
    assert data.class_names == tuple("0123456789")
    assert not data.flip
    # Grey levels 0, 1, ... 16 of 16 become 0, 16, ... 255, and none is lost or shown twice.
    digits = load_digits()
    levels = np.round(np.arange(17) * 15.9375)
    expected = [
        (*levels[x.astype(int)], y) for x, y in zip(digits.data, digits.target, strict=True)
    ]
    found = [
        (*image.ravel(), label)
        for split in data.splits.values()
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    for split in data.splits.values():
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        share = np.bincount(split.labels) / np.bincount(digits.target)
        assert np.ptp(share) < 0.01


def test_splits_depend_on_their_seed_alone():
    first, again, other = (
        load_images("digits", None, KEEP_SIZE, seed).splits["valid"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize("flip", [True, False])
def test_the_user_decides_on_flips(flip):
    assert load_images("digits", None, DataConfig(flip=flip)).flip == flip


def test_resize():
    image = np.array([[0, 0, 200, 200], [0, 0, 200, 200]], np.uint8)[..., None]
    np.testing.assert_array_equal(resize(image, 0), image)
    # Half way between the two halves lies 100, where plain subsampling would give 0 or 200.
    np.testing.assert_array_equal(resize(image, 1)[..., 0], [[100]])
    np.testing.assert_array_equal(resize(image[None], 1)[..., 0], [[[100]]])
    resized = load_images("digits", None, DataConfig(image_size=12))
    assert resized.image_shape == (12, 12, 1)


def store(data_dir, name, splits, *, features=None, classes=3):
    """Keeps images with labels as TensorFlow Datasets does; splits: name -> (images, labels)."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    shape = next(iter(splits.values()))[0][0].shape
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=features
        or tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape),
                "label": tfds.features.ClassLabel(num_classes=classes),
            }
        ),
        split_datasets={
            split: tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
            for split, (images, labels) in splits.items()
        },
        data_dir=data_dir,
        disable_shuffling=True,
    )


def sorted_by_class(count):
    labels = np.repeat(np.arange(3), count // 3)
    images = np.broadcast_to(labels[:, None, None, None] * 50, (count, 5, 7, 1)).astype(np.uint8)
    return images, labels


def test_tfds_splits_are_kept_and_missing_ones_hold_every_class(tmp_path):
    store(tmp_path, "shapes", {"train": sorted_by_class(60), "test": sorted_by_class(9)})
    data = load_images("shapes", tmp_path, KEEP_SIZE)
    assert counts(data) == {"train": 54, "valid": 6, "test": 9}
    assert data.image_shape == (5, 7, 1)
    assert data.class_names == ("0", "1", "2")
    assert data.splits["valid"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    for split in data.splits.values():
        np.testing.assert_array_equal(split.images[:, 4, 6, 0], split.labels * 50)
    assert load_images("shapes", tmp_path, DataConfig(image_size=3)).image_shape == (3, 3, 1)


def test_a_test_split_without_labels_is_replaced(tmp_path):
    images, labels = sorted_by_class(60)
    splits = {"train": (images, labels), "validation": sorted_by_class(9)}
    store(tmp_path, "hidden", {**splits, "test": (images[:4], np.full(4, -1))})
    data = load_images("hidden", tmp_path, KEEP_SIZE)
    assert counts(data) == {"train": 54, "valid": 9, "test": 6}
    assert data.splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_tfds_data_of_no_use_are_refused(tmp_path):
    import tensorflow_datasets as tfds

    images, labels = sorted_by_class(60)
    store(tmp_path, "lonely", {"train": (images[:20], labels[:20])})
    with pytest.raises(UserError, match="'lonely' has training images of 1 class"):
        load_images("lonely", tmp_path, KEEP_SIZE)
    store(tmp_path, "trainless", {"test": (images, labels)})
    with pytest.raises(UserError, match="'trainless' is not for image classification"):
        load_images("trainless", tmp_path, KEEP_SIZE)
    numbers = {"image": tfds.features.Scalar(np.int64), "label": tfds.features.Scalar(np.int64)}
    store(
        tmp_path,
        "numbers",
        {"train": (labels, labels)},
        features=tfds.features.FeaturesDict(numbers),
    )
    with pytest.raises(UserError, match="'numbers' is not for image classification"):
        load_images("numbers", tmp_path, KEEP_SIZE)


def test_tfds_images_of_free_size_need_one(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 1)),
        "label": tfds.features.ClassLabel(names=["low", "mid", "high"]),
    }
    splits = {"train": sorted_by_class(60)}
    store(tmp_path, "free", splits, features=tfds.features.FeaturesDict(features))
    with pytest.raises(UserError, match=r"'free' differ in size; pass --data.image_size=N"):
        load_images("free", tmp_path, KEEP_SIZE)
    data = load_images("free", tmp_path, DataConfig(image_size=4))
    assert data.image_shape == (4, 4, 1)
    assert data.class_names == ("low", "mid", "high")


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_damaged_tfds_files_are_named(tmp_path, in_memory):
    store(tmp_path, "damaged", {"train": sorted_by_class(60)})
    (records,) = tmp_path.glob("damaged/1.0.0/*.tfrecord*")
    whole = records.read_bytes()
    middle = len(whole) // 2
    one = len(whole) // 60
    spoilt = {
        "cut in the last record": whole[:-50],
        "cut in the first one": whole[:20],
        "a wrong byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "a record less": whole[: one * 59],
    }
    named = f"'damaged' in {tmp_path}/damaged/1.0.0 cannot be read"
    for content in spoilt.values():
        records.write_bytes(content)
        with pytest.raises(UserError, match=named):
            load_images("damaged", tmp_path, DataConfig(in_memory=in_memory))
    records.unlink()
    with pytest.raises(UserError, match=f"{named} .*No such file"):
        load_images("damaged", tmp_path, DataConfig(in_memory=in_memory))


def test_data_that_need_a_missing_package_are_refused(capfd):
    # An import of None fails as one of a package that is not installed.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("datasets", "huggingface_hub"):
            patch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=r"'huggingface:foo' needs a package .*=digits"):
            load_images("huggingface:foo", None, DataConfig())
    assert capfd.readouterr() == ("", "")


def test_data_that_are_nowhere_are_refused_with_a_way_out(tmp_path):
    with pytest.raises(UserError, match=f"not in {tmp_path}; .*catalog.*--dataset=digits"):
        load_images("no_such_data", tmp_path, KEEP_SIZE)
    # A file stands where the folder should be: nothing can be downloaded, with or without network.
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"not in .*file/cifar10/.* downloading .*=digits"
    ) as caught:
        load_images("cifar10", tmp_path / "file", KEEP_SIZE)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def cifar10():
    if not SHARED_TFDS.is_dir():
        pytest.skip(f"needs CIFAR-10 in {SHARED_TFDS}")
    return load_images("cifar10", SHARED_TFDS, KEEP_SIZE)


def test_cifar10_is_divided_as_in_the_original(cifar10):
    import tensorflow_datasets as tfds

    assert counts(cifar10)["train"] == 45_000
    assert counts(cifar10)["valid"] == 5_000
    assert counts(cifar10.with_validation())["train"] == 50_000
    assert cifar10.image_shape == (32, 32, 3)
    assert cifar10.class_names[:4] == ("airplane", "automobile", "bird", "cat")
    assert cifar10.flip
    last = tfds.load("cifar10", data_dir=SHARED_TFDS, split="train[49998:]", batch_size=-1)
    valid = cifar10.splits["valid"]
    np.testing.assert_array_equal(valid.images[-2:], last["image"])
    np.testing.assert_array_equal(valid.labels[-2:], last["label"])


def test_cifar10_moments_are_those_of_the_45000(cifar10):
    images = cifar10.splits["train"].images
    for channel in range(3):
        values = images[..., channel].astype(np.float32) / 255
        assert cifar10.mean[channel] == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
        assert cifar10.std[channel] == pytest.approx(values.std(dtype=np.float64), rel=1e-6)
    batch, labels = next(iter(cifar10.train_batches("train", 2000, seed=0, num_steps=1)))
    assert abs(batch.numpy().mean(axis=(0, 1, 2))).max() < 0.05
    assert abs(batch.numpy().std(axis=(0, 1, 2)) - 1).max() < 0.05
    assert set(labels.numpy()) == set(range(10))


def test_cifar10_is_the_same_from_its_records(cifar10, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load_images("cifar10", SHARED_TFDS, DataConfig(in_memory="false"))
    assert counts(found) == counts(cifar10)
    for one, other in (
        (found, cifar10),
        (found.with_validation(), cifar10.with_validation()),
    ):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.std, other.std)
        steps = {"seed": 1, "num_steps": 2, "first_step": 2}
        batches = (data.train_batches("train", 160, **steps) for data in (one, other))
        for (images, labels), (same, same_labels) in zip(*batches, strict=True):
            np.testing.assert_array_equal(images, same)
            np.testing.assert_array_equal(labels, same_labels)
    valid = found.splits["valid"].images
    np.testing.assert_array_equal(valid[-3:], cifar10.splits["valid"].images[-3:])
