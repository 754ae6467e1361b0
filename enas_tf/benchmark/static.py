"""Networks of one architecture, with the layers that it has in the supernet.

A step of the supernet is compared with a step of these. They differ from final networks, which
have other layers (docs/sources.md), and have no drop path.
"""

from collections.abc import Sequence
from functools import partial

import keras

from enas_tf.core.network_config import CellChildConfig, ImageChildConfig
from enas_tf.layers.blocks import KerasBlocks
from enas_tf.layers.conv import ConvNorm, FactorizedReduction
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.norm import EPSILON, BatchNorm
from enas_tf.macro.ops import EPSILON as MACRO_EPSILON
from enas_tf.macro.space import MacroArc
from enas_tf.micro.ops import MicroOp
from enas_tf.micro.space import Cell, MicroArc

Tensor = keras.KerasTensor


class SearchBlocks(KerasBlocks):
    """Makes the blocks that a supernet has; see `enas_tf.layers.blocks.Blocks`.

    Args:
        rng: the random numbers of dropout.
        epsilon: the epsilon of the batch norms in ops.
    """

    def __init__(self, rng: StepRng, epsilon: float = EPSILON) -> None:
        super().__init__(rng)
        self.op_norm = partial(BatchNorm, moving=False, epsilon=epsilon)

    def norm(self, name: str) -> BatchNorm:
        """Makes the batch norm of an op, which always uses a batch's own statistics."""
        return self.op_norm(name=f"{name}_norm")

    def conv_norm(self, x: Tensor, filters: int, kernel_size: int = 1, relu: bool = True) -> Tensor:
        """Applies a convolution between ops with its batch norm, after relu if requested."""
        norm = partial(BatchNorm, moving=False)
        return ConvNorm(filters, kernel_size, relu=relu, norm=norm)(x)

    def reduction(self, x: Tensor, filters: int, relu: bool = False) -> Tensor:
        """Applies a factorised reduction between ops."""
        norm = partial(BatchNorm, moving=False)
        return FactorizedReduction(filters, relu=relu, norm=norm)(x)


def build_micro(
    arc: MicroArc,
    config: CellChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    rng: StepRng,
) -> keras.Model:
    """Builds the network that a `MicroSupernet` of the same configuration runs for an architecture.

    Arguments and result are those of `enas_tf.micro.network.build`.
    """
    images, blocks = keras.Input(image_shape), SearchBlocks(rng)
    channels, aux_logits = config.out_filters, []
    prev_prev = prev = blocks.conv_norm(images, 3 * channels, 3, relu=False)
    for number in range(config.num_layers + 2):
        cell = arc.normal
        if number in config.reductions:
            channels, cell = 2 * channels, arc.reduction
            prev_prev, prev = prev, blocks.reduction(prev, channels)
        inputs = [_calibrate(blocks, x, prev.shape[1:3], channels) for x in (prev_prev, prev)]
        name = f"layer_{number}"
        prev_prev, prev = prev, _run_cell(blocks, arc.rows, inputs, cell, channels, name)
        if config.aux_head and number == config.aux_layer:
            aux_logits = [blocks.aux_head(prev, num_classes)]
    logits = blocks.classify(blocks.relu(prev), num_classes, config.keep_prob)
    return keras.Model(images, [logits, *aux_logits])


def build_macro(
    arc: MacroArc,
    config: ImageChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    rng: StepRng,
) -> keras.Model:
    """Builds the network that a `MacroSupernet` of the same configuration runs for an architecture.

    Arguments and result are those of `enas_tf.macro.network.build`.
    """
    images, blocks = keras.Input(image_shape), SearchBlocks(rng, MACRO_EPSILON)
    channels, aux_logits = config.out_filters, []
    entries = [blocks.conv_norm(images, channels, 3, relu=False)]
    for number, layer in enumerate(arc.layers):
        name = f"layer_{number}"
        x = blocks.relu(blocks.conv_norm(entries[-1], channels, relu=False))
        x = blocks.relu(arc.rows[layer.op].layers(blocks, x, channels, name))
        if number:
            joined = [entry for entry, bit in zip(entries, layer.skips, strict=False) if bit]
            x = blocks.add([x, *joined], f"{name}_joined") if joined else x
            x = BatchNorm(moving=False)(x)
        entries.append(x)
        if config.aux_head and number == arc.space.aux_layer:
            aux_logits = [blocks.aux_head(x, num_classes)]
        if number in arc.space.pools:
            # Entries that no output depends on cost nothing: Keras leaves them out of the model.
            entries = [blocks.reduction(entry, channels) for entry in entries]
    logits = blocks.classify(entries[-1], num_classes, config.keep_prob)
    return keras.Model(images, [logits, *aux_logits])


def _calibrate(blocks: SearchBlocks, x: Tensor, sides: Sequence[int], channels: int) -> Tensor:
    if x.shape[1:3] != sides:
        return blocks.reduction(x, channels, relu=True)
    return x if x.shape[-1] == channels else blocks.conv_norm(x, channels)


def _run_cell(
    blocks: SearchBlocks,
    ops: Sequence[MicroOp],
    inputs: Sequence[Tensor],
    cell: Cell,
    channels: int,
    name: str,
) -> Tensor:
    """Returns the output of a cell: its loose ends, through relu and a 1x1 convolution.

    The inputs must have the cell's size and channels.
    """
    entries = list(inputs)
    for number, node in enumerate(cell, 2):
        parts = [
            ops[op].layers(blocks, entries[index], channels, f"{name}_node_{number}_{side}")
            for side, (index, op) in enumerate(node.inputs, 1)
        ]
        entries.append(blocks.add(parts, f"{name}_node_{number}"))
    ends = [entries[entry] for entry in MicroArc.loose_ends(cell)]
    return blocks.conv_norm(blocks.concatenate(ends, f"{name}_output"), channels)
