"""The base classes of search spaces and architectures: tokens and how to read and check them."""

import itertools
import json
import math
import operator
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

from enas_tf.core.errors import UserError, one_line
from enas_tf.core.forms import Form, Values, decode_json, shown
from enas_tf.core.graphs import Graph

Tokens = tuple[int, ...]


def text_of(tokens: Iterable[int]) -> str:
    """Returns the text of an architecture of these tokens; a tensor's must be an array."""
    return " ".join(map(str, tokens))


@dataclass(frozen=True)
class Slot:
    """The place of one token in an architecture's text.

    Attributes:
        name: where the token is, from the outside in, e.g. `"normal cell, node 2, index 1"`.
        size: the token is one of `range(least, size)`.
        options: what these numbers stand for, in words; error messages quote it.
        words: what JSON writes for each number; empty if it writes the number itself.
        least: the smallest number.
    """

    name: str
    size: int
    options: str
    words: tuple[str | bool, ...] = ()
    least: int = 0

    @property
    def allowed(self) -> str:
        """The allowed numbers with their meaning, for error messages."""
        most = self.size - 1
        numbers = f"an integer from {self.least} to {most}" if most > self.least else str(most)
        return f"{numbers} ({self.options})"


class Arc(ABC):
    """One immutable architecture; its tokens, text, JSON and object hold the same information."""

    @property
    @abstractmethod
    def tokens(self) -> Tokens:
        """The architecture as a flat tuple of integers, in text order."""

    @property
    @abstractmethod
    def ops(self) -> Tokens:
        """The numbers of all ops that the architecture runs, in text order."""

    @property
    @abstractmethod
    def inputs(self) -> Tokens:
        """The entries that its indices or skip connections choose, in text order.

        Each is a position in the space's `entries`.
        """

    @property
    @abstractmethod
    def space(self) -> "Space":
        """The smallest space that holds this architecture."""

    @classmethod
    @abstractmethod
    def from_json(cls, text: str) -> "Arc":
        """Returns the architecture, of any size, that `to_json` wrote; UserError if it is wrong."""

    def __str__(self) -> str:
        return text_of(self.tokens)

    @property
    def portable(self) -> str:
        """The text to keep in a file: whoever reads it gets this architecture."""
        return str(self)

    def to_json(self) -> str:
        """Returns the architecture as a JSON object that names every place and op in words."""
        names = self._words()
        for token, slot in zip(self.tokens, self.space.slots, strict=True):
            *outer, last = slot.name.split(", ")
            inner = names
            for key in outer:
                inner = inner.setdefault(key, {})
            inner[last] = slot.words[token] if slot.words else token
        return json.dumps(names, indent=2)

    def _words(self) -> dict:
        """Returns the fields that come first in `to_json`."""
        return {"space": self.space.name}


class Space(ABC):
    """All architectures of one kind and one size.

    A subclass is a frozen dataclass whose first field is the size: its number of layers or nodes.
    It provides the slots, makes an `Arc` from checked tokens, and explains and draws it.
    """

    name: ClassVar[str]
    """The name of this kind of space, e.g. `"micro"`."""

    unit: ClassVar[str]
    """What the size counts: `"layer"` or `"node"`."""

    smallest: ClassVar[int] = 1
    """The smallest size."""

    forms: ClassVar[tuple[Form, ...]] = ()
    """Other forms in which architectures are written, and read."""

    def __post_init__(self) -> None:
        """Raises UserError if the size is no integer, or below the smallest."""
        field = fields(self)[0].name
        size = getattr(self, field)
        if not isinstance(size, int) or size < self.smallest:
            raise UserError(
                f"space.{field} must be an integer of at least {self.smallest}, got {shown(size)}"
            )

    @property
    @abstractmethod
    def ops(self) -> tuple[str, ...]:
        """The names of the ops (rnn: activations); an op's token is its position here."""

    @property
    def weightless_ops(self) -> tuple[str, ...]:
        """The names of the ops that have no weights of their own, where a space tells them."""
        return ()

    @property
    @abstractmethod
    def entries(self) -> tuple[str, ...]:
        """The names of what an index or a skip connection can choose."""

    @property
    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """The slots, one per token, in text order."""

    @classmethod
    @abstractmethod
    def num_tokens(cls, size: int) -> int:
        """Returns the number of tokens of an architecture with `size` layers or nodes."""

    @abstractmethod
    def _arc(self, tokens: Tokens) -> Arc:
        """Returns the architecture with these tokens, which have been checked."""

    @abstractmethod
    def explain(self, arc: Arc) -> str:
        """Returns a text of several lines: what each layer or node computes, and from what."""

    @abstractmethod
    def graphs(self, arc: Arc) -> tuple[Graph, ...]:
        """Returns the graphs to draw: one per kind of cell, or one for the whole network."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """What each token is below, in text order."""
        return tuple(slot.size for slot in self.slots)

    @cached_property
    def choices(self) -> tuple[tuple[Tokens, ...], ...]:
        """The independent choices that make an architecture, each with all its outcomes.

        An outcome is the tokens of the slots that the choice decides. Choices are in text order,
        and most decide a single slot.
        """
        return tuple(
            tuple((token,) for token in range(slot.least, slot.size)) for slot in self.slots
        )

    def slot_after(self, tokens: Sequence[int]) -> Slot:
        """Returns the slot that follows the first tokens, with the numbers that they leave it."""
        return self.slots[len(tokens)]

    def parse(self, source: str | Arc | Mapping | Iterable[int]) -> Arc:
        """Reads an architecture of exactly this size.

        Args:
            source: integers separated by white space or commas; or the JSON form, as text or
                decoded; or a text in one of `forms`; or an `Arc`; or the integers themselves.

        Raises:
            UserError: a token is wrong; the message has its place, what is allowed there, and
                what was given.
        """
        return self._arc(self._checked(self._read(source), [getattr(self, fields(self)[0].name)]))

    @classmethod
    def read_form(cls, text: str) -> Values | None:
        """Returns the values of a text in one of `forms`, unchecked; None for any other text.

        Raises:
            UserError: the text is in such a form, but is no architecture of this space.
        """
        for form in cls.forms:
            try:
                values = form.read(text)
            except UserError:
                raise
            # What the text holds is anybody's: a reader need not foresee all that can be wrong.
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise UserError(
                    f"this text looks like an architecture in the form {form.name}, but is not "
                    f"whole ({one_line(error)})"
                ) from error
            if values is not None:
                return values
        return None

    def write_form(self, arc: Arc, name: str) -> str:
        """Returns an architecture in the form of a name: `tokens`, `json`, or one of `forms`.

        Raises:
            UserError: there is no such form, or it lacks one of the architecture's ops.
        """
        forms = {"tokens": str, "json": lambda arc: arc.to_json()}
        forms |= {form.name: form.write for form in self.forms}
        if name not in forms:
            raise UserError(f"format must be one of {', '.join(forms)}, got {name}")
        return forms[name](arc)

    def check(self, tokens: Iterable[int]) -> Tokens:
        """Returns the tokens as a tuple of plain integers; raises UserError like `parse`."""
        return self.parse(tokens).tokens

    def random(self, rng: random.Random) -> Arc:
        """Draws one architecture; all architectures of the space are equally likely."""
        chosen = (outcomes[rng.randrange(len(outcomes))] for outcomes in self.choices)
        return self._arc(tuple(itertools.chain.from_iterable(chosen)))

    def count(self) -> int:
        """Returns the exact number of architectures, counted as the controller draws them."""
        return math.prod(map(len, self.choices))

    def paper_count(self) -> int | None:
        """Returns the paper's number of architectures if it counts differently, else None."""
        return None

    @classmethod
    def of(cls, source: str | Arc | Mapping | Iterable[int], **options) -> tuple["Space", Arc]:
        """Reads an architecture of any size, which follows from the number of tokens.

        Args:
            source: as for `parse`.
            **options: the space's fields other than its size.

        Returns:
            The space of that size, and the architecture.

        Raises:
            UserError: as in `parse`; if no size fits, the message has the numbers of tokens that
                would.
        """
        values, any_size = cls._read(source), cls(cls.smallest, **options)
        sizes = itertools.count(cls.smallest)
        size = next(n for n in sizes if any_size.num_tokens(n) >= len(values))
        fits = [size]
        if any_size.num_tokens(size) != len(values):
            fits = [n for n in (size - 1, size) if n >= cls.smallest]
        space = cls(size, **options)
        return space, space._arc(space._checked(values, fits))

    @classmethod
    def _read(cls, source: str | Arc | Mapping | Iterable[int]) -> dict[str, object]:
        """Returns the unchecked values of `source` by place: `"token 1"` or a slot's name."""
        if isinstance(source, Arc):
            if source.space.name != cls.name:
                raise UserError(
                    f"expected an architecture of the {cls.name} space, "
                    f"got one of the {source.space.name} space: {shown(source)}"
                )
            source = source.tokens
        if isinstance(source, str):
            text = source.strip()
            other = cls.read_form(text)
            if isinstance(other, Mapping):
                return dict(other)
            if other is not None:
                return cls._read(other)
            source = decode_json(text) if text.startswith("{") else re.findall(r"[^\s,]+", text)
        if isinstance(source, Mapping):
            values = _flatten(source)
            named = values.pop("space", None)
            if named != cls.name:
                raise UserError(f'"space" in the JSON must be "{cls.name}", got {shown(named)}')
            return values
        return {f"token {place}": value for place, value in enumerate(source, 1)}

    def _checked(self, values: dict[str, object], fits: Sequence[int]) -> Tokens:
        """Returns the tokens of `values`, given by place; errors name the sizes in `fits`."""
        note = ""
        if len(values) != len(self.slots):
            wanted = " or ".join(f"{self.num_tokens(n)} ({_plural(n, self.unit)})" for n in fits)
            note = (
                f"; the number of tokens in the {self.name} space must be {wanted}, "
                f"got {len(values)}"
            )
        left, tokens = dict(values), []
        for place in range(1, len(self.slots) + 1):
            slot = self.slot_after(tokens)
            key = slot.name if slot.name in left else f"token {place}"
            where = f"token {place} ({slot.name})"
            if key not in left:
                raise UserError(f"{where} is missing: it must be {slot.allowed}{note}")
            value = left.pop(key)
            # Only JSON uses words; the text of an architecture consists of integers.
            in_words = key == slot.name and isinstance(value, str | bool) and value in slot.words
            token = slot.words.index(value) if in_words else _integer(value)
            if token is None or not slot.least <= token < slot.size:
                raise UserError(f"{where} must be {slot.allowed}, got {shown(value)}{note}")
            tokens.append(token)
        if left:
            raise UserError(f"{shown(next(iter(left)))} is not part of the architecture{note}")
        return tuple(tokens)


def numbered(words: Sequence[str]) -> str:
    """Returns the words, each after its number, e.g. `"0 tanh, 1 relu"`."""
    return ", ".join(f"{number} {word}" for number, word in enumerate(words))


def _plural(number: int, unit: str) -> str:
    """Returns a number with its unit, e.g. `"1 node"` or `"2 nodes"`."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _flatten(names: Mapping, outer: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in names.items():
        name = f"{outer}{key}"
        flat |= _flatten(value, f"{name}, ") if isinstance(value, Mapping) else {name: value}
    return flat


def _integer(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if re.fullmatch("[0-9]{1,9}", value) else None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
