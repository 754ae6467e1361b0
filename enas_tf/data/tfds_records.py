"""Images as TensorFlow Datasets keeps them: records of its files."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError, one_line

# Bytes in a file before each record, its length with a checksum, and after it, its own checksum.
_BEFORE, _AFTER = 12, 4


class TfdsRecords:
    """The records of some splits, as `enas_tf.data.encoded.Encoded`; facts are length and label.

    Args:
        builder: of the data set, which is on disk.
        splits: names of splits, which may be parts such as `train[:-5000]`; all records of their
            files have places, in the order of the files.
        keys: the names under which examples hold the image and the label.

    Raises:
        UserError: files of the data set are missing, or of another kind than TFRecord.
    """

    num_facts = 2

    def __init__(self, builder, splits: Iterable[str], keys: tuple[str, str]) -> None:
        import tensorflow_datasets as tfds

        file_format = builder.info.file_format
        if file_format not in (None, tfds.core.FileFormat.TFRECORD):
            raise UserError(
                f"data set {builder.name!r} in {builder.data_dir} is kept as {file_format.value}, "
                "but only tfrecord can be read; get it again in TFDS's usual format"
            )
        self._builder, self._keys = builder, keys
        self._parts = {name: builder.info.splits[name].file_instructions for name in splits}
        counts = {
            part.filename: part.examples_in_shard for some in self._parts.values() for part in some
        }
        self._files = list(counts)
        # The place of each file's first record; and the number of all records.
        self._first = np.cumsum([0, *counts.values()])
        every = builder.info.features
        some = tfds.decode.PartialDecoding(dict.fromkeys(keys, True))
        self._features = some.extract_features(every)
        self.most_channels = every[keys[0]].shape[-1] or 3
        try:
            stats = [(file, Path(file).stat()) for file in self._files]
        except OSError as error:
            self.report({0: f"{error.filename}: {error.strerror}"}, skip=False)
        files = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
        self.key = [builder.info.full_name, keys, files]

    def __len__(self) -> int:
        return int(self._first[-1])

    def places(self, split: str) -> np.ndarray:
        """Returns the places of a split's records."""
        parts = [np.zeros(0, np.int64)]
        for part in self._parts[split]:
            first = self._first[self._files.index(part.filename)] + part.skip
            parts.append(np.arange(first, first + part.take))
        return np.concatenate(parts)

    def labels(self, facts: np.ndarray) -> np.ndarray:
        """Returns the label of each record, int32."""
        return facts[:, 1].astype(np.int32)

    def handles(self) -> tf.data.Dataset:
        """Returns the content of each record, whose checksums are verified."""
        return tf.data.TFRecordDataset(self._files, buffer_size=2**20).map(lambda one: (one,))

    def handles_of(self, places: tf.Tensor, facts: np.ndarray) -> tuple[tf.Tensor]:
        """Reads records."""
        lengths = facts[:, 0]
        starts = np.cumsum(lengths + _BEFORE + _AFTER) - lengths - _AFTER
        # Within the file of each; a file begins with what is before its first record.
        owners = np.searchsorted(self._first, np.arange(len(starts)), "right") - 1
        starts -= starts[self._first[owners]] - _BEFORE

        def read(places: np.ndarray) -> np.ndarray:
            records = np.empty(len(places), object)
            for owner in np.unique(owners[places]):
                with open(self._files[owner], "rb", buffering=0) as file:
                    for i in np.flatnonzero(owners[places] == owner):
                        length, start = int(lengths[places[i]]), int(starts[places[i]])
                        records[i] = os.pread(file.fileno(), length, start)
            return records

        records = tf.numpy_function(read, [places], tf.string, stateful=False)
        return (tf.ensure_shape(records, (None,)),)

    def decode(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes the image of a record."""
        example = self._features.deserialize_example(record)
        length = tf.cast(tf.strings.length(record), tf.int64)
        image, label = (example[key] for key in self._keys)
        return image, tf.stack([length, tf.cast(label, tf.int64)])

    def name(self, place: int) -> str:
        """Returns the record's number in its file."""
        owner = np.searchsorted(self._first, place, "right") - 1
        return f"record {place - self._first[owner]} of {self._files[owner]}"

    def why(self, place: int) -> str:
        """Returns what TensorFlow says of a record."""
        try:
            for record in self.handles().skip(place).take(1):
                self.decode(*record)
        except tf.errors.OpError as error:
            return one_line(error)
        return "it has changed"

    def report(self, reasons: Mapping[int, str], skip: bool) -> None:
        """Raises UserError: what TensorFlow Datasets has made is whole, or not to be trusted."""
        raise UserError(
            f"data set {self._builder.name!r} in {self._builder.data_dir} cannot be read "
            f"({next(iter(reasons.values()))}); delete that folder and get it again"
        )
