"""Fields of configs."""

from dataclasses import field, fields, replace
from typing import Any, TypeVar

Config = TypeVar("Config")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A config's field with its default and its meaning; launchers make a flag of it.

    Args:
        default: the default.
        help: the meaning.
        metadata: what else launchers heed: `flag`, a name for the flag other than the field's.
    """
    return field(default=default, metadata={"help": help, **metadata})


def overridden(config: Config, other: Any) -> Config:
    """A config with another config's values in the fields that both have.

    Raises:
        UserError: values that the config refuses.
    """
    both = {field.name for field in fields(config)} & {field.name for field in fields(other)}
    return replace(config, **{name: getattr(other, name) for name in both})
