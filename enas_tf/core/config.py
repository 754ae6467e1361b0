"""Helpers for the fields of configs."""

import types
import typing
from dataclasses import field
from typing import Any


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Returns a field of a config, with a default and a help text; launchers make it a flag.

    Args:
        default: default value.
        help: what the field means.
        metadata: other settings: `flag`, the name of the flag if it is not the field's; `once`,
            whether the flag may be given only once; `is_size`, whether it decides what network is
            trained in the end, so that another run's weights fit only where it is the same.
    """
    return field(default=default, metadata={"help": help, **metadata})


def accepts(annotation: Any, value: Any) -> bool:
    """Returns whether a field of a type may have a value; a whole number also stands for its text.

    Args:
        annotation: a type of which a flag can be made: int, float, bool, str, a Literal, or one of
            these or None.
        value: any.
    """
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(accepts(one, value) for one in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return value in typing.get_args(annotation)
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    wider = {float: (int, float), str: (int, str)}
    return isinstance(value, wider.get(annotation, annotation))
