import errno
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.data.disk_images import DiskImages, PixelFile
from enas_tf.data.pixels import (
    PixelStore,
    aligned_empty,
    as_tensor,
    channel_sums,
    divided,
    joined,
)


def pictures(count, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 5, 4, channels)).astype(np.uint8)


def stored(images, path, parts=(slice(None),), channels=(3,)):
    """Images that a store has collected part by part."""
    store = PixelStore(len(images), (*images.shape[1:3], channels[0]), path)
    for part, widest in zip(parts, channels, strict=True):
        store.extend(images[part], widest)
    if path is None:
        return store.in_memory()
    store.finish()
    values = images[..., : channels[-1]].astype(np.int64)
    sums = np.stack([values.sum((1, 2)), (values**2).sum((1, 2))], axis=1)
    return DiskImages(PixelFile(path, values.shape[1:], sums), np.arange(len(images)))


@pytest.mark.parametrize("name", [None, "folder/pixels"])
def test_images_of_a_file_are_as_those_in_memory(tmp_path, name):
    wanted = pictures(20)
    found = stored(wanted, name and tmp_path / name)
    assert isinstance(found, DiskImages) is bool(name)
    assert (found.shape, found.dtype, len(found)) == (wanted.shape, wanted.dtype, 20)
    np.testing.assert_array_equal(found[3:9], wanted[3:9])
    np.testing.assert_array_equal(found[np.array([9, 2])], wanted[[9, 2]])
    groups = [np.array(g) for g in ([0, 3, 4, 7, *range(9, 20)], [2, 5], [1, 6, 8])]
    parts = divided(found, groups)
    for part, group in zip(parts, groups, strict=True):
        np.testing.assert_array_equal(part[:], wanted[group])
        values = wanted[group].astype(int)
        sums = [values.sum((0, 1, 2)), (values**2).sum((0, 1, 2))]
        np.testing.assert_array_equal(channel_sums(part), sums)
    both = joined(parts[0], parts[1])
    np.testing.assert_array_equal(both[:], wanted[np.concatenate(groups[:2])])
    np.testing.assert_array_equal(joined(parts[0], parts[2])[15:], wanted[[1, 6, 8]])
    if name:
        # Only whole files have the name.
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["pixels"]
        taken = parts[0].take(tf.constant([2, 0]))
        np.testing.assert_array_equal(taken, wanted[[4, 0]])
        (tmp_path / name).write_bytes(b"few")
        with pytest.raises(UserError, match="pixels is shorter than it was; give the same command"):
            parts[0][:1]
    else:
        assert np.shares_memory(both, parts[0]) and np.shares_memory(both, parts[1])


@pytest.mark.parametrize("name", [None, "pixels"])
def test_grey_images_before_coloured_ones_repeat_their_channel(tmp_path, name):
    grey, coloured = pictures(5, 1), pictures(4)
    wanted = np.concatenate([np.repeat(grey, 3, -1), coloured])
    parts = slice(0, 2), slice(2, 4), slice(4, 9)
    found = stored(wanted, name and tmp_path / name, parts, channels=(1, 1, 3))
    np.testing.assert_array_equal(found[:], wanted)
    assert [path.name for path in tmp_path.iterdir()] == [name] * bool(name)


def test_a_full_disk_amid_widening_leaves_no_file(tmp_path, monkeypatch):
    store = PixelStore(9, (4, 4, 1), tmp_path / "pixels")
    store.extend(pictures(5, 1), 1)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr(tempfile, "NamedTemporaryFile", full)
        store.extend(pictures(4), 3)
    store.discard()
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_aligned_arrays_are_no_copies():
    images = aligned_empty((30, 64, 64, 3))
    images[:] = 7
    tensor = as_tensor(images)
    assert "CPU" in tensor.device and np.shares_memory(np.asarray(tensor), images)
    assert tf.reduce_all(tf.gather(tensor, [3, 29]) == 7)
    # TensorFlow ends the process where it meets others.
    other = as_tensor(images.reshape(-1)[1 : 1 + 64 * 3 * 64].reshape(1, 64, 64, 3))
    assert tf.reduce_all(tf.gather(other, [0]) == 7)
