"""NAS-Bench-201's space: a cell whose every edge has an op, repeated to make a network.

Reference: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020, section 2.1.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import ClassVar

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.forms import Form, decode_json
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.core.op_table import TableArc, TableSpace
from enas_tf.core.space import Slot, Tokens
from enas_tf.nasbench201.ops import OPS

_FORM = "|op~0|+|op~0|op~1|+..., the nodes joined by +, with an op for each earlier node"


@dataclass(frozen=True)
class Nasbench201Arc(TableArc):
    """A cell.

    Attributes:
        nodes: of each node from 1 on, the ops on node 0, node 1, ..., whose sum it is.
        op_set: the set that the ops' numbers are of.
    """

    table = OPS

    nodes: tuple[Tokens, ...]
    op_set: str = str(OPS.default)

    @property
    def tokens(self) -> Tokens:
        """The op of each edge: of node 1 from 0; of node 2 from 0, from 1; and so on."""
        return tuple(op for node in self.nodes for op in node)

    @property
    def ops(self) -> Tokens:
        """One for each edge."""
        return self.tokens

    @property
    def inputs(self) -> Tokens:
        """None: every node takes all earlier ones."""
        return ()

    @property
    def space(self) -> "Nasbench201Space":
        """The space of as many nodes, with the same set of ops."""
        return Nasbench201Space(len(self.nodes) + 1, self.op_set)

    @property
    def benchmark_text(self) -> str:
        """The benchmark's own text, e.g. `|none~0|+|skip_connect~0|nor_conv_3x3~1|`."""
        rows = self.rows
        return "+".join(
            "".join(f"|{rows[op].name}~{source}" for source, op in enumerate(node)) + "|"
            for node in self.nodes
        )

    @classmethod
    def from_json(cls, text: str) -> "Nasbench201Arc":
        """Reads an architecture of any size from JSON; raises UserError if `text` is wrong."""
        return Nasbench201Space.of(decode_json(text), op_set=len(OPS.rows))[1]


def _slot_name(node: int, source: int) -> str:
    return f"node {node}, from node {source}"


def _read_benchmark_text(text: str) -> dict[str, object] | None:
    """Returns the ops' names by the edges' places, as JSON has them; None for another text."""
    text = "".join(text.split())
    if not text.startswith("|"):
        return None
    values: dict[str, object] = {}
    for node, part in enumerate(text.split("+"), 1):
        if not re.fullmatch(r"\|([^|~]+~[0-9]+\|)+", part):
            raise UserError(f"the benchmark's text must be {_FORM}; got {part or 'nothing'!r}")
        for edge in part.strip("|").split("|"):
            op, _, source = edge.partition("~")
            place = _slot_name(node, int(source))
            if place in values:
                raise UserError(f"the benchmark's text has two ops for {place}: {part}")
            values[place] = op
    return values


@dataclass(frozen=True)
class Nasbench201Space(TableSpace):
    """All cells with `num_nodes` nodes."""

    name: ClassVar[str] = "nasbench201"
    unit: ClassVar[str] = "node"
    # The input alone would be no cell.
    smallest: ClassVar[int] = 2
    table = OPS
    forms = (Form("benchmark", _read_benchmark_text, lambda arc: arc.benchmark_text),)

    num_nodes: int = option(4, "nodes of the cell, of which the first is its input")
    op_set: str = option(str(OPS.default), OPS.help, flag="ops", is_size=True)

    @property
    def entries(self) -> tuple[str, ...]:
        """None: there is no choice of inputs."""
        return ()

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """For each node from 1 on and each earlier one: the op between them."""
        return tuple(
            Slot(_slot_name(node, source), len(self.ops), self.op_options, self.ops)
            for node in range(1, self.num_nodes)
            for source in range(node)
        )

    @classmethod
    def num_tokens(cls, size: int) -> int:
        """Returns one for each pair of nodes."""
        return size * (size - 1) // 2

    def explain(self, arc: Nasbench201Arc) -> str:
        """Returns the benchmark's text, and what each node computes from what."""
        last = self.num_nodes - 1
        lines = [
            f"nasbench201 cell, nodes: {self.num_nodes}",
            f"in the benchmark's text: {arc.benchmark_text}",
            "a node adds an op on each earlier node; none gives zeros, and an op nor_conv is relu, "
            "convolution and batch norm",
            "",
            "node 0 = the cell's input",
        ]
        for node, ops in enumerate(arc.nodes, 1):
            parts = [
                f"{self.ops[op]} of node {source}"
                for source, op in enumerate(ops)
                if not arc.rows[op].is_zero
            ]
            note = " (the cell's output)" if node == last else ""
            lines.append(f"node {node} = {' + '.join(parts) or 'zeros'}{note}")
        return "\n".join(lines)

    def graphs(self, arc: Nasbench201Arc) -> tuple[Graph, ...]:
        """Returns the drawing of the cell."""
        keys = [f"node {node}" for node in range(self.num_nodes - 1)] + ["output"]
        nodes, edges = [Node(keys[0], "input (node 0)", "input")], []
        for node, ops in enumerate(arc.nodes, 1):
            for source, op in enumerate(ops):
                key = _slot_name(node, source)
                nodes.append(Node(key, self.ops[op], "op"))
                edges += [Edge(keys[source], key), Edge(key, keys[node])]
            if node < self.num_nodes - 1:
                nodes.append(Node(keys[node], keys[node], "node"))
        nodes.append(Node("output", f"output (node {self.num_nodes - 1})", "output"))
        return (Graph("cell", tuple(nodes), tuple(edges)),)

    def _arc(self, tokens: Tokens) -> Nasbench201Arc:
        left = iter(tokens)
        nodes = tuple(tuple(islice(left, node)) for node in range(1, self.num_nodes))
        return Nasbench201Arc(nodes, self.op_set)
