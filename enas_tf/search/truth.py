"""The true accuracies of a space's architectures, in a table that somebody has made.

The table is a CSV file with a header. Its column `arch` has an architecture a row, in any form that
its space reads; each other column has accuracies in percent, such as `cifar10-test`.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TextIO

from enas_tf.core.errors import UserError
from enas_tf.core.space import Space, Tokens, text_of
from enas_tf.core.stores import is_remote, read_text

_ARCH = "arch"


@dataclass(frozen=True)
class Truth:
    """What a column of a table says.

    Attributes:
        source: the file and the column, in words.
        accuracies: in percent, by the architectures' tokens.
    """

    source: str
    accuracies: Mapping[Tokens, float]

    def accuracy(self, tokens: Iterable[int]) -> float:
        """Returns the accuracy of an architecture, in percent.

        Raises:
            UserError: the table does not have it.
        """
        tokens = tuple(map(int, tokens))
        if tokens not in self.accuracies:
            raise UserError(f"{self.source} does not have the architecture {text_of(tokens)}")
        return self.accuracies[tokens]

    @cached_property
    def best(self) -> float:
        """The highest accuracy of all."""
        return max(self.accuracies.values())

    @cached_property
    def mean(self) -> float:
        """The mean of all accuracies."""
        return math.fsum(self.accuracies.values()) / len(self.accuracies)

    def check_complete(self, space: Space) -> None:
        """Raises UserError where the table lacks architectures of a space."""
        known, wanted = len(self.accuracies), space.count()
        if known < wanted:
            raise UserError(
                f"{self.source} has {known:,} of the {wanted:,} architectures of the "
                f"{space.name} space, any of which a search may draw"
            )


def read_truth(path: str, column: str | None, space: Space) -> Truth:
    """Reads a table.

    Args:
        path: of the file, or its address in a store.
        column: that holds the accuracies; None takes the first beside `arch`.
        space: of the architectures.

    Raises:
        UserError: the file cannot be read; it lacks a column; or a row of it, whose line is named,
            is no architecture of the space, is there twice, or has no accuracy.
    """
    try:
        with _opened(path) as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            column = _column(path, header, column)
            return Truth(
                f"{path} (column {column})", dict(_read_rows(path, rows, header, column, space))
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the table of true accuracies {path} cannot be read: {error}") from error


def _opened(path: str) -> TextIO:
    if is_remote(path):
        return io.StringIO(read_text(path), newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _column(path: str, header: list[str], column: str | None) -> str:
    """Returns the requested column, which must exist beside `arch`."""
    others = [name for name in header if name != _ARCH]
    if _ARCH not in header or not others:
        found = ", ".join(header) or "none"
        raise UserError(f"{path} must have a column {_ARCH} and one of accuracies; it has {found}")
    if column is None:
        return others[0]
    if column not in others:
        known = ", ".join(others)
        raise UserError(f"{path} has no column {column}; give one of {known} by --truth_column")
    return column


def _read_rows(
    path: str, rows: Iterator[list[str]], header: list[str], column: str, space: Space
) -> Iterator[tuple[Tokens, float]]:
    """Yields each row's architecture and accuracy, checked."""
    seen, largest = {}, 0.0
    for row in rows:
        # The reader counts lines from 1, the header's.
        line = rows.line_num
        if not row:
            continue
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(header)} values expected, got {len(row)}")
        values = dict(zip(header, row, strict=True))
        try:
            tokens = space.parse(values[_ARCH]).tokens
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from error
        if tokens in seen:
            raise UserError(
                f"{path}, line {line}: the architecture is in line {seen[tokens]} already"
            )
        seen[tokens] = line
        accuracy = _percent(values[column])
        if accuracy is None:
            raise UserError(
                f"{path}, line {line}: {column} must be an accuracy in percent, from 0 to 100, "
                f"got {values[column]!r}"
            )
        largest = max(largest, accuracy)
        yield tokens, accuracy
    if largest <= 1:
        raise UserError(
            f"{path} has no architecture with {column} over 1: accuracies must be in percent"
        )


def _percent(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 100 else None
