"""Checks of data sets that a user has made."""

from collections.abc import Mapping, Sized

from enas_tf.core.errors import UserError


def check_splits(name: str, splits: Mapping[str, Sized]) -> None:
    """Checks that a data set has its three splits.

    Args:
        name: the data set's name.
        splits: by their names.

    Raises:
        UserError: a split is missing or empty.
    """
    for split in ("train", "valid", "test"):
        if split not in splits or not len(splits[split]):
            raise UserError(
                f"{name} has no examples in split {split}; a data set needs train, valid and test"
            )
