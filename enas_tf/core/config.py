"""Fields of configs."""

from dataclasses import field
from typing import Any


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A config's field with its default and its meaning; launchers make a flag of it.

    Args:
        default: the default.
        help: the meaning.
        metadata: what else launchers heed: `flag`, a name for the flag other than the field's.
    """
    return field(default=default, metadata={"help": help, **metadata})
