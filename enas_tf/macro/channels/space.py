"""The space of networks whose layers run all ops, each for some of the layer's channels.

Reference: the branch `search_whole_channels=False` of the authors' general_controller.py; the paper
does not describe it. docs/sources.md says what of their code runs.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.forms import (
    Form,
    decode_json,
    read_blocks,
    read_script,
    shown,
    write_blocks,
    write_script,
)
from enas_tf.core.space import Arc, Slot, Tokens
from enas_tf.macro.ops import OPS
from enas_tf.macro.space import MacroArc, MacroSpace

_BLOCKS = "channel_blocks"


class Branch(NamedTuple):
    """The channels that a layer takes of one op: `count` blocks, from block `start` on."""

    start: int
    count: int


class ChannelLayer(NamedTuple):
    """A layer, which runs all ops and joins earlier outputs to the result.

    `branches` holds the channels of each op, in the order of the ops' numbers. `skips` is as in
    `MacroLayer`.
    """

    branches: tuple[Branch, ...]
    skips: tuple[int, ...]

    @property
    def tokens(self) -> Tokens:
        """The start and the count of each op, then the skip bits."""
        return (*itertools.chain.from_iterable(self.branches), *self.skips)

    @property
    def num_blocks(self) -> int:
        """The number of blocks that it takes of all ops together."""
        return sum(branch.count for branch in self.branches)


@dataclass(frozen=True)
class ChannelArc(MacroArc):
    """An architecture with chosen channels.

    Attributes:
        layers: layers 0, 1, ...; layer i has a branch for each op, and i skip bits.
        op_set: the set of ops; a layer runs all of them.
        channel_blocks: number of blocks that the channels of a layer are divided into.
    """

    layers: tuple[ChannelLayer, ...]
    channel_blocks: int = 12

    def __post_init__(self) -> None:
        """Keeps the set of ops: with a larger one, layers would have more branches."""
        object.__setattr__(self, "op_set", self.table.canonical(self.op_set))

    @property
    def tokens(self) -> Tokens:
        """The tokens: for each layer the start and count of each op, then its skip bits."""
        return tuple(token for layer in self.layers for token in layer.tokens)

    @property
    def ops(self) -> Tokens:
        """The number of each op, once for each block that a layer takes of it."""
        return tuple(
            op
            for layer in self.layers
            for op, branch in enumerate(layer.branches)
            for _ in range(branch.count)
        )

    @property
    def space(self) -> "ChannelSpace":
        """The space with as many layers and blocks, and the same set of ops."""
        return ChannelSpace(len(self.layers), self.op_set, channel_blocks=self.channel_blocks)

    @classmethod
    def from_json(cls, text: str) -> "ChannelArc":
        """Reads an architecture of any size that `to_json` wrote; UserError if `text` is wrong."""
        return ChannelSpace.of(text)[1]

    def _words(self) -> dict:
        return super()._words() | {_BLOCKS: self.channel_blocks}


def _rows(arc: ChannelArc) -> list[Tokens]:
    return [layer.tokens for layer in arc.layers]


def _read_printed(text: str) -> list[int] | None:
    blocks = read_blocks(text)
    return blocks and [token for block in blocks for token in block]


@dataclass(frozen=True)
class ChannelSpace(MacroSpace):
    """All networks of `num_layers` layers, each with some channels of every op of a set."""

    name: ClassVar[str] = "macro_channels"

    forms = (
        Form("printed", _read_printed, lambda arc: write_blocks(_rows(arc))),
        Form("script", read_script, lambda arc: write_script(_rows(arc))),
    )

    search_channels: bool = option(True, "always true in this space")

    def __post_init__(self) -> None:
        """Raises UserError for a size or ops that the space cannot have."""
        super().__post_init__()
        if not isinstance(self.channel_blocks, int) or self.channel_blocks < 2:
            raise UserError(
                f"space.channel_blocks must be at least 2, got {shown(self.channel_blocks)}"
            )
        whole = [row.name for row in self.rows if not row.by_channel]
        if whole:
            raise UserError(
                f"space.search_channels takes some channels of each op, and {whole[0]} needs all "
                f"of them; choose other ops by --space.ops, such as {OPS.default}"
            )

    @property
    def usual_op_set(self) -> str:
        """The run's own set where it is of first rows, as the authors' number of branches is."""
        return self.op_set if self.op_set.isdecimal() else super().usual_op_set

    def shares_numbers(self, op_set: str) -> bool:
        """Returns whether the set is the same: a layer has a branch for each op."""
        return op_set == self.op_set

    def _op_slots(self, layer: str) -> list[Slot]:
        blocks, slots = self.channel_blocks, []
        for op in self.ops:
            name = f"{layer}, {op}"
            slots.append(
                Slot(f"{name}, start", blocks, f"its first block of channels, of {blocks}")
            )
            # As in the authors' code, no op gives all channels.
            options = "its blocks of channels from there on"
            slots.append(Slot(f"{name}, count", blocks, options, least=1))
        return slots

    def slot_after(self, tokens: Sequence[int]) -> Slot:
        """Returns the slot that follows the first tokens; a count depends on the start before."""
        slot = super().slot_after(tokens)
        # Only counts begin at 1.
        if slot.least == 0:
            return slot
        start, blocks = tokens[-1], self.channel_blocks
        options = f"its blocks of channels from block {start} of {blocks} on"
        return replace(slot, size=min(slot.size, blocks - start + 1), options=options)

    @cached_property
    def choices(self) -> tuple[tuple[Tokens, ...], ...]:
        """For each layer start and count of each op, which are one choice, then its skip bits."""
        blocks = self.channel_blocks
        pairs = tuple(
            (start, count)
            for start in range(blocks)
            for count in range(1, blocks)
            if start + count <= blocks
        )
        bit = ((0,), (1,))
        return tuple(
            outcomes
            for layer in range(self.num_layers)
            for outcomes in [pairs] * len(self.ops) + [bit] * layer
        )

    def num_tokens(self, size: int) -> int:
        """Returns the number of tokens: two for each op of `size` layers, i bits for layer i."""
        return 2 * len(self.rows) * size + size * (size - 1) // 2

    @classmethod
    def of(
        cls, source: "str | Arc | Mapping | Iterable[int]", **options: object
    ) -> tuple["ChannelSpace", ChannelArc]:
        """Reads an architecture of any size; its own set of ops takes precedence over `options`.

        Raises:
            UserError: also if its JSON is in other blocks than `options` say.
        """
        if isinstance(source, str) and source.strip().startswith("{"):
            source = decode_json(source)
        stated = getattr(source, _BLOCKS, None)
        if isinstance(source, Mapping):
            stated = source.get(_BLOCKS)
        if stated is not None and stated != options.setdefault(_BLOCKS, stated):
            raise UserError(
                f"this architecture needs --space.channel_blocks={shown(stated)}; with "
                f"--space.channel_blocks={options[_BLOCKS]} its numbers stand for other channels"
            )
        return super().of(source, **options)

    @classmethod
    def _read(cls, source: "str | Arc | Mapping | Iterable[int]") -> dict[str, object]:
        values = super()._read(source)
        values.pop(_BLOCKS, None)
        return values

    @property
    def _notes(self) -> list[str]:
        return [
            f"a layer runs all ops and takes some of each one's {self.channel_blocks} blocks of "
            "channels, which a 1x1 convolution mixes"
        ]

    def _computes(self, layer: ChannelLayer, given: str) -> str:
        parts = [
            f"{op} {_blocks(branch)}" for op, branch in zip(self.ops, layer.branches, strict=True)
        ]
        return f"{', '.join(parts)}, of {given}"

    def _label(self, layer: ChannelLayer) -> str:
        return f"{layer.num_blocks} of {len(self.ops) * self.channel_blocks} blocks"

    def _arc(self, tokens: Tokens) -> ChannelArc:
        own, layers = 2 * len(self.rows), []
        for of_layer in self._by_layer(tokens):
            branches = tuple(map(Branch, of_layer[0:own:2], of_layer[1:own:2]))
            layers.append(ChannelLayer(branches, of_layer[own:]))
        return ChannelArc(tuple(layers), self.op_set, self.channel_blocks)


def _blocks(branch: Branch) -> str:
    """Returns the blocks of a branch in words."""
    start, count = branch
    return f"block {start}" if count == 1 else f"blocks {start} to {start + count - 1}"
