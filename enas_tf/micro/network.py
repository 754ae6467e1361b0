"""The final network of the micro space: a single architecture as a plain Keras model.

Reference: `_fixed_layer` of the authors' micro_child.py.
"""

from collections.abc import Sequence

import keras

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.blocks import Blocks, Images, KerasBlocks
from enas_tf.layers.cost import Cost, CountingBlocks, count
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.stem import assemble_stem
from enas_tf.micro.ops import MicroOp
from enas_tf.micro.space import Cell, MicroArc


def build(
    arc: MicroArc,
    config: CellChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    rng: StepRng,
) -> keras.Model:
    """Builds the network of an architecture.

    Args:
        arc: the architecture.
        config: sizes and dropout rates.
        image_shape: `(height, width, channels)` of the input, normalised float32 images.
        num_classes: number of classes.
        rng: random numbers of dropout and drop path.

    Returns:
        A model that maps images to logits, `(batch, num_classes)`, float32. With
        `config.aux_head` it has a second output, the auxiliary logits, of the same shape.
    """
    images = keras.Input(image_shape, name="images")
    outputs = _assemble(arc, config, images, num_classes, KerasBlocks(rng))
    return keras.Model(images, outputs, name="micro_network")


def count_cost(
    arc: MicroArc,
    config: CellChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    blocks: CountingBlocks | None = None,
) -> Cost:
    """Counts the cost of the network that `build` returns, without building it.

    Args:
        blocks: what counts; see `enas_tf.layers.cost.count`. The other arguments are `build`'s.
    """

    def assemble(images: Images, blocks: Blocks) -> list:
        return _assemble(arc, config, images, num_classes, blocks)

    return count(assemble, image_shape, blocks)


def _assemble(
    arc: MicroArc, config: CellChildConfig, images: Images, num_classes: int, blocks: Blocks
) -> list:
    """Returns the logits and, with an auxiliary head, the auxiliary logits."""
    x = assemble_stem(config.stem, blocks, images, 3 * config.out_filters)
    inputs, aux_logits = (x, x), []
    channels, num_layers = config.out_filters, config.num_layers + 2
    for number in range(num_layers):
        is_reduction = number in config.reductions
        channels *= 2 if is_reduction else 1
        drop_path = config.drop_path_keep_prob, (number + 1) / num_layers
        layer = _Layer(
            f"layer_{number}", blocks, arc.rows, channels, 2 if is_reduction else 1, drop_path
        )
        x = layer.run(inputs, arc.reduction if is_reduction else arc.normal)
        inputs = inputs[1], x
        if config.aux_head and number == config.aux_layer:
            aux_logits = [blocks.aux_head(x, num_classes)]
    return [blocks.classify(blocks.relu(x), num_classes, config.keep_prob), *aux_logits]


class _Layer:
    """A layer of the network, which runs a cell on the outputs of the two layers before it.

    Args:
        name: prefix of the names of its blocks.
        blocks: what the layer is built from.
        ops: the ops of the space, in the order of their numbers.
        channels: channels of every op's output.
        stride: stride of the ops on the cell's two inputs.
        drop_path: keep probability of the last layer, and relative depth of this one.
    """

    def __init__(
        self,
        name: str,
        blocks: Blocks,
        ops: Sequence[MicroOp],
        channels: int,
        stride: int,
        drop_path: tuple[float, float],
    ) -> None:
        self.name = name
        self.blocks = blocks
        self.ops = ops
        self.channels = channels
        self.stride = stride
        self.drop_path = drop_path

    def run(self, inputs: tuple[Images, Images], cell: Cell) -> Images:
        """Returns the cell's output: its loose ends, concatenated along the channels."""
        blocks, name = self.blocks, self.name
        entries = self._calibrate(*inputs)
        entries[1] = blocks.conv(blocks.relu(entries[1]), self.channels, 1, f"{name}_base")
        for number, node in enumerate(cell, 2):
            parts = [
                self._edge(op, entries[index], index, f"{name}_node_{number}_{side}")
                for side, (index, op) in enumerate(node.inputs, 1)
            ]
            entries.append(blocks.add(parts, f"{name}_node_{number}"))
        ends = [
            # No op's stride has halved an input that no node takes.
            blocks.reduce(entries[entry], self.channels, f"{name}_end_{entry}")
            if entry < 2 and self.stride == 2
            else entries[entry]
            for entry in MicroArc.loose_ends(cell)
        ]
        return blocks.concatenate(ends, f"{name}_output")

    def _calibrate(self, prev_prev: Images, prev: Images) -> list[Images]:
        """Returns both inputs with the layer's channels, and the height and width of `prev`."""
        blocks, name = self.blocks, f"{self.name}_calibrate"
        if prev_prev.shape[1:3] != prev.shape[1:3]:
            prev_prev = blocks.reduce(blocks.relu(prev_prev), self.channels, f"{name}_0")
        elif prev_prev.shape[-1] != self.channels:
            prev_prev = blocks.conv(blocks.relu(prev_prev), self.channels, 1, f"{name}_0")
        if prev.shape[-1] != self.channels:
            prev = blocks.conv(blocks.relu(prev), self.channels, 1, f"{name}_1")
        return [prev_prev, prev]

    def _edge(self, number: int, x: Images, index: int, name: str) -> Images:
        """Applies the op of a number to `x`, the entry of an index."""
        op = self.ops[number]
        x = op.layers(self.blocks, x, self.channels, name, self.stride if index < 2 else 1)
        return self.blocks.drop_path(x, *self.drop_path, name) if op.drop_path else x
