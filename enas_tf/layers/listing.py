"""The blocks that a final network runs, listed without building it."""

import functools
import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from enas_tf.layers.blocks import KerasBlocks
from enas_tf.layers.cost import Counted, CountingBlocks
from enas_tf.layers.dropout import StepRng

# Blocks that a network runs in training only.
_OF_TRAINING = ("drop_path", "aux_head")

# Arguments of blocks, with values for a block alone, that do not change what runs outside training.
_WITHOUT_EFFECT = {"name": "block", "keep_prob": 1.0, "is_used": True}


@dataclass(frozen=True)
class Block:
    """A block of a network; equal blocks do equal work, wherever they are.

    Attributes:
        kind: the name of its method of `enas_tf.layers.blocks.Blocks`.
        shapes: `(height, width, channels)` of each input.
        options: the other arguments that decide what it computes.
    """

    kind: str
    shapes: tuple[tuple[int, int, int], ...]
    options: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        shapes = "+".join("x".join(map(str, shape)) for shape in self.shapes)
        return " ".join([self.kind, shapes, *(f"{name}={value}" for name, value in self.options)])

    def build(self) -> keras.Model:
        """Builds the block alone, as a model that takes a list of its inputs."""
        dtype = keras.mixed_precision.dtype_policy().compute_dtype
        inputs = [keras.Input(shape, dtype=dtype) for shape in self.shapes]
        method = getattr(KerasBlocks(StepRng(1, 0)), self.kind)
        first, *names = _signature(self.kind).parameters
        options = {name: value for name, value in _WITHOUT_EFFECT.items() if name in names}
        output = method(inputs if first == "parts" else inputs[0], **options, **dict(self.options))
        return keras.Model(inputs, output)


@functools.cache
def _signature(kind: str) -> inspect.Signature:
    """Returns the arguments of a block."""
    return inspect.signature(getattr(CountingBlocks(), kind))


class ListingBlocks:
    """Lists the blocks that a network runs outside training; counts as `CountingBlocks` does.

    Attributes:
        found: how often the network runs each block.
    """

    def __init__(self) -> None:
        self.found: Counter[Block] = Counter()
        self._counting = CountingBlocks()

    def __getattr__(self, kind: str) -> Any:
        """Returns the attribute of `CountingBlocks`; its methods list the block as well."""
        count = getattr(self._counting, kind)
        if not callable(count):
            return count

        def listed(*args: Any, **kwargs: Any) -> Any:
            given = _signature(kind).bind(*args, **kwargs)
            given.apply_defaults()
            (_, x), *options = given.arguments.items()
            if kind not in _OF_TRAINING and given.arguments.get("is_used", True):
                self._list(kind, [x] if isinstance(x, Counted) else x, options)
            return count(*args, **kwargs)

        return listed

    def _list(self, kind: str, inputs: Sequence[Counted], options: list[tuple[str, Any]]) -> None:
        shapes = tuple(tuple(x.shape[1:]) for x in inputs)
        kept = tuple(option for option in options if option[0] not in _WITHOUT_EFFECT)
        self.found[Block(kind, shapes, kept)] += 1
