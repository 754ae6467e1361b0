"""Helpers for the fields of configs."""

from dataclasses import field
from typing import Any


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Returns a field of a config, with a default and a help text; launchers make it a flag.

    Args:
        default: default value.
        help: what the field means.
        metadata: other settings for launchers: `flag`, the name of the flag if it is not the
            field's.
    """
    return field(default=default, metadata={"help": help, **metadata})
