"""Networks of one architecture with the layers that it has in the shared-weight network.

They are what the shared-weight network's step is measured against, and differ from the final
networks, which have other layers (docs/sources.md). They have no drop path.
"""

from collections.abc import Sequence
from functools import partial

import keras

from enas_tf.core.network_config import CellChildConfig, ImageChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.blocks import Tensor, classify, relu
from enas_tf.layers.conv import ConvNorm, FactorizedReduction
from enas_tf.layers.dropout import Clock, Dropout
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm
from enas_tf.macro.ops import OP_EPSILON
from enas_tf.macro.space import MacroArc
from enas_tf.micro.space import Cell, MicroArc

_norm = partial(BatchNorm, moving=False)
_conv = partial(ConvNorm, norm=_norm)
_reduction = partial(FactorizedReduction, norm=_norm)


def build_micro(
    arc: MicroArc,
    config: CellChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    clock: Clock,
) -> keras.Model:
    """What a `MicroSupernet` of the same configuration runs for one architecture.

    Arguments and result are those of `enas_tf.micro.network.build`.
    """
    images = keras.Input(image_shape)
    channels, aux_logits = config.out_filters, []
    older = newer = _conv(3 * channels, 3, relu=False)(images)
    for number in range(config.num_layers + 2):
        cell = arc.normal
        if number in config.reductions:
            channels, cell = 2 * channels, arc.reduction
            older, newer = newer, _reduction(channels)(newer)
        inputs = [_calibrate(x, newer.shape[1:3], channels) for x in (older, newer)]
        older, newer = newer, _run_cell(inputs, cell, channels)
        if config.aux_head and number == config.aux_layer:
            aux_logits = [AuxHead(num_classes, name="aux_head")(newer)]
    logits = _classify(relu(newer), config, num_classes, clock)
    return keras.Model(images, [logits, *aux_logits])


def build_macro(
    arc: MacroArc,
    config: ImageChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    clock: Clock,
) -> keras.Model:
    """What a `MacroSupernet` of the same configuration runs for one architecture of six ops.

    Arguments and result are those of `enas_tf.macro.network.build`.
    """
    images = keras.Input(image_shape)
    channels, aux_logits = config.out_filters, []
    entries = [_conv(channels, 3, relu=False)(images)]
    for number, layer in enumerate(arc.layers):
        x = _macro_op(layer.op, entries[-1], channels)
        if number:
            joined = [entry for entry, bit in zip(entries, layer.skips, strict=False) if bit]
            x = _norm()(keras.layers.Add()([x, *joined]) if joined else x)
        entries.append(x)
        if config.aux_head and number == arc.space.aux_layer:
            aux_logits = [AuxHead(num_classes, name="aux_head")(x)]
        if number in arc.space.pools:
            # Keras leaves out of the model what no output depends on.
            entries = [_reduction(channels)(entry) for entry in entries]
    logits = _classify(entries[-1], config, num_classes, clock)
    return keras.Model(images, [logits, *aux_logits])


def _calibrate(x: Tensor, sides: Sequence[int], channels: int) -> Tensor:
    if x.shape[1:3] != sides:
        return _reduction(channels, relu=True)(x)
    return x if x.shape[-1] == channels else _conv(channels)(x)


def _run_cell(inputs: Sequence[Tensor], cell: Cell, channels: int) -> Tensor:
    """The cell's loose ends, by relu and a 1x1 convolution; inputs of the cell's own size."""
    entries = list(inputs)
    for node in cell:
        parts = [_micro_op(op, entries[index], channels) for index, op in node.inputs]
        entries.append(keras.layers.Add()(parts))
    ends = [entries[entry] for entry in MicroArc.loose_ends(cell)]
    return _conv(channels)(keras.layers.Concatenate()(ends) if ends[1:] else ends[0])


def _micro_op(op: int, x: Tensor, channels: int) -> Tensor:
    """The op with this number in `MicroSpace.ops`."""
    if op == 4:
        return x
    if op in (2, 3):
        return _pool(op == 3, x)
    for _ in range(2):
        x = _norm()(_separable(relu(x), (3, 5)[op], channels))
    return x


def _macro_op(op: int, x: Tensor, channels: int) -> Tensor:
    """The op with this number in `spaces.macro.OPS`, behind 1x1 convolution, batch norm, relu."""
    x = relu(_conv(channels, relu=False)(x))
    if op in (4, 5):
        return _pool(op == 5, x)
    size = 3 if op < 2 else 5
    norm = partial(_norm, epsilon=OP_EPSILON)
    if op in (1, 3):
        return relu(norm()(_separable(x, size, channels)))
    return relu(_conv(channels, size, relu=False, norm=norm)(x))


def _pool(is_max: bool, x: Tensor) -> Tensor:
    pool = keras.layers.MaxPooling2D if is_max else keras.layers.AveragePooling2D
    return pool(3, 1, "same")(x)


def _separable(x: Tensor, kernel_size: int, channels: int) -> Tensor:
    return keras.layers.SeparableConv2D(
        channels,
        kernel_size,
        padding="same",
        use_bias=False,
        depthwise_initializer=he_normal(kernel_size**2),
        pointwise_initializer=he_normal(channels),
    )(x)


def _classify(x: Tensor, config: ImageChildConfig, num_classes: int, clock: Clock) -> Tensor:
    features = keras.layers.GlobalAveragePooling2D()(x)
    return classify(Dropout(config.keep_prob, clock)(features), num_classes)
