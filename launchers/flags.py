"""Command-line flags made from config dataclasses.

Each field of a config becomes a flag. The flag's name is the config's prefix, a dot and the field's
name, or the `"flag"` in the field's metadata; its type is the annotation (int, float, bool, str or
Literal, each also `| None`); its help text is the `"help"` in the metadata. A field without a help
text is set only by code, and gets no flag. Of a flag that is given twice the last value counts;
where the metadata have `"once"`, this is an error.
"""

import dataclasses
import math
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from enas_tf.core.errors import UserError


class Flags:
    """The flags of one launcher, which override the values of a preset.

    They are parsed by absl, in a registry of their own, which keeps out the flags that libraries
    define. `--name=value`, `--name value`, `--noname` and `--flagfile=FILE` all work, as in absl.

    Args:
        usage: the text that `--help` prints before the flags: the command, its verbs, examples.

    Example:

    ```python
    flags = Flags(usage=__doc__)
    flags.add("", {"paper": Common(), "tiny": Common(dataset="digits")})
    flags.add("child", {"paper": CellChildConfig(), "tiny": CellChildConfig(out_filters=4)})
    verbs = flags.parse(sys.argv)
    preset = flags.config("").preset
    child = flags.config("child", preset)
    ```
    """

    def __init__(self, usage: str) -> None:
        self._usage = usage
        self._values = flags.FlagValues()
        self._presets: dict[str, Mapping[str, Any]] = {}

    def add(self, prefix: str, presets: Mapping[str, Any]) -> None:
        """Makes a flag for each field that has a help text.

        Args:
            prefix: the first part of the flags' names, before a dot; "" for names without a dot.
            presets: instances of one config dataclass by the name of the preset, the default
                first.

        Raises:
            TypeError: if no flag can be made for a field's annotation.
        """
        self._presets[prefix] = presets
        for field, annotation in _flag_fields(_first(presets)):
            parser = _ValueParser(annotation)
            flag = flags.Flag(
                parser,
                serializer=None,
                name=_name(prefix, field),
                # Not the preset's value, since the preset is chosen by a flag itself.
                default=None,
                help_string=field.metadata["help"],
                boolean=parser.boolean,
                allow_overwrite=not field.metadata.get("once"),
            )
            flags.DEFINE_flag(flag, self._values)

    def parse(self, argv: Sequence[str]) -> list[str]:
        """Parses a command line; what a later call gives is added to that of the earlier ones.

        Args:
            argv: the program's name and its arguments, as in `sys.argv`.

        Returns:
            The arguments that are not flags, such as the verb.

        Raises:
            SystemExit: with status 0, after printing the help text for `--help` or `-h`.
            UserError: if a flag is unknown or its value is invalid.
        """
        if {"-h", "-help", "--help"} & set(argv):
            print(self.help())
            raise SystemExit(0)
        try:
            return self._values(argv)[1:]
        # absl raises a bare ValueError for `--noname=value`.
        except (flags.Error, ValueError) as error:
            line = " ".join(str(error).removeprefix("flag ").split())
            raise UserError(f"{line} (--help lists all flags)") from error

    def config(self, prefix: str, preset: str | None = None) -> Any:
        """Returns the preset's config for a prefix, changed by the flags that were given.

        Args:
            prefix: the prefix, as given to `add`.
            preset: the name of the preset; None takes the first.

        Raises:
            UserError: if the config rejects the values.
        """
        presets = self._presets[prefix]
        config = _first(presets) if preset is None else presets[preset]
        given = {}
        for field, _ in _flag_fields(config):
            flag = self._values[_name(prefix, field)]
            if flag.present:
                given[field.name] = flag.value
        return dataclasses.replace(config, **given)

    def is_given(self, name: str) -> bool:
        """Returns whether the command line has a flag, given by its whole name."""
        return bool(self._values[name].present)

    def help(self) -> str:
        """Returns the help text: the usage, then all flags with type, default and meaning."""
        blocks = [textwrap.dedent(self._usage).strip()]
        for prefix, presets in self._presets.items():
            summary = type(_first(presets)).__doc__.strip().splitlines()[0]
            blocks.append(f"--{prefix}.*  {summary}" if prefix else summary)
            blocks += [
                _flag_help(_name(prefix, field), field, annotation, presets)
                for field, annotation in _flag_fields(_first(presets))
            ]
        blocks.append("--flagfile=FILE reads flags from a file, one a line.")
        return "\n\n".join(blocks)


class _ValueParser(flags.ArgumentParser):
    """Parses one value of an annotated type, or `none` if the annotation allows None.

    Raises:
        TypeError: if the annotation is not supported.
    """

    def __init__(self, annotation: Any) -> None:
        kinds = [annotation]
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            kinds = list(typing.get_args(annotation))
        self._optional = type(None) in kinds
        kind, *others = [kind for kind in kinds if kind is not type(None)]
        if others:
            raise TypeError(f"no flag can be made for {annotation}")
        # So that `--name` alone means true.
        self.boolean = kind is bool or {"true", "false"} <= set(typing.get_args(kind))
        self._read, self.wanted = _reader(kind)
        if self._optional:
            self.wanted += ", or none"

    def parse(self, argument: str) -> Any:
        if self._optional and argument.lower() == "none":
            return None
        try:
            return self._read(argument)
        except (KeyError, ValueError) as error:
            raise ValueError(f"give {self.wanted}") from error


def _reader(kind: Any) -> tuple[Callable[[str], Any], str]:
    """Returns a function that reads a value from text, and a phrase for the expected values."""
    if typing.get_origin(kind) is typing.Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        return choices.__getitem__, "one of " + ", ".join(choices)
    truths = {"true": True, "1": True, "false": False, "0": False}
    readers = {
        int: (int, "a whole number"),
        float: (_finite, "a number"),
        bool: (lambda text: truths[text.lower()], "true or false"),
        str: (str, "text"),
    }
    if kind not in readers:
        raise TypeError(f"no flag can be made for {kind}")
    return readers[kind]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _first(presets: Mapping[str, Any]) -> Any:
    return next(iter(presets.values()))


def _name(prefix: str, field: dataclasses.Field) -> str:
    name = field.metadata.get("flag", field.name)
    return f"{prefix}.{name}" if prefix else name


def _flag_fields(config: Any) -> list[tuple[dataclasses.Field, Any]]:
    """Returns the fields that are flags, each with its resolved annotation."""
    annotations = typing.get_type_hints(type(config))
    return [
        (field, annotations[field.name])
        for field in dataclasses.fields(config)
        if "help" in field.metadata
    ]


def _flag_help(
    name: str, field: dataclasses.Field, annotation: Any, presets: Mapping[str, Any]
) -> str:
    values = {preset: _shown(getattr(c, field.name)) for preset, c in presets.items()}
    default = next(iter(values.values()))
    others = ", ".join(f"{p}: {value}" for p, value in values.items() if value != default)
    head = f"  --{name}  {_ValueParser(annotation).wanted}; default {default}"
    meaning = textwrap.fill(
        field.metadata["help"], width=96, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
    return f"{head} ({others})\n{meaning}" if others else f"{head}\n{meaning}"


def _shown(value: Any) -> str:
    """Returns a value as it would be written on the command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else repr(value)
