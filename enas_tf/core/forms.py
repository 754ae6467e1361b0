"""The forms in which others write architectures, and readers that several spaces share."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enas_tf.core.errors import UserError

Values = Sequence[int] | Mapping[str, object]
"""Unchecked tokens in text order, or the values by the names of their slots."""


@dataclass(frozen=True)
class Form:
    """A form in which others write architectures of a space.

    Attributes:
        name: of the form, for `describe --format`.
        read: returns the values of a text of this form, and None for any other text; raises
            UserError where the text is of this form, but is no architecture of the space.
        write: returns an architecture, an `Arc` whose ops are of the default set, in this form.
    """

    name: str
    read: Callable[[str], Values | None]
    write: Callable[[Any], str]


def read_blocks(text: str) -> list[list[int]] | None:
    """Reads arrays as the authors' searches print them: `[1]`, `[1 1]`, `[5 0 0]`.

    A line `val_acc=...` may stand below, as in their logs.

    Returns:
        The arrays; None if the text is anything else.

    Raises:
        UserError: the text holds several architectures.
    """
    lines = text.splitlines()
    rest = "\n".join(line for line in lines if not re.match(r"\s*(val_acc\b|-+\s*$)", line))
    if not re.fullmatch(r"(\s*\[[\d\s]*\])+\s*", rest):
        return None
    count = sum("val_acc" in line for line in lines)
    if count > 1:
        raise UserError(f"this text has {count} architectures, each with its val_acc; give one")
    return [[int(word) for word in block.split()] for block in re.findall(r"\[([^]]*)\]", rest)]


def read_script(text: str) -> list[int] | None:
    """Reads the assignments of the authors' scripts: `fixed_arc="$fixed_arc 3 0"`.

    The text may be a whole script; one without `$fixed_arc` starts anew.
    """
    assigned = re.findall(r"""fixed_arc=(["'])(\$\{?fixed_arc\}?)?([\d\s]*)\1""", text)
    if not assigned:
        return None
    tokens: list[int] = []
    for _, before, words in assigned:
        tokens = [*(tokens if before else []), *map(int, words.split())]
    return tokens


def write_blocks(blocks: Sequence[Sequence[int]]) -> str:
    """Writes arrays as the authors' searches print them, one a line."""
    return "\n".join(f"[{' '.join(map(str, block))}]" for block in blocks)


def write_script(rows: Sequence[Sequence[int]]) -> str:
    """Writes the assignments of the authors' scripts, one a line."""
    words = [" ".join(map(str, row)) for row in rows]
    return "\n".join(
        f'fixed_arc="{"$fixed_arc " if number else ""}{row}"' for number, row in enumerate(words)
    )


def chosen(value: object, count: int, place: str) -> list[int]:
    """Returns the numbers that one of NNI's choices has chosen of `range(count)`.

    Args:
        value: a mask of booleans, as NNI 1 and 2 export it; or one number, or a list of them.
        count: how many there are to choose from.
        place: the choice's key, for the error.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, list) and value and all(isinstance(bit, bool) for bit in value):
        numbers = [number for number, bit in enumerate(value) if bit]
        if len(value) == count:
            return numbers
    else:
        numbers = value if isinstance(value, list) else [value]
        if all(type(number) is int and 0 <= number < count for number in numbers):
            return numbers
    raise UserError(f"NNI's {place} must choose among {count}, by a mask or numbers, got {value}")


def decode_json(text: str) -> dict:
    """Returns the object that a JSON text holds; raises UserError if it holds none."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"the architecture's JSON cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"the architecture's JSON must be an object, got {shown(text)}")
    return value


def shown(value: object) -> str:
    """Returns a wrong value as error messages show it: on one line, and cut if it is long."""
    line = " ".join(str(value).split())
    return line if len(line) <= 60 else f"{line[:57]}..."
