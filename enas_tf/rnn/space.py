"""The rnn space: a recurrent cell of highway nodes for language models.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018,
section 2.1; the encoding is that of the authors' corrected code, google-research's `enas_lm`.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.forms import decode_json
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.core.op_table import TableArc, TableSpace
from enas_tf.core.space import Slot, Tokens
from enas_tf.rnn.forms import FORMS
from enas_tf.rnn.ops import OPS


class RnnNode(NamedTuple):
    """A node of the cell, which applies activation `op` to the output of node `index`."""

    index: int
    op: int


@dataclass(frozen=True)
class RnnArc(TableArc):
    """An architecture of the rnn space: a recurrent cell.

    Attributes:
        nodes: nodes 1, 2, ...; node 0 is the fixed first node of every cell.
        op_set: the set of activations that the activations' numbers refer to.
    """

    table = OPS

    nodes: tuple[RnnNode, ...]
    op_set: str = str(OPS.default)

    @property
    def tokens(self) -> Tokens:
        """The tokens: for each node its index, then its activation."""
        return tuple(itertools.chain(*self.nodes))

    @property
    def ops(self) -> Tokens:
        """The number of each node's activation."""
        return self.tokens[1::2]

    @property
    def inputs(self) -> Tokens:
        """The index of the earlier node that each node reads."""
        return self.tokens[::2]

    @property
    def space(self) -> "RnnSpace":
        """The space with as many nodes and the same set of activations."""
        return RnnSpace(len(self.nodes), self.op_set)

    @classmethod
    def from_json(cls, text: str) -> "RnnArc":
        """Reads an architecture of any size that `to_json` wrote; UserError if `text` is wrong."""
        return RnnSpace.of(decode_json(text), op_set=len(OPS.rows))[1]

    @property
    def loose_ends(self) -> tuple[int, ...]:
        """The nodes that feed no other node; never node 0, since it feeds node 1."""
        used = {node.index for node in self.nodes}
        return tuple(number for number in range(1, len(self.nodes) + 1) if number not in used)


@dataclass(frozen=True)
class RnnSpace(TableSpace):
    """All recurrent cells of `num_nodes` nodes, node 0 not counted."""

    name: ClassVar[str] = "rnn"
    unit: ClassVar[str] = "node"
    table = OPS
    forms = FORMS

    num_nodes: int = option(8, "nodes in the cell, its fixed first node not counted")
    op_set: str = option(str(OPS.default), OPS.help, flag="ops", is_size=True)

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of all nodes but the last, from node 0 on."""
        return tuple(f"node {number}" for number in range(self.num_nodes))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of each node from 1 on: index, activation. The index of node 1 is always 0."""
        return tuple(
            slot
            for node in range(1, self.num_nodes + 1)
            for slot in (
                Slot(f"node {node}, index", node, "an earlier node"),
                Slot(f"node {node}, activation", len(self.ops), self.op_options, self.ops),
            )
        )

    @classmethod
    def num_tokens(cls, size: int) -> int:
        """Returns the number of tokens: two for each of `size` nodes."""
        return 2 * size

    def explain(self, arc: RnnArc) -> str:
        """Describes what each node computes, and which nodes are loose ends."""
        lines = [
            f"rnn cell, nodes: {self.num_nodes}",
            "a node with activation f on the output s of an earlier node gives "
            "s + sigmoid(s V) * (f(s W) - s), with weights V and W of its own",
            "",
            "node 0 = tanh on the previous state, with weights on the word as well",
        ]
        for number, node in enumerate(arc.nodes, 1):
            loose = " (loose end: feeds no other node)" if number in arc.loose_ends else ""
            lines.append(f"node {number} = {self.ops[node.op]} on node {node.index}{loose}")
        ends = ", ".join(f"node {number}" for number in arc.loose_ends)
        lines += [
            f"output = next state = mean of all nodes from 1 to {self.num_nodes}, "
            f"as in the authors' code (in the paper: of the loose ends, {ends})"
        ]
        return "\n".join(lines)

    def graphs(self, arc: RnnArc) -> tuple[Graph, ...]:
        """Returns the drawing of the cell, with the mean of all nodes but node 0 as its output."""
        nodes = [
            Node("word", "word", "input"),
            Node("state", "previous state", "input"),
            Node("node 0", "node 0: tanh", "node"),
        ]
        edges = [Edge("word", "node 0"), Edge("state", "node 0")]
        for number, node in enumerate(arc.nodes, 1):
            key = f"node {number}"
            nodes.append(Node(key, f"{key}: {self.ops[node.op]}", "node"))
            edges += [Edge(f"node {node.index}", key), Edge(key, "output")]
        nodes.append(Node("output", "output: mean", "output"))
        return (Graph("recurrent cell", tuple(nodes), tuple(edges)),)

    def _arc(self, tokens: Tokens) -> RnnArc:
        return RnnArc(tuple(map(RnnNode, tokens[::2], tokens[1::2])), self.op_set)
