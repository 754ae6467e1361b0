"""The final network of the macro space: a single architecture as a plain Keras model.

Reference: Pham et al. 2018, section 2.3, and `_fixed_layer` of the authors' general_child.py.
"""

from dataclasses import dataclass
from typing import Protocol

import keras

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import ImageChildConfig
from enas_tf.layers.blocks import Blocks, Images, KerasBlocks
from enas_tf.layers.cost import Cost, CountingBlocks, count
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.stem import assemble_stem
from enas_tf.macro.space import MacroArc


@dataclass(frozen=True)
class MacroChildConfig(ImageChildConfig):
    """The child network of images, and how its weights are trained."""

    out_filters: int = option(36, "channels, even; the final network doubles them at each pool")
    aux_head: bool = option(False, "add an auxiliary classifier after the second pool")
    l2: float = option(2.5e-4, "weight of the sum of squares of all weights in the loss")
    authors_macro: bool = option(
        False,
        "final network as in the authors' code: ops 1 and 3 are plain convolutions too, there are "
        "no pools, and all earlier layers are reduced at a pool, whether or not they are joined "
        "to a later one; with space.search_channels: an op keeps its number of channels at pools, "
        "and all earlier layers are reduced",
        is_size=True,
    )


class LayerBuilder(Protocol):
    """Builds what a layer computes of the one before it, without skip connections."""

    def __call__(
        self,
        arc: MacroArc,
        number: int,
        config: MacroChildConfig,
        blocks: Blocks,
        x: Images,
        channels: int,
    ) -> Images:
        """Builds layer `number` for a final network; returns as many channels as asked for.

        Raises:
            UserError: with `config.authors_macro`, an op that the authors' final network lacks.
        """


def build_op(
    arc: MacroArc,
    number: int,
    config: MacroChildConfig,
    blocks: Blocks,
    x: Images,
    channels: int,
) -> Images:
    """Builds relu, 1x1 convolution, batch norm, relu and the layer's op; see `LayerBuilder`."""
    op, name = arc.rows[arc.layers[number].op], f"layer_{number}"
    x = blocks.relu(blocks.conv(blocks.relu(x), channels, 1, f"{name}_project"))
    if not config.authors_macro:
        return op.layers(blocks, x, channels, f"{name}_op")
    if op.authors_kernel_size is None:
        known = ", ".join(row.name for row in arc.table.rows if row.authors_kernel_size)
        raise UserError(
            f"layer {number} is {arc.layers[number].op} ({op.name}), which the authors' final "
            f"network does not have: with child.authors_macro ops must be of {known}; leave that "
            "option out"
        )
    return blocks.conv(x, channels, op.authors_kernel_size, f"{name}_op")


def build(
    arc: MacroArc,
    config: MacroChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    rng: StepRng,
    build_layer: LayerBuilder = build_op,
) -> keras.Model:
    """Builds the network of an architecture.

    Args:
        arc: the architecture.
        config: sizes and dropout rates.
        image_shape: `(height, width, channels)` of the input, normalised float32 images.
        num_classes: number of classes.
        rng: random numbers of dropout and drop path.
        build_layer: builds a layer, but for its skip connections.

    Returns:
        A model that maps images to logits, `(batch, num_classes)`, float32. With
        `config.aux_head` it has a second output, the auxiliary logits, of the same shape. Its
        attribute `unjoined` lists the layers that no output depends on; there are some only with
        `config.authors_macro`.

    Raises:
        UserError: with `config.authors_macro`, an op that the authors' final network lacks.
    """
    images = keras.Input(image_shape, name="images")
    outputs, unjoined = _assemble(arc, config, images, num_classes, KerasBlocks(rng), build_layer)
    network = keras.Model(images, outputs if outputs[1:] else outputs[0], name="macro_network")
    network.unjoined = []
    if config.authors_macro:
        whole = keras.Model(images, [*outputs, *unjoined])
        # An attribute of the network, so that Keras counts, decays and saves their weights too.
        network.unjoined = [layer for layer in whole.layers if layer not in network.layers]
    return network


def count_cost(
    arc: MacroArc,
    config: MacroChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    blocks: CountingBlocks | None = None,
    build_layer: LayerBuilder = build_op,
) -> Cost:
    """Counts the cost of the network that `build` returns, without building it.

    Args:
        blocks: what counts; see `enas_tf.layers.cost.count`. The other arguments are `build`'s.

    Raises:
        UserError: as for `build`.
    """

    def assemble(images: Images, blocks: Blocks) -> tuple:
        return _assemble(arc, config, images, num_classes, blocks, build_layer)

    return count(assemble, image_shape, blocks)


def _assemble(
    arc: MacroArc,
    config: MacroChildConfig,
    images: Images,
    num_classes: int,
    blocks: Blocks,
    build_layer: LayerBuilder,
) -> tuple[list, list]:
    """Returns the logits and, with an auxiliary head, the auxiliary logits; and unused tensors."""
    channels, aux_logits, unjoined = config.out_filters, [], []
    entries = [assemble_stem(config.stem, blocks, images, channels)]
    for number, layer in enumerate(arc.layers):
        name = f"layer_{number}"
        x = build_layer(arc, number, config, blocks, entries[-1], channels)
        if number:
            drop_path = config.drop_path_keep_prob, (number + 1) / len(arc.layers)
            x = _join(blocks, x, entries, layer.skips, drop_path, name)
        entries.append(x)
        if config.aux_head and number == arc.space.aux_layer:
            aux_logits = [blocks.aux_head(x, num_classes)]
        if number in arc.space.pools:
            channels *= 2
            used = _used(arc, number)
            for entry in range(number + 2) if config.authors_macro else used:
                pool = f"{name}_pool_{entry}"
                entries[entry] = blocks.reduce(entries[entry], channels, pool, entry in used)
                unjoined += [] if entry in used else [entries[entry]]
    return [blocks.classify(entries[-1], num_classes, config.keep_prob), *aux_logits], unjoined


def _used(arc: MacroArc, pool: int) -> list[int]:
    """Returns the entries that a layer after a pool takes.

    Args:
        arc: the architecture.
        pool: the layer that the pool comes after.
    """
    joined = [layer.skips for layer in arc.layers[pool + 1 :]]
    return [n for n in range(pool + 1) if any(skips[n] for skips in joined)] + [pool + 1]


def _join(
    blocks: Blocks,
    x: Images,
    entries: list[Images],
    skips: tuple[int, ...],
    drop_path: tuple[float, float],
    name: str,
) -> Images:
    """Concatenates a layer's op and the entries joined to it; applies a 1x1 convolution."""
    channels = x.shape[-1]
    joined = [entries[entry] for entry, bit in enumerate(skips) if bit]
    if joined:
        # Without skips the op's output is the only input, so it is never dropped.
        x = blocks.drop_path(x, *drop_path, name)
        x = blocks.concatenate([*joined, x], f"{name}_joined")
    return blocks.conv(blocks.relu(x), channels, 1, f"{name}_skip")
