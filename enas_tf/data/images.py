"""Readers of image classification data: TensorFlow Datasets, folders of files, digits."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import logging

from enas_tf.core.errors import UserError, one_line
from enas_tf.core.store_copies import local_copy, local_folder
from enas_tf.core.stores import is_remote
from enas_tf.data.base import DataConfig, ImageData, Split, resize
from enas_tf.data.image_cache import keep
from enas_tf.data.image_folders import ImageFiles, find_images, split_folders
from enas_tf.data.pixels import Images, divided
from enas_tf.data.tfds_records import TfdsRecords

HELD_OUT = 0.1  # share of each class that goes to a split that the data set does not have
CIFAR10_SPLITS = {"train": "train[:-5000]", "valid": "train[-5000:]", "test": "test"}
TFDS_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
OFFLINE = "--dataset=digits runs offline"


def load_images(
    dataset: str, data_dir: str | Path | None, config: DataConfig, seed: int = 0
) -> ImageData:
    """Reads a data set, into memory or, if it is large, so that its batches are read from disk.

    CIFAR-10's validation split is the last 5,000 of its 50,000 training images, as in the authors'
    code. Any other data set keeps its own splits; a missing validation or test split is made from a
    tenth of each class of the training split. These images are drawn at random, so that files may
    be sorted by class.

    Args:
        dataset: `"digits"`; `"folder:PATH"` with a folder per class, in PATH itself or in
            PATH/train, PATH/valid (or val, validation) and PATH/test, which may be the address of
            a store; or a name of TensorFlow Datasets.
        data_dir: where TensorFlow Datasets keeps its data, a path or the address of a store; None
            means its own default.
        config: how to read.
        seed: seed of the splits that the data set does not have. Do not change it between runs to
            be compared, or one run would test on images that another trained on.

    Raises:
        UserError: the data are missing, unreadable, of differing sizes, or of one class only.
    """
    if dataset == "digits":
        data = _read_digits(config.image_size)
    elif dataset.startswith("folder:"):
        data = _read_folder(dataset, config)
    else:
        data = _read_tfds(dataset, data_dir, config)
    present = np.unique(data.splits["train"].labels)
    if len(present) < 2:
        raise UserError(
            f"data set {dataset!r} has training images of {len(present)} class; classification "
            f"needs two or more"
        )
    flip = data.flip if config.flip is None else config.flip
    return replace(data, splits=_with_all_splits(data, seed), flip=flip)


def _with_all_splits(data: ImageData, seed: int) -> dict[str, Split]:
    """Returns all splits; those that are missing are taken from the training split, by class."""
    train = data.splits["train"]
    missing = [name for name in ("test", "valid") if name not in data.splits]
    owner = np.full(len(train.labels), "train")
    generator = np.random.default_rng(seed)
    for label in np.unique(train.labels):
        members = generator.permutation(np.flatnonzero(train.labels == label))
        held = max(1, round(HELD_OUT * len(members)))
        if len(members) <= held * len(missing):
            raise UserError(
                f"class {data.class_names[label]!r} of data set {data.name!r} has "
                f"{len(members)} training images, too few to make train, "
                f"{' and '.join(missing)} splits; add images"
            )
        for place, split in enumerate(missing):
            owner[members[place * held : (place + 1) * held]] = split
    return {**data.splits, **_parts(train.images, train.labels, owner)}


def _parts(images: Images, labels: np.ndarray, owner: np.ndarray) -> dict[str, Split]:
    """Divides images by the name of the split that owns each."""
    names = [name for name in ("train", "valid", "test") if name in owner]
    groups = [np.flatnonzero(owner == name) for name in names]
    parts = divided(images, groups)
    return {
        name: Split(part, labels[group])
        for name, part, group in zip(names, parts, groups, strict=True)
    }


def _read_digits(image_size: int) -> ImageData:
    """Reads scikit-learn's 1,797 handwritten digits, 8x8 pixels with 17 grey levels."""
    from sklearn.datasets import load_digits  # slow to import, and needed for digits only

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    split = Split(np.array(resize(images, image_size)), digits.target.astype(np.int32))
    return ImageData("digits", {"train": split}, tuple("0123456789"), flip=False)


def _read_tfds(dataset: str, data_dir: str | Path | None, config: DataConfig) -> ImageData:
    """Reads a data set of TensorFlow Datasets, and downloads it first if it is not on disk."""
    with _quiet():
        builder = _tfds_builder(dataset, data_dir)
        _download_if_missing(builder, dataset)
        keys = _image_and_label(builder.info, dataset, config.image_size)
        wanted = CIFAR10_SPLITS if builder.name == "cifar10" else TFDS_SPLITS
        names = {
            ours: theirs
            for ours, theirs in wanted.items()
            if theirs.split("[")[0] in builder.info.splits
        }
        records = TfdsRecords(builder, names.values(), keys)
        images, survey = keep(records, config)
    labels, owner = records.labels(survey.facts), np.full(len(records), "", "U5")
    for ours, theirs in names.items():
        places = records.places(theirs)
        # Some test splits are published without labels, which are then -1.
        if (labels[places] >= 0).all():
            owner[places] = ours
    class_names = tuple(builder.info.features[keys[1]].names)
    return ImageData(dataset, _parts(images, labels, owner), class_names, flip=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the warnings of TensorFlow Datasets, and sends what it prints to stderr."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.set_verbosity(level)


def _tfds_builder(dataset: str, data_dir: str | Path | None):
    """Returns the builder of a data set, found by its code or by its files."""
    import tensorflow_datasets as tfds  # slow to import, and not needed for other sources

    folder = _tfds_folder(dataset, data_dir)
    try:
        # TensorFlow Datasets prints a banner if a package is missing.
        with contextlib.redirect_stdout(io.StringIO()):
            return tfds.builder(dataset, data_dir=folder)
    except ImportError as error:
        raise UserError(
            f"data set {dataset!r} needs a package that is not there ({one_line(error)}); install "
            f"it, or use folder:PATH; {OFFLINE}"
        ) from error
    except (ValueError, AssertionError) as error:  # unknown name, unknown version
        raise UserError(
            f"data set {dataset!r} is not known to TensorFlow Datasets, and not in "
            f"{folder or 'its default folder'}; use a name of "
            f"https://www.tensorflow.org/datasets/catalog or folder:PATH; {OFFLINE}"
        ) from error


def _tfds_folder(dataset: str, data_dir: str | Path | None) -> Path | None:
    """Returns where TensorFlow Datasets is to look; of a store, the copy of this data set."""
    if not data_dir:
        return None
    if is_remote(data_dir):
        name = re.split("[:/]", dataset)[0]
        return local_copy(str(data_dir), lambda file: file.startswith(f"{name}/"))
    return Path(data_dir).expanduser()


def _download_if_missing(builder, dataset: str) -> None:
    """Downloads a data set, unless it is on disk."""
    import requests  # comes with TensorFlow Datasets

    if builder.is_prepared():
        return
    try:
        for url in list(builder.url_infos)[:1]:
            requests.head(url, timeout=10)  # fails early; a download retries for minutes
        builder.download_and_prepare()
    except Exception as error:  # of any kind: network, disk, steps to be done by hand
        raise UserError(
            f"data set {dataset!r} is not in {builder.data_dir}, and downloading it failed "
            f"({one_line(error)}); get it on a machine with internet access and copy that folder, "
            f"or point --data_dir at the TFDS directory that holds it; {OFFLINE}"
        ) from error


def _image_and_label(info, dataset: str, image_size: int) -> tuple[str, str]:
    """Returns the names under which examples hold the image and the label."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ("image", "label")
    # In a list, since keys can be nested dictionaries, which are not hashable.
    kinds = [type(info.features[key]) for key in keys if key in list(info.features)]
    if kinds != [tfds.features.Image, tfds.features.ClassLabel] or "train" not in info.splits:
        raise UserError(
            f"data set {dataset!r} is not for image classification: it needs a train split of "
            f"images with class labels; {OFFLINE}"
        )
    if None in info.features[keys[0]].shape and not image_size:
        raise UserError(
            f"images of data set {dataset!r} differ in size; pass --data.image_size=N to resize "
            f"all to N x N pixels"
        )
    return keys


def _read_folder(dataset: str, config: DataConfig) -> ImageData:
    """Reads image files from one folder per class."""
    root = local_folder(dataset.removeprefix("folder:"))
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; give one as folder:PATH, or {OFFLINE}")
    found = find_images(split_folders(root))
    images, survey = keep(ImageFiles(found.files), config)
    is_read = survey.is_image
    splits = _parts(images, found.labels[is_read], found.splits[is_read])
    return ImageData(dataset, splits, found.class_names, flip=True)
