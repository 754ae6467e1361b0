"""Fields of configs."""

from dataclasses import field
from typing import Any


def option(default: Any, help: str) -> Any:
    """A config's field with its default and its meaning; launchers make a flag of it."""
    return field(default=default, metadata={"help": help})
