"""The micro space: a normal and a reduction cell, repeated to make a network.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018,
section 2.4.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.forms import decode_json
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.core.op_table import TableArc, TableSpace
from enas_tf.core.space import Slot, Tokens
from enas_tf.micro.forms import FORMS
from enas_tf.micro.ops import OPS


class MicroNode(NamedTuple):
    """A node of a cell, which adds `op_1` of entry `index_1` and `op_2` of entry `index_2`.

    Entries 0 and 1 are the cell's two inputs; entry i, from 2 on, is the output of node i.
    """

    index_1: int
    op_1: int
    index_2: int
    op_2: int

    @property
    def inputs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The pair `(index, op)` of each of the two inputs."""
        return (self.index_1, self.op_1), (self.index_2, self.op_2)


Cell = tuple[MicroNode, ...]
"""The nodes 2, 3, ... of a cell, in this order."""


@dataclass(frozen=True)
class MicroArc(TableArc):
    """An architecture of the micro space: a normal and a reduction cell with equally many nodes.

    Attributes:
        normal: nodes of the cell that keeps height and width.
        reduction: nodes of the cell that halves height and width.
        op_set: the set of ops that the ops' numbers refer to.
    """

    table = OPS

    normal: Cell
    reduction: Cell
    op_set: str = str(OPS.default)

    @property
    def tokens(self) -> Tokens:
        """The normal cell's nodes, then the reduction cell's, four integers each."""
        return tuple(itertools.chain(*self.normal, *self.reduction))

    @property
    def ops(self) -> Tokens:
        """The numbers of the ops, two for each node."""
        return self.tokens[1::2]

    @property
    def inputs(self) -> Tokens:
        """The indices of the entries, two for each node; both cells number their entries alike."""
        return self.tokens[::2]

    @property
    def space(self) -> "MicroSpace":
        """The space with as many nodes and the same set of ops."""
        return MicroSpace(len(self.normal), self.op_set)

    @classmethod
    def from_json(cls, text: str) -> "MicroArc":
        """Reads an architecture of any size that `to_json` wrote; UserError if `text` is wrong."""
        return MicroSpace.of(decode_json(text), op_set=len(OPS.rows))[1]

    @staticmethod
    def loose_ends(cell: Cell) -> tuple[int, ...]:
        """Returns the entries that no node of the cell takes; together they form its output.

        As in the authors' code this includes the two inputs: an unused one is part of the output.
        """
        used = {index for node in cell for index, _ in node.inputs}
        return tuple(entry for entry in range(len(cell) + 2) if entry not in used)


@dataclass(frozen=True)
class MicroSpace(TableSpace):
    """All pairs of cells with `num_nodes` nodes each."""

    name: ClassVar[str] = "micro"
    unit: ClassVar[str] = "node"
    table = OPS
    forms = FORMS

    num_nodes: int = option(5, "nodes in each cell, its two inputs not counted")
    op_set: str = option(str(OPS.default), OPS.help, flag="ops", is_size=True)

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the two inputs and of all nodes but the last."""
        return tuple(map(_entry, range(self.num_nodes + 1)))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The slots index 1, op 1, index 2, op 2 of each node from 2 on, for both cells."""
        return tuple(
            slot
            for cell in ("normal cell", "reduction cell")
            for node in range(2, self.num_nodes + 2)
            for number in (1, 2)
            for slot in (
                Slot(f"{cell}, node {node}, index {number}", node, "an earlier node"),
                Slot(
                    f"{cell}, node {node}, op {number}",
                    len(self.ops),
                    self.op_options,
                    self.ops,
                ),
            )
        )

    @classmethod
    def num_tokens(cls, size: int) -> int:
        """Returns the number of tokens: four for each of `size` nodes in each of the two cells."""
        return 8 * size

    def paper_count(self) -> int:
        """Returns `(5 * (B - 2)!) ** 4`, where the paper's B counts the two inputs as nodes.

        The 5 is the number of ops of this space.
        """
        return (len(self.ops) * math.factorial(self.num_nodes)) ** 4

    def explain(self, arc: MicroArc) -> str:
        """Describes what each node of both cells computes, and which entries are loose ends."""
        lines = [
            f"micro architecture, nodes in each cell: {self.num_nodes}",
            "input 0 is the output of the cell before the previous one, input 1 that of the "
            "previous cell; a node adds its two parts",
            "",
            "normal cell",
            *self._explain_cell(arc.normal),
            "",
            "reduction cell (in the derived network, ops on inputs 0 and 1 have stride 2 and so "
            "halve height and width)",
            *self._explain_cell(arc.reduction),
        ]
        return "\n".join(lines)

    def graphs(self, arc: MicroArc) -> tuple[Graph, ...]:
        """Returns the drawings of the normal and of the reduction cell."""
        return self._graph("normal cell", arc.normal), self._graph("reduction cell", arc.reduction)

    def _arc(self, tokens: Tokens) -> MicroArc:
        nodes = tuple(MicroNode(*tokens[at : at + 4]) for at in range(0, len(tokens), 4))
        return MicroArc(nodes[: self.num_nodes], nodes[self.num_nodes :], self.op_set)

    def _explain_cell(self, cell: Cell) -> list[str]:
        loose = MicroArc.loose_ends(cell)
        note = " (loose end: part of the output)"
        lines = [f"  {_entry(entry)} feeds no node{note}" for entry in loose if entry < 2]
        for entry, node in enumerate(cell, 2):
            parts = " + ".join(f"{self.ops[op]} of {_entry(index)}" for index, op in node.inputs)
            lines.append(f"  {_entry(entry)} = {parts}{note if entry in loose else ''}")
        ends = ", ".join(map(_entry, loose))
        return [*lines, f"  output = the loose ends, joined along the channels: {ends}"]

    def _graph(self, title: str, cell: Cell) -> Graph:
        nodes = [Node(_entry(entry), _entry(entry), "input") for entry in (0, 1)]
        edges = []
        for entry, node in enumerate(cell, 2):
            for number, (index, op) in enumerate(node.inputs, 1):
                key = f"{_entry(entry)}, op {number}"
                nodes.append(Node(key, self.ops[op], "op"))
                edges += [Edge(_entry(index), key), Edge(key, _entry(entry))]
            nodes.append(Node(_entry(entry), _entry(entry), "node"))
        nodes.append(Node("output", "output", "output"))
        edges += [Edge(_entry(entry), "output") for entry in MicroArc.loose_ends(cell)]
        return Graph(title, tuple(nodes), tuple(edges))


def _entry(index: int) -> str:
    """Returns the name of a cell's entry."""
    return f"input {index}" if index < 2 else f"node {index}"
