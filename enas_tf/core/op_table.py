"""Tables of ops, and the spaces and architectures that take their ops from a table.

A row of a table is the only place that defines an op; see `ops.py` of each space.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

from enas_tf.core.errors import UserError
from enas_tf.core.forms import decode_json
from enas_tf.core.space import Arc, Space, Tokens, numbered


class Row(Protocol):
    """What a table needs of an op.

    Attributes:
        name: of the op.
        has_weights: whether it has weights of its own.
    """

    name: str
    has_weights: bool


@dataclass(frozen=True)
class OpTable:
    """The ops that a space can have, in the order of their numbers.

    A text selects a set of ops. A number N selects the first N rows, so that every op keeps its
    usual number. Otherwise the text holds the names of ops, separated by commas, in which
    underscores may replace spaces; these ops are renumbered from 0, in the table's order.

    Attributes:
        rows: the ops.
        default: number of ops that a space has by default, the first ones of the table.
    """

    rows: tuple[Row, ...]
    default: int

    @property
    def help(self) -> str:
        """The help text of the option that selects a set."""
        return (
            "ops to choose from: a number, for so many of the following, or the names of some, "
            f"separated by commas: {', '.join(self.names)}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all rows."""
        return tuple(row.name for row in self.rows)

    def choose(self, op_set: str | int) -> tuple[Any, ...]:
        """Returns the rows of a set.

        Raises:
            UserError: the table does not have the number or a name, or a name is given twice.
        """
        text = str(op_set).strip()
        if text.isdecimal():
            if not 1 <= int(text) <= len(self.rows):
                raise UserError(
                    f"space.ops must be from 1 to {len(self.rows)}, so many of "
                    f"{numbered(self.names)}, or names of these, got {text}"
                )
            return self.rows[: int(text)]
        # A table's own names may have underscores too.
        known = {_spaced(name): name for name in self.names}
        wanted = [known.get(_spaced(name), _spaced(name)) for name in text.split(",")]
        for name in wanted:
            if name not in self.names:
                raise UserError(
                    f"space.ops: no op is called {name!r}; give a number, or names of "
                    f"{', '.join(self.names)}"
                )
            if wanted.count(name) > 1:
                raise UserError(f"space.ops names {name} twice")
        return tuple(row for row in self.rows if row.name in wanted)

    def canonical(self, op_set: str | int) -> str:
        """Returns the canonical text of a set: a number for the first rows, else the names.

        Raises:
            UserError: in the same cases as `choose`.
        """
        rows = self.choose(op_set)
        return str(len(rows)) if rows == self.rows[: len(rows)] else ",".join(r.name for r in rows)

    def smallest(self, op_set: str | int, ops: Iterable[int]) -> str:
        """Returns the smallest set for an architecture with the given ops from `op_set`.

        Ops have the same numbers in all sets of first rows, so that an architecture is the same in
        each of them. Its set is then the default one, or the first larger one that has its ops.
        """
        text = self.canonical(op_set)
        return str(max(self.default, *(op + 1 for op in ops))) if text.isdecimal() else text


def _spaced(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


class TableArc(Arc):
    """An architecture whose ops are rows of a table.

    A subclass is a frozen dataclass with a field `op_set`, the set that numbers its ops.
    """

    table: ClassVar[OpTable]
    op_set: str

    def __post_init__(self) -> None:
        """Replaces `op_set` by the smallest set, so that equal architectures compare equal."""
        # Frozen dataclasses refuse plain assignments.
        object.__setattr__(self, "op_set", self.table.smallest(self.op_set, self.ops))

    @property
    def rows(self) -> tuple[Any, ...]:
        """The ops of the architecture's set, in the order of their numbers."""
        return self.table.choose(self.op_set)

    @property
    def portable(self) -> str:
        """The tokens where their numbers are the usual ones, else JSON, which names the ops."""
        return str(self) if self.op_set.isdecimal() else self.to_json()

    def _words(self) -> dict:
        names = [row.name for row in self.rows]
        known = self.op_set == str(self.table.default)
        return super()._words() | ({} if known else {"ops": names})


class TableSpace(Space):
    """A space whose ops are rows of a table.

    A subclass is a frozen dataclass with a field `op_set`, the set of ops to choose from.
    """

    table: ClassVar[OpTable]
    op_set: str

    def __post_init__(self) -> None:
        """Raises UserError for a size or a set of ops that does not exist."""
        super().__post_init__()
        object.__setattr__(self, "op_set", self.table.canonical(self.op_set))

    @cached_property
    def rows(self) -> tuple[Any, ...]:
        """The ops to choose from, in the order of their numbers."""
        return self.table.choose(self.op_set)

    @property
    def ops(self) -> tuple[str, ...]:
        """The names of the ops to choose from."""
        return tuple(row.name for row in self.rows)

    @property
    def weightless_ops(self) -> tuple[str, ...]:
        """The names of the ops that have no weights of their own."""
        return tuple(row.name for row in self.rows if not row.has_weights)

    @property
    def op_options(self) -> str:
        """The ops with their numbers, and those that other sets have, for error messages."""
        others = [name for name in self.table.names if name not in self.ops]
        hint = f"; --space.ops can add {', '.join(others)}" if others else ""
        return numbered(self.ops) + hint

    @classmethod
    def of(
        cls, source: "str | Arc | Mapping | Iterable[int]", **options: object
    ) -> tuple["TableSpace", Arc]:
        """Reads an architecture of any size; its own set of ops takes precedence over `options`.

        Args:
            source: as for `parse`.
            **options: the space's fields other than its size.
        """
        if isinstance(source, TableArc):
            options["op_set"] = source.op_set
        if isinstance(source, str) and source.strip().startswith("{"):
            source = cls.read_form(source) or decode_json(source)
        if isinstance(source, Mapping) and isinstance(source.get("ops"), Sequence):
            options["op_set"] = ",".join(map(str, source["ops"]))
        return super().of(source, **options)

    @classmethod
    def _read(cls, source: "str | Arc | Mapping | Iterable[int]") -> dict[str, object]:
        values = super()._read(source)
        # JSON names the ops of the layers or nodes, so that the set is not needed to read them.
        values.pop("ops", None)
        return values

    @property
    def usual_op_set(self) -> str:
        """The set of ops by whose numbers others write architectures."""
        return str(self.table.default)

    def shares_numbers(self, op_set: str) -> bool:
        """Returns whether an architecture of another set of ops has the same numbers here."""
        if op_set.isdecimal() and self.op_set.isdecimal():
            # All sets of first rows number their ops alike.
            return int(op_set) <= int(self.op_set)
        return op_set == self.op_set

    def write_form(self, arc: TableArc, name: str) -> str:
        """Returns an architecture in a form; see `Space.write_form`."""
        usual = self.usual_op_set
        if name in (form.name for form in self.forms) and arc.op_set != usual:
            raise UserError(
                f"the form {name} is for the ops of --space.ops={usual}, and this architecture is "
                f"of --space.ops={arc.op_set}; use tokens or json"
            )
        return super().write_form(arc, name)

    @abstractmethod
    def _arc(self, tokens: Tokens) -> TableArc:
        """Returns the architecture with these tokens, which have been checked."""
