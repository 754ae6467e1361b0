"""The macro space: a whole network, layer by layer, with skip connections.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018,
section 2.3.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.core.op_table import TableArc, TableSpace
from enas_tf.core.space import Slot, Tokens, decode_json
from enas_tf.macro.ops import OPS


class MacroLayer(NamedTuple):
    """A layer runs `op` on the layer before it, and joins earlier outputs to the result.

    `skips` holds one bit for each entry of (stem, layer 0, ..., layer i-2), in this order: layer i
    has i of them, and bit j = 1 joins entry j. (The authors' controller attends to the hidden
    state of layer j for bit j, one place off; the meaning of the bit is that of their network.)
    """

    op: int
    skips: tuple[int, ...]


@dataclass(frozen=True)
class MacroArc(TableArc):
    """A network; `layers` holds layers 0, 1, ..., where layer i has i skip bits.

    `op_set` is the set that the ops' numbers are of.
    """

    table = OPS

    layers: tuple[MacroLayer, ...]
    op_set: str = str(OPS.default)

    @property
    def tokens(self) -> Tokens:
        """For each layer its op, then its skip bits."""
        return tuple(token for layer in self.layers for token in (layer.op, *layer.skips))

    @property
    def ops(self) -> Tokens:
        """The op of each layer."""
        return tuple(layer.op for layer in self.layers)

    @property
    def inputs(self) -> Tokens:
        """The entries that skip connections join, layer by layer."""
        return tuple(entry for layer in self.layers for entry, bit in enumerate(layer.skips) if bit)

    @property
    def space(self) -> "MacroSpace":
        """The space of as many layers, with the same set of ops."""
        return MacroSpace(len(self.layers), self.op_set)

    @classmethod
    def from_json(cls, text: str) -> "MacroArc":
        """The architecture that `to_json` wrote, of any size; UserError if `text` is wrong."""
        return MacroSpace.of(decode_json(text), op_set=len(OPS.rows))[1]


@dataclass(frozen=True)
class MacroSpace(TableSpace):
    """All networks of `num_layers` layers, each with an op of a set."""

    name: ClassVar[str] = "macro"
    unit: ClassVar[str] = "layer"

    table = OPS

    num_layers: int = option(12, "layers of the network")
    op_set: str = option(str(OPS.default), OPS.help, flag="ops")

    @property
    def pools(self) -> tuple[int, int]:
        """The layers behind which height and width are halved: at the thirds, as the authors do.

        Raises UserError for fewer than 3 layers, one for each height and width.
        """
        if self.num_layers < 3:
            raise UserError(f"a network must have at least 3 layers, got {self.num_layers}")
        third = self.num_layers // 3
        return third - 1, 2 * third - 1

    @property
    def aux_layer(self) -> int:
        """The layer whose output an auxiliary classifier reads: that behind the second pool."""
        return self.pools[1] + 1

    @property
    def entries(self) -> tuple[str, ...]:
        """The stem, and all layers but the last two: no layer skips the one before it."""
        return tuple(map(_entry, range(self.num_layers - 1)))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """For each layer its op, then one bit for the stem and each layer but the one before."""
        slots = []
        for layer in range(self.num_layers):
            name = f"layer {layer}"
            slots.append(Slot(f"{name}, op", len(self.ops), self.op_options, self.ops))
            for entry in map(_entry, range(layer)):
                options = f"1 joins the output of {entry} to that of {name}, 0 does not"
                slots.append(Slot(f"{name}, skip from {entry}", 2, options, (False, True)))
        return tuple(slots)

    @classmethod
    def num_tokens(cls, size: int) -> int:
        """One op for each of `size` layers, and i skip bits for layer i."""
        return size * (size + 1) // 2

    def explain(self, arc: MacroArc) -> str:
        """What each layer computes from what, and what is joined to it."""
        lines = [
            f"macro architecture, layers: {self.num_layers}",
            "stem is the network's first convolution; a layer works on the one before it, "
            "and skip connections join earlier outputs to its own",
            "",
        ]
        for number, layer in enumerate(arc.layers):
            line = f"layer {number} = {self.ops[layer.op]} of {_entry(number)}"
            joined = ", ".join(_skipped(layer))
            lines.append(f"{line}, joined with {joined}" if joined else line)
        last = _entry(self.num_layers)
        lines.append(f"output = {last}, the only loose end: each other layer feeds the next one")
        return "\n".join(lines)

    def graphs(self, arc: MacroArc) -> tuple[Graph, ...]:
        """The one network: the chain of layers, and its skip connections, labelled `"skip"`."""
        nodes, edges = [Node("stem", "stem", "input")], []
        for number, layer in enumerate(arc.layers):
            key = f"layer {number}"
            nodes.append(Node(key, f"{key}: {self.ops[layer.op]}", "node"))
            edges.append(Edge(_entry(number), key))
            edges += [Edge(entry, key, "skip") for entry in _skipped(layer)]
        nodes.append(Node("output", "output", "output"))
        edges.append(Edge(_entry(self.num_layers), "output"))
        return (Graph("network", tuple(nodes), tuple(edges)),)

    def _arc(self, tokens: Tokens) -> MacroArc:
        starts = [self.num_tokens(layer) for layer in range(self.num_layers + 1)]
        return MacroArc(
            tuple(
                MacroLayer(tokens[start], tokens[start + 1 : end])
                for start, end in itertools.pairwise(starts)
            ),
            self.op_set,
        )


def _entry(index: int) -> str:
    """The name of what layer `index` works on: the stem, or the layer before."""
    return f"layer {index - 1}" if index else "stem"


def _skipped(layer: MacroLayer) -> list[str]:
    """The names of the entries that are joined to the layer's output."""
    return [_entry(index) for index, bit in enumerate(layer.skips) if bit]
