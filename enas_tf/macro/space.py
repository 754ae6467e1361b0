"""The macro space: whole networks, defined layer by layer, with skip connections.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018,
section 2.3.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.forms import decode_json
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.core.op_table import TableArc, TableSpace
from enas_tf.core.space import Slot, Tokens
from enas_tf.macro.forms import FORMS
from enas_tf.macro.ops import OPS


class MacroLayer(NamedTuple):
    """A layer, which runs `op` on the layer before it and joins earlier outputs to the result.

    `skips` holds one bit for each of the entries (stem, layer 0, ..., layer i-2), in this order:
    layer i has i bits, and bit j = 1 joins entry j. (For bit j, the authors' controller attends to
    the hidden state of layer j, which is off by one; here a bit means what it means in their
    network.)
    """

    op: int
    skips: tuple[int, ...]


@dataclass(frozen=True)
class MacroArc(TableArc):
    """An architecture of the macro space.

    Attributes:
        layers: layers 0, 1, ...; layer i has i skip bits.
        op_set: the set of ops that the ops' numbers refer to.
    """

    table = OPS

    layers: tuple[MacroLayer, ...]
    op_set: str = str(OPS.default)

    @property
    def tokens(self) -> Tokens:
        """The tokens: for each layer its op, then its skip bits."""
        return tuple(token for layer in self.layers for token in (layer.op, *layer.skips))

    @property
    def ops(self) -> Tokens:
        """The number of each layer's op."""
        return tuple(layer.op for layer in self.layers)

    @property
    def inputs(self) -> Tokens:
        """The entries that skip connections join, layer by layer."""
        return tuple(entry for layer in self.layers for entry, bit in enumerate(layer.skips) if bit)

    @property
    def space(self) -> "MacroSpace":
        """The space with as many layers and the same set of ops."""
        return MacroSpace(len(self.layers), self.op_set)

    @classmethod
    def from_json(cls, text: str) -> "MacroArc":
        """Reads an architecture of any size that `to_json` wrote; UserError if `text` is wrong."""
        return MacroSpace.of(decode_json(text), op_set=len(OPS.rows))[1]


@dataclass(frozen=True)
class MacroSpace(TableSpace):
    """All networks of `num_layers` layers, each with an op of a set."""

    name: ClassVar[str] = "macro"
    unit: ClassVar[str] = "layer"

    table = OPS
    forms = FORMS

    num_layers: int = option(12, "layers of the network")
    op_set: str = option(str(OPS.default), OPS.help, flag="ops", is_size=True)
    search_channels: bool = option(
        False,
        "run all ops in each layer, and search for the channels that each of them gives: where "
        "they start, and how many; a 1x1 convolution mixes them",
        is_size=True,
    )
    channel_blocks: int = option(
        12,
        "with search_channels: channels are chosen in blocks, as many as this in each layer; a "
        "divisor of child.out_filters and of train.out_filters",
        is_size=True,
    )

    @property
    def pools(self) -> tuple[int, int]:
        """The layers after which height and width are halved: at each third, as the authors do.

        Raises:
            UserError: there are fewer than 3 layers, one for each of the three sizes of images.
        """
        if self.num_layers < 3:
            raise UserError(f"a network must have at least 3 layers, got {self.num_layers}")
        third = self.num_layers // 3
        return third - 1, 2 * third - 1

    @property
    def aux_layer(self) -> int:
        """The layer whose output an auxiliary classifier reads: the first after the second pool."""
        return self.pools[1] + 1

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the stem and of all layers that a skip connection can start from.

        The last two layers are not among them: a layer never skips the one before it.
        """
        return tuple(map(_entry, range(self.num_layers - 1)))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of each layer: its op, then a bit for each entry but the layer before it."""
        slots = []
        for layer in range(self.num_layers):
            name = f"layer {layer}"
            slots += self._op_slots(name)
            for entry in map(_entry, range(layer)):
                options = f"1 joins the output of {entry} to that of {name}, 0 does not"
                slots.append(Slot(f"{name}, skip from {entry}", 2, options, (False, True)))
        return tuple(slots)

    def _op_slots(self, layer: str) -> list[Slot]:
        """Returns the slots of a layer before its skip bits."""
        return [Slot(f"{layer}, op", len(self.ops), self.op_options, self.ops)]

    @classmethod
    def num_tokens(cls, size: int) -> int:
        """Returns the number of tokens: one op for each of `size` layers, i bits for layer i."""
        return size * (size + 1) // 2

    def explain(self, arc: MacroArc) -> str:
        """Describes what each layer computes, and which outputs are joined to it."""
        lines = [
            f"macro architecture, layers: {self.num_layers}",
            "stem is the network's first convolution; a layer works on the one before it, "
            "and skip connections join earlier outputs to its own",
            *self._notes,
            "",
        ]
        for number, layer in enumerate(arc.layers):
            line = f"layer {number} = {self._computes(layer, _entry(number))}"
            joined = ", ".join(_skipped(layer))
            lines.append(f"{line}, joined with {joined}" if joined else line)
        last = _entry(self.num_layers)
        lines.append(f"output = {last}, the only loose end: each other layer feeds the next one")
        return "\n".join(lines)

    @property
    def _notes(self) -> list[str]:
        """Further lines that say how to read what `_computes` returns."""
        return []

    def _computes(self, layer: MacroLayer, given: str) -> str:
        """Says in words what a layer computes of the entry that it is given."""
        return f"{self.ops[layer.op]} of {given}"

    def _label(self, layer: MacroLayer) -> str:
        """Returns the name of what a layer computes, for drawings."""
        return self.ops[layer.op]

    def graphs(self, arc: MacroArc) -> tuple[Graph, ...]:
        """Returns one drawing: the chain of layers, with skip connections labelled `"skip"`."""
        nodes, edges = [Node("stem", "stem", "input")], []
        for number, layer in enumerate(arc.layers):
            key = f"layer {number}"
            nodes.append(Node(key, f"{key}: {self._label(layer)}", "node"))
            edges.append(Edge(_entry(number), key))
            edges += [Edge(entry, key, "skip") for entry in _skipped(layer)]
        nodes.append(Node("output", "output", "output"))
        edges.append(Edge(_entry(self.num_layers), "output"))
        return (Graph("network", tuple(nodes), tuple(edges)),)

    def _arc(self, tokens: Tokens) -> MacroArc:
        layers = tuple(MacroLayer(op, tuple(skips)) for op, *skips in self._by_layer(tokens))
        return MacroArc(layers, self.op_set)

    def _by_layer(self, tokens: Tokens) -> list[Tokens]:
        """Returns the tokens of each layer."""
        starts = [self.num_tokens(layer) for layer in range(self.num_layers + 1)]
        return [tokens[start:end] for start, end in itertools.pairwise(starts)]


def _entry(index: int) -> str:
    """Returns the name of the input of layer `index`: the stem, or the layer before."""
    return f"layer {index - 1}" if index else "stem"


def _skipped(layer: MacroLayer) -> list[str]:
    """Returns the names of the entries that are joined to the layer's output."""
    return [_entry(index) for index, bit in enumerate(layer.skips) if bit]
