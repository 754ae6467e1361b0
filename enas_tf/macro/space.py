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
from enas_tf.core.space import Arc, Slot, Space, Tokens, decode_json, numbered

OPS = (
    "conv 3x3",
    "separable conv 3x3",
    "conv 5x5",
    "separable conv 5x5",
    "average pool 3x3",
    "max pool 3x3",
    "squeeze-and-excitation conv 3x3",
)
"""All ops by number. The first six are the paper's; the seventh is there on request."""


class MacroLayer(NamedTuple):
    """A layer runs `op` on the layer before it, and joins earlier outputs to the result.

    `skips` holds one bit for each entry of (stem, layer 0, ..., layer i-2), in this order: layer i
    has i of them, and bit j = 1 joins entry j. (The authors' controller attends to the hidden
    state of layer j for bit j, one place off; the meaning of the bit is that of their network.)
    """

    op: int
    skips: tuple[int, ...]


@dataclass(frozen=True)
class MacroArc(Arc):
    """A network; `layers` holds layers 0, 1, ..., where layer i has i skip bits."""

    layers: tuple[MacroLayer, ...]

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
        """The space of as many layers, with 6 ops where these suffice, else 7."""
        highest = max(layer.op for layer in self.layers)
        return MacroSpace(len(self.layers), max(6, highest + 1))

    @classmethod
    def from_json(cls, text: str) -> "MacroArc":
        """The architecture that `to_json` wrote, of any size; UserError if `text` is wrong."""
        return MacroSpace.of(decode_json(text), num_ops=len(OPS))[1]


@dataclass(frozen=True)
class MacroSpace(Space):
    """All networks of `num_layers` layers with the first `num_ops` ops."""

    name: ClassVar[str] = "macro"
    unit: ClassVar[str] = "layer"

    num_layers: int = option(12, "layers of the network")
    num_ops: int = option(
        6, f"ops to choose from: 6, or 7 for {OPS[6]} (reduction 4) as well", flag="ops"
    )

    def __post_init__(self) -> None:
        """Raises UserError if a field is out of range."""
        super().__post_init__()
        if self.num_ops not in (6, 7):
            raise UserError(f"space.ops must be 6 or 7, got {self.num_ops}")

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
    def ops(self) -> tuple[str, ...]:
        """The names of the first `num_ops` ops."""
        return OPS[: self.num_ops]

    @property
    def entries(self) -> tuple[str, ...]:
        """The stem, and all layers but the last two: no layer skips the one before it."""
        return tuple(map(_entry, range(self.num_layers - 1)))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """For each layer its op, then one bit for the stem and each layer but the one before."""
        hint = "" if self.num_ops == len(OPS) else f"; 6 {OPS[6]} only in the space of 7 ops"
        slots = []
        for layer in range(self.num_layers):
            name = f"layer {layer}"
            slots.append(Slot(f"{name}, op", self.num_ops, numbered(self.ops) + hint, self.ops))
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
            )
        )


def _entry(index: int) -> str:
    """The name of what layer `index` works on: the stem, or the layer before."""
    return f"layer {index - 1}" if index else "stem"


def _skipped(layer: MacroLayer) -> list[str]:
    """The names of the entries that are joined to the layer's output."""
    return [_entry(index) for index, bit in enumerate(layer.skips) if bit]
