"""Batches of images whose pixels say which image each is."""

import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig, ImageData, Split, normalise

ROOT = Path(__file__).parents[2]
AUGMENT = Augment(pad=1, flip=True, cutout=2)


def numbered(first, count, shape=(3, 2, 1)):
    """Image number n is n in every pixel, and its label is n modulo 10."""
    numbers = np.arange(first, first + count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, *shape)).astype(np.uint8)
    return Split(np.ascontiguousarray(images), (numbers % 10).astype(np.int32))


@pytest.fixture(scope="module")
def data():
    splits = {"train": numbered(0, 23), "valid": numbered(100, 11), "test": numbered(200, 7)}
    return ImageData("numbers", splits, tuple("0123456789"), flip=True)


def batches(dataset):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def numbers(data, dataset):
    """The numbers of the images in each batch, with the normalisation undone."""
    found = []
    for images, labels in batches(dataset):
        number = np.rint((images[:, 0, 0, 0] * data.std + data.mean) * 255).astype(int)
        np.testing.assert_array_equal(labels, number % 10)
        found.append(list(number))
    return found


def assert_same(got, expected):
    assert len(got) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_a_split_takes_images_and_labels_by_place():
    split = numbered(0, 23)
    images, labels = split.taker()(tf.constant([7, 0, 22]))
    np.testing.assert_array_equal(images, split.images[[7, 0, 22]])
    np.testing.assert_array_equal(labels, split.labels[[7, 0, 22]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_of_any_integers_are_what_losses_take(dtype):
    split = Split(numbered(0, 3).images, np.array([0, 2, 1], dtype))
    _, labels = split.taker()(tf.constant([1, 2]))
    assert labels.dtype == tf.int32 and labels.numpy().tolist() == [2, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read off /proc")
def test_batches_take_no_copy_of_the_images():
    code = """
import numpy as np
from pathlib import Path
from enas_tf.data.base import ImageData, Split

def resident():  # MiB
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256

few = Split(np.zeros((8, 64, 64, 3), np.uint8), np.zeros(8, np.int32))
many = Split(np.ones((20_000, 64, 64, 3), np.uint8), np.zeros(20_000, np.int32))
data = ImageData("ones", {"train": few, "valid": many}, ("a", "b"), flip=False)
list(data.train_batches("train", 8, seed=0, num_steps=2))
before = resident()
list(data.train_batches("valid", 8, seed=0, num_steps=2))
print(resident() - before, many.images.nbytes / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, size = map(float, done.stdout.split())
    assert size > 200 and grown < 50


def test_moments_are_those_of_the_training_split_alone():
    images = np.zeros((2, 1, 2, 3), np.uint8)
    images[..., 0] = [[[0, 255]], [[0, 255]]]  # mean 1/2, deviation 1/2
    images[..., 1] = [[[51, 51]], [[102, 204]]]  # 0.2, 0.2, 0.4, 0.8: variance 0.06
    images[..., 2] = 255
    labels = np.array([0, 1], np.int32)
    splits = {"train": Split(images, labels), "valid": Split(images * 0, labels)}
    data = ImageData("few", splits, ("a", "b"), flip=False)
    np.testing.assert_allclose(data.mean, [0.5, 0.4, 1.0], rtol=1e-6)
    np.testing.assert_allclose(data.std[:2], [0.5, 0.06**0.5], rtol=1e-6)
    assert data.mean.dtype == data.std.dtype == np.float32
    # A channel without any contrast is zero, not "not a number".
    result = normalise(images, data.mean, data.std).numpy()
    np.testing.assert_allclose(result[..., 0], [[[-1, 1]], [[-1, 1]]], atol=1e-6)
    np.testing.assert_allclose(result[..., 2], 0, atol=1e-6)


def test_normalise_follows_its_formula_in_each_channel():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 3, 2), dtype=np.uint8)
    mean, std = np.float32([0.3, 0.6]), np.float32([0.2, 0.1])
    expected = (images / 255 - mean) / std
    np.testing.assert_allclose(normalise(images, mean, std), expected, atol=1e-5)
    free = tf.function(lambda x: normalise(x, mean, std)).get_concrete_function(
        tf.TensorSpec((None, 5, 3, 2), tf.uint8)
    )
    assert free.structured_outputs.shape.as_list() == [None, 5, 3, 2]
    np.testing.assert_allclose(free(tf.constant(images)), expected, atol=1e-5)


def test_normalised_training_images_have_mean_0_and_deviation_1(data):
    images = np.concatenate([images for images, _ in batches(data.eval_batches("train", 5))])
    assert images.mean() == pytest.approx(0, abs=1e-6)
    assert images.std() == pytest.approx(1, abs=1e-6)


def test_shape_and_classes_come_from_the_data(data):
    assert data.image_shape == (3, 2, 1)
    assert data.num_classes == 10


def test_with_validation_trains_on_both_and_keeps_the_rest(data):
    joined = data.with_validation()
    train = joined.splits["train"]
    np.testing.assert_array_equal(train.images[:, 0, 0, 0], [*range(23), *range(100, 111)])
    np.testing.assert_array_equal(train.labels, train.images[:, 0, 0, 0] % 10)
    assert joined.splits["test"] is data.splits["test"]
    assert joined.mean == pytest.approx(np.mean([*range(23), *range(100, 111)]) / 255)
    assert data.mean == pytest.approx(11 / 255)


def test_an_epoch_shows_each_image_at_most_once_in_an_order_of_its_own(data):
    assert data.steps_per_epoch("train", 5) == 4
    drawn = numbers(data, data.train_batches("train", 5, seed=1, num_steps=12))
    epochs = [list(chain(*drawn[first : first + 4])) for first in (0, 4, 8)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
        assert set(epoch) <= set(range(23))
    assert epochs[0] != epochs[1] != epochs[2]
    assert set().union(*epochs) == set(range(23))
    other = numbers(data, data.train_batches("train", 5, seed=2, num_steps=4))
    assert list(chain(*other)) != epochs[0]


def test_batches_have_known_shapes(data):
    images, labels = data.train_batches("train", 6, seed=0, num_steps=1, shard=(0, 2)).element_spec
    assert (images.shape.as_list(), images.dtype) == ([3, 3, 2, 1], tf.float32)
    assert (labels.shape.as_list(), labels.dtype) == ([3], tf.int32)


@pytest.mark.parametrize("first_step", [0, 3, 4, 6, 9])
def test_starting_late_equals_skipping(data, first_step):
    options = {"seed": 7, "augment": AUGMENT}
    whole = batches(data.train_batches("train", 5, num_steps=10, **options))
    late = data.train_batches(
        "train", 5, first_step=first_step, num_steps=10 - first_step, **options
    )
    assert_same(batches(late), whole[first_step:])


def test_augmentation_differs_between_steps_that_show_the_same_image():
    split = Split(np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1), np.array([0], np.int32))
    data = ImageData("one", {"train": split}, ("a",), flip=True)
    shown = batches(data.train_batches("train", 1, seed=0, num_steps=8, augment=AUGMENT))
    assert len({images.tobytes() for images, _ in shown}) > 4


@pytest.mark.parametrize("count", [2, 3])
def test_shards_joined_equal_the_whole_batch(data, count):
    options = {"seed": 3, "num_steps": 5, "first_step": 2, "augment": AUGMENT}
    whole = batches(data.train_batches("train", 6, **options))
    shards = [
        batches(data.train_batches("train", 6, shard=(index, count), **options))
        for index in range(count)
    ]
    joined = [
        tuple(np.concatenate(parts) for parts in zip(*slices, strict=True))
        for slices in zip(*shards, strict=True)
    ]
    assert_same(joined, whole)
    assert {len(labels) for shard in shards for _, labels in shard} == {6 // count}


def test_reward_batches_are_shuffled_validation_images(data):
    drawn = numbers(data, data.reward_batches(5, seed=1, num_steps=4))
    assert all(set(batch) <= set(range(100, 111)) for batch in drawn)
    first_epoch = list(chain(*drawn[:2]))
    assert first_epoch != sorted(first_epoch)
    late = numbers(data, data.reward_batches(5, seed=1, first_step=3, num_steps=1))
    assert late == drawn[3:]


def test_eval_batches_show_the_split_once_in_order(data):
    shown = numbers(data, data.eval_batches("test", 3))
    assert shown == [[200, 201, 202], [203, 204, 205], [206]]


def test_eval_shards_share_each_batch(data):
    shards = [numbers(data, data.eval_batches("test", 4, (index, 2))) for index in range(2)]
    assert shards == [[[200, 201], [204]], [[202, 203], [205, 206]]]


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        # Of seven images for three shards, a rest of one is too few, and so is a batch of one.
        (3, [[1, 1], [1, 1], [1, 2]]),
        (4, [[1, 1], [1, 1], [2, 1]]),
        (5, [[2], [2], [3]]),
        (7, [[2], [2], [3]]),
        (1, [[1, 1], [1, 1], [1, 2]]),
    ],
)
def test_no_share_is_empty(data, batch_size, sizes):
    shards = [numbers(data, data.eval_batches("test", batch_size, (n, 3))) for n in range(3)]
    assert [[len(batch) for batch in shard] for shard in shards] == sizes
    assert list(chain(*chain(*zip(*shards, strict=True)))) == [*range(200, 207)]


def test_a_split_with_fewer_images_than_replicas_is_refused(data):
    few = replace(data, splits={**data.splits, "test": numbered(200, 1)})
    line = "the test split .* an image for each of the 2 replicas .*, got 1; give --strategy=one"
    with pytest.raises(UserError, match=line):
        few.eval_batches("test", 4, (0, 2))
    assert numbers(few, few.eval_batches("test", 4)) == [[200]]


@pytest.mark.parametrize("batch_size", [0, 24])
def test_a_batch_that_the_split_cannot_fill_is_refused(data, batch_size):
    with pytest.raises(UserError, match=f"between 1 and 23, .* train .*, got {batch_size};"):
        data.train_batches("train", batch_size, seed=0, num_steps=1)


def test_a_batch_that_does_not_divide_is_refused(data):
    with pytest.raises(UserError, match=r"multiple of 2, .*, got 5"):
        data.train_batches("train", 5, seed=0, num_steps=1, shard=(0, 2))


@pytest.mark.parametrize("name", ["pad", "cutout", "image_size"])
def test_negative_pixels_are_refused(name):
    with pytest.raises(UserError, match=f"data.{name} must not be negative, got -1"):
        DataConfig(**{name: -1})


def changed_split(**values):
    """A small data set whose validation split has other values."""
    made = {"images": np.zeros((4, 3, 2, 1), np.uint8), "labels": np.arange(4, dtype=np.int32) % 2}
    splits = {name: Split(**made) for name in ("train", "valid", "test")}
    splits["valid"] = Split(**made | values)
    return ImageData("mine", splits, ("a", "b"), flip=False)


def test_arrays_that_are_right_pass():
    changed_split().check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": np.zeros((4, 3, 2, 1), np.float32)}, "must be uint8, of shape .* got float32"),
        ({"images": np.zeros((4, 3, 2), np.uint8)}, r"got uint8 of shape \(4, 3, 2\)"),
        ({"images": np.zeros((4, 5, 2, 1), np.uint8)}, "all must have one size"),
        ({"labels": np.zeros(3, np.int32)}, "one for each of 4 images, got int32 of shape"),
        ({"labels": np.zeros(4, np.float32)}, "must be integers"),
        ({"labels": np.full(4, 2, np.int32)}, "from 0 to 1, got 2 to 2"),
        ({"labels": np.full(4, -1, np.int32)}, "from 0 to 1, got -1 to -1"),
        (
            {"images": np.zeros((0, 3, 2, 1), np.uint8), "labels": np.zeros(0, np.int32)},
            "mine has no examples in split valid",
        ),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as error:
        changed_split(**values).check()
    assert "\n" not in str(error.value) and str(error.value).startswith("mine")


def test_a_missing_split_is_refused():
    whole = changed_split()
    splits = {name: whole.splits[name] for name in ("train", "test")}
    with pytest.raises(UserError, match="mine has no examples in split valid; a data set needs"):
        ImageData("mine", splits, ("a", "b"), flip=False).check()
