"""Augmentation against every outcome that there can be, each written by plain slicing."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.data.augment import Augment

BATCH = 4000


def counting_image(height, width, channels):
    """Pixels 1, 2, 3, ..., so that no two are alike and none is the padding's 0."""
    size = height * width * channels
    return np.arange(1, size + 1, dtype=np.float32).reshape(height, width, channels)


def outcomes(image, config):
    """All results that the configuration allows, by (top, left, flip, cut top, cut left)."""
    height, width, _ = image.shape
    padded = np.pad(image, [(config.pad,) * 2, (config.pad,) * 2, (0, 0)])
    offsets = range(2 * config.pad + 1)
    corners = itertools.product(range(height), range(width)) if config.cutout else [(0, 0)]
    found = {}
    for top, left, flip, (row, column) in itertools.product(
        offsets, offsets, [False, True][: 1 + config.flip], list(corners)
    ):
        result = padded[top : top + height, left : left + width].copy()
        result = result[:, ::-1].copy() if flip else result
        result[row : row + config.cutout, column : column + config.cutout] = 0
        found[top, left, flip, row, column] = result
    return found


def test_a_crop_and_its_mirror_image_by_hand():
    image = np.array([[1, 2], [3, 4]], np.float32)[..., None]
    found = outcomes(image, Augment(pad=1, flip=True, cutout=0))
    np.testing.assert_array_equal(found[0, 0, False, 0, 0][..., 0], [[0, 0], [0, 1]])
    np.testing.assert_array_equal(found[1, 2, False, 0, 0][..., 0], [[2, 0], [4, 0]])
    np.testing.assert_array_equal(found[1, 2, True, 0, 0][..., 0], [[0, 2], [0, 4]])


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        ((4, 4, 1), Augment(pad=0, flip=False, cutout=0)),
        ((4, 4, 1), Augment(pad=0, flip=True, cutout=0)),
        ((4, 4, 3), Augment(pad=1, flip=True, cutout=0)),
        ((4, 4, 1), Augment(pad=0, flip=False, cutout=2)),
        ((5, 3, 2), Augment(pad=2, flip=True, cutout=0)),
        ((3, 5, 1), Augment(pad=0, flip=True, cutout=3)),
        ((2, 3, 1), Augment(pad=1, flip=False, cutout=9)),
    ],
)
def test_each_outcome_is_allowed_and_all_are_equally_frequent(shape, config):
    image = counting_image(*shape)
    results = config(np.tile(image, (BATCH, 1, 1, 1)), (3, 5)).numpy()
    assert results.shape == (BATCH, *shape)
    assert results.dtype == np.float32

    # Different draws can look alike, where all that is left of the image is cut out.
    expected = {}
    for result in outcomes(image, config).values():
        expected[result.tobytes()] = expected.get(result.tobytes(), 0) + 1
    seen = {key: 0 for key in expected}
    for result in results:
        assert result.tobytes() in expected
        seen[result.tobytes()] += 1
    share = BATCH / sum(expected.values())
    for key, ways in expected.items():
        assert abs(seen[key] - share * ways) <= 5 * np.sqrt(share * ways)


def test_cutout_is_whole_only_where_it_fits():
    images = np.ones((BATCH, 4, 6, 1), np.float32)
    results = Augment(pad=0, flip=False, cutout=3)(images, (0, 0)).numpy()
    zeros = (results == 0).sum(axis=(1, 2, 3))
    # Rows left below the corner (3, 3, 2, 1) times columns right of it (3, 3, 3, 3, 2, 1).
    assert set(zeros) == {a * b for a in (3, 3, 2, 1) for b in (3, 3, 3, 3, 2, 1)}
    assert zeros.mean() == pytest.approx(9 / 4 * 15 / 6, rel=0.03)


def test_equal_seeds_give_equal_results_and_others_do_not():
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    augment = Augment(pad=2, flip=True, cutout=4)
    first = augment(images, (1, 2))
    np.testing.assert_array_equal(first, augment(images, tf.constant([1, 2])))
    assert not np.array_equal(first, augment(images, (1, 3)))
    assert not np.array_equal(first, augment(images, (2, 2)))


@pytest.mark.parametrize("count", [2, 3])
def test_slices_joined_equal_the_whole_batch(count):
    images = np.random.default_rng(0).normal(size=(12, 7, 5, 1)).astype(np.float32)
    augment = Augment(pad=2, flip=True, cutout=3)
    whole = augment(images, (4, 9))
    slices = np.split(images, count)
    joined = [augment(part, (4, 9), (i, count)) for i, part in enumerate(slices)]
    np.testing.assert_array_equal(np.concatenate(joined), whole)
