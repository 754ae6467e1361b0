import numpy as np
import pytest
import tensorflow as tf

from enas_tf.data.pixels import (
    FileImages,
    PixelStore,
    aligned_empty,
    as_tensor,
    divided,
    joined,
)


def pictures(count, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 5, 4, channels)).astype(np.uint8)


def stored(images, path):
    store = PixelStore(len(images), images[0].shape, path)
    for image in images:
        store.append(image)
    return store.finish()


@pytest.mark.parametrize("name", [None, "folder/pixels"])
def test_images_of_a_file_are_as_those_in_memory(tmp_path, name):
    wanted = pictures(20)
    found = stored(wanted, name and tmp_path / name)
    assert isinstance(found, FileImages) is bool(name)
    assert (found.shape, found.dtype, len(found)) == (wanted.shape, wanted.dtype, 20)
    np.testing.assert_array_equal(found[3:9], wanted[3:9])
    np.testing.assert_array_equal(found[np.array([9, 2])], wanted[[9, 2]])
    groups = [np.array(g) for g in ([0, 3, 4, 7, *range(9, 20)], [2, 5], [1, 6, 8])]
    parts = divided(found, groups)
    for part, group in zip(parts, groups, strict=True):
        np.testing.assert_array_equal(part[:], wanted[group])
    both = joined(parts[0], parts[1])
    np.testing.assert_array_equal(both[:], wanted[np.concatenate(groups[:2])])
    np.testing.assert_array_equal(joined(parts[0], parts[2])[15:], wanted[[1, 6, 8]])
    if name:
        # Only whole files have the name.
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["pixels"]
        taken = parts[0].take(tf.constant([2, 0]))
        np.testing.assert_array_equal(taken, wanted[[4, 0]])
    else:
        assert np.shares_memory(both, parts[0]) and np.shares_memory(both, parts[1])


@pytest.mark.parametrize("name", [None, "pixels"])
def test_grey_images_before_coloured_ones_repeat_their_channel(tmp_path, name):
    grey, coloured = pictures(3, 1), pictures(2)
    found = stored([*grey, coloured[0], grey[0], coloured[1]], name and tmp_path / name)
    wanted = [*np.repeat(grey, 3, -1), coloured[0], np.repeat(grey[0], 3, -1), coloured[1]]
    np.testing.assert_array_equal(found[:], wanted)


def test_tensors_of_aligned_arrays_are_no_copies():
    images = aligned_empty((30, 64, 64, 3))
    images[:] = 7
    tensor = as_tensor(images)
    assert "CPU" in tensor.device and np.shares_memory(np.asarray(tensor), images)
    assert tf.reduce_all(tf.gather(tensor, [3, 29]) == 7)
    # TensorFlow ends the process where it meets others.
    other = as_tensor(images.reshape(-1)[1 : 1 + 64 * 3 * 64].reshape(1, 64, 64, 3))
    assert tf.reduce_all(tf.gather(other, [0]) == 7)
