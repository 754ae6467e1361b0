"""The macro space's final network: one architecture alone, as a plain Keras model.

Reference: Pham et al. 2018, section 2.3, and `_fixed_layer` of the authors' general_child.py.
"""

from dataclasses import dataclass

import keras

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import ImageChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.blocks import Tensor, classify, conv, conv_params, reduce, relu
from enas_tf.layers.dropout import Clock, Dropout, DropPath
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm
from enas_tf.macro.space import OPS, MacroArc


@dataclass(frozen=True)
class MacroChildConfig(ImageChildConfig):
    """The child network of images, and how its weights are trained."""

    out_filters: int = option(36, "channels, even; the final network doubles them at each pool")
    aux_head: bool = option(False, "add an auxiliary classifier behind the second pool")
    l2: float = option(2.5e-4, "weight of the sum of squares of all weights in the loss")
    authors_macro: bool = option(
        False,
        "final network as in the authors' code: ops 1 and 3 are plain convolutions too, there are "
        "no pools, and all earlier layers are reduced at a pool, whether or not they are joined "
        "to a later one",
    )


def build(
    arc: MacroArc,
    config: MacroChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    clock: Clock,
) -> keras.Model:
    """The network of one architecture.

    Args:
        arc: its layers.
        config: sizes and dropout.
        image_shape: `(height, width, channels)` of the input, normalised float32 images.
        num_classes: of the logits.
        clock: the step that dropout and drop path go by.

    Returns:
        A model from images to the logits, `(batch, num_classes)`, and where `config.aux_head`, a
        second output, the auxiliary logits of the same shape; float32. Its `unjoined` are layers
        that only `config.authors_macro` asks for, with weights that are not used.

    Raises:
        UserError: an op that the authors' final network does not have.
    """
    _check_ops(arc, config)
    images = keras.Input(image_shape, name="images")
    channels, aux_logits, unjoined = config.out_filters, [], []
    entries = [conv(images, channels, 3, "stem")]
    for number, layer in enumerate(arc.layers):
        x = _op(_kind(layer.op, config), entries[-1], channels, f"layer_{number}")
        if number:
            depth = (number + 1) / len(arc.layers)
            drop_path = config.drop_path_keep_prob, depth, clock
            x = _join(x, entries, layer.skips, drop_path, f"layer_{number}")
        entries.append(x)
        if config.aux_head and number == arc.space.aux_layer:
            aux_logits = [AuxHead(num_classes, name="aux_head")(x)]
        if number in arc.space.pools:
            channels *= 2
            wanted = range(number + 2) if config.authors_macro else _used(arc, number)
            for entry in wanted:
                entries[entry] = reduce(entries[entry], channels, f"layer_{number}_pool_{entry}")
            unjoined += [entries[entry] for entry in wanted if entry not in _used(arc, number)]
    features = keras.layers.GlobalAveragePooling2D(name="pool")(entries[-1])
    features = Dropout(config.keep_prob, clock, name="dropout")(features)
    outputs = [classify(features, num_classes), *aux_logits]
    network = keras.Model(images, outputs if aux_logits else outputs[0], name="macro_network")
    network.unjoined = []
    if config.authors_macro:
        whole = keras.Model(images, [*outputs, *unjoined])
        # As an attribute of the network, so that Keras counts, decays and saves their weights too.
        network.unjoined = [layer for layer in whole.layers if layer not in network.layers]
    return network


def _check_ops(arc: MacroArc, config: MacroChildConfig) -> None:
    for number, layer in enumerate(arc.layers):
        if config.authors_macro and layer.op > 3:
            raise UserError(
                f"layer {number} is {layer.op} ({OPS[layer.op]}), which the authors' final network "
                "does not have: with child.authors_macro ops must be 0 to 3; leave that option out"
            )


def _kind(op: int, config: MacroChildConfig) -> int:
    """The op that is built for an op: the authors' final network has plain convolutions only."""
    return 2 * (op // 2) if config.authors_macro else op


def _used(arc: MacroArc, pool: int) -> list[int]:
    """The entries behind the pool of a layer that a later layer takes."""
    joined = [layer.skips for layer in arc.layers[pool + 1 :]]
    return [n for n in range(pool + 1) if any(skips[n] for skips in joined)] + [pool + 1]


def _join(
    x: Tensor, entries: list[Tensor], skips: tuple[int, ...], drop_path: tuple, name: str
) -> Tensor:
    """A layer's op and the entries joined to it, along the channels, then a 1x1 convolution."""
    channels = x.shape[-1]
    joined = [entries[entry] for entry, bit in enumerate(skips) if bit]
    if joined:
        # Elsewhere the op's output is all that there is, and is kept.
        x = DropPath(*drop_path, name=f"{name}_drop_path")(x)
        x = keras.layers.Concatenate(name=f"{name}_joined")([*joined, x])
    return conv(relu(x), channels, 1, f"{name}_skip")


def _op(op: int, x: Tensor, channels: int, name: str) -> Tensor:
    """The op with this number in `OPS`, behind relu, 1x1 convolution and batch norm."""
    x = relu(conv(relu(x), channels, 1, f"{name}_project"))
    if op in (4, 5):
        pool = keras.layers.AveragePooling2D if op == 4 else keras.layers.MaxPooling2D
        return pool(3, 1, "same", name=f"{name}_op")(x)
    if op in (1, 3):
        size = (3, 5)[op // 2]
        separable = keras.layers.SeparableConv2D(
            channels,
            size,
            padding="same",
            use_bias=False,
            depthwise_initializer=he_normal(size**2),
            pointwise_initializer=he_normal(channels),
            name=f"{name}_op_conv",
        )
        return BatchNorm(name=f"{name}_op_norm")(separable(x))
    x = conv(x, channels, 5 if op == 2 else 3, f"{name}_op")
    return _excite(x, channels, f"{name}_op") if op == 6 else x


def _excite(x: Tensor, channels: int, name: str) -> Tensor:
    """Scales each channel by what all of them are on average (Hu et al., without biases)."""
    squeezed = max(1, channels // 4)
    factors = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    for filters, activation in ((squeezed, "relu"), (channels, "sigmoid")):
        factors = keras.layers.Conv2D(
            filters,
            1,
            activation=activation,
            use_bias=False,
            kernel_initializer=he_normal(factors.shape[-1]),
            name=f"{name}_{activation}",
        )(factors)
    return keras.layers.Multiply(name=f"{name}_excite")([x, factors])


def count_params(
    arc: MacroArc, config: MacroChildConfig, image_shape: tuple[int, int, int], num_classes: int
) -> int:
    """The trained parameters of `build`'s network, the auxiliary head aside, without building it.

    Raises:
        UserError: as `build`.
    """
    _check_ops(arc, config)
    channels = config.out_filters
    total = conv_params(3, image_shape[-1], channels)
    for number, layer in enumerate(arc.layers):
        total += conv_params(1, channels, channels)
        total += _op_params(_kind(layer.op, config), channels)
        if number:
            total += conv_params(1, channels * (1 + sum(layer.skips)), channels)
        if number in arc.space.pools:
            used = number + 2 if config.authors_macro else len(_used(arc, number))
            total += used * conv_params(1, channels, 2 * channels)
            channels *= 2
    return total + channels * num_classes


def _op_params(op: int, channels: int) -> int:
    """Of what stands behind an op's first 1x1 convolution."""
    if op in (4, 5):
        return 0
    if op in (1, 3):
        return (3, 5)[op // 2] ** 2 * channels + conv_params(1, channels, channels)
    excitation = 2 * channels * max(1, channels // 4) if op == 6 else 0
    return conv_params(5 if op == 2 else 3, channels, channels) + excitation
