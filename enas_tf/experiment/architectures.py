"""Architectures that users give, of any size, with spaces that hold them."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc, Space
from enas_tf.zoo import resolve


def given_arc(source: str, space: Space) -> tuple[Space, Arc]:
    """Reads what `--arc` names: a published architecture, a file, or an architecture's text.

    Args:
        source: what was given.
        space: the run's, whose options other than the size count.

    Returns:
        The architecture, and a space of its size.

    Raises:
        UserError: it is none of a space like the run's.
    """
    return read_arc(space, *resolve(source, space.name))


def derived_arc(folder: Path, space: Space) -> tuple[Space, Arc]:
    """Reads the architecture that the run in a folder has derived, as `given_arc` does.

    Raises:
        UserError: it has derived none, or none of a space like the given one.
    """
    path = folder / "arc.txt"
    if not path.exists():
        raise UserError(
            f"no architecture: {path} is missing; run the verbs search and derive first, or give "
            "one by --arc"
        )
    return given_arc(str(path), space)


def read_arc(space: Space, text: str, op_set: str | None = None) -> tuple[Space, Arc]:
    """Reads an architecture's text; returns it with a space that holds it.

    Args:
        space: the run's, whose options other than the size count.
        text: of the architecture.
        op_set: the ops that the numbers in the text stand for, if known.

    Raises:
        UserError: the text is invalid, or its numbers stand for other ops than the run's, which
            would later read the text as another architecture.
    """
    # All options but the first, the size, which the text determines.
    options = {field.name: getattr(space, field.name) for field in fields(space)[1:]}
    if op_set is None and isinstance(space.read_form(text), Sequence):
        op_set = space.usual_op_set
    _check_op_set(space, op_set)
    found, arc = space.of(text, **options)
    if getattr(found, "op_set", None) != options.get("op_set"):
        # The text names its ops, and may have none but those of the run.
        _check_op_set(space, arc.op_set)
    return found, arc


def _check_op_set(space: Space, needed: str | None) -> None:
    own = getattr(space, "op_set", None)
    if needed is None or own is None or space.shares_numbers(needed):
        return
    raise UserError(
        f"this architecture needs --space.ops={needed}; with --space.ops={own} its numbers "
        "stand for other ops"
    )
