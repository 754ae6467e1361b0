"""The micro space's shared-weight network.

Reference: Pham et al. 2018, section 2.4, and `_enas_layer` of the authors' micro_child.py.
"""

from functools import partial

import keras
import tensorflow as tf

from enas_tf.child import CellChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.banks import (
    SeparableConvBank,
    Weights,
    graph_function,
    run_op,
    take_rows,
)
from enas_tf.layers.conv import ConvNorm, FactorizedReduction
from enas_tf.layers.dropout import Clock, Dropout, DropPath
from enas_tf.layers.initial import he_normal
from enas_tf.layers.norm import BatchNorm, MovingAverages, normalize
from enas_tf.spaces.micro import MicroSpace


@graph_function
def _run_cell(
    inputs: tuple[tf.Tensor, tf.Tensor],
    tokens: tf.Tensor,
    convs: tuple[list[Weights], list[Weights]],
    masks: tf.Tensor | None,
    with_statistics: bool = False,
) -> tuple[tf.Tensor, ...]:
    """The nodes of a cell.

    Args:
        inputs: two of `(batch, height, width, channels)`.
        tokens: `(4 * num_nodes,)`, int32.
        convs: per kernel size and edge, the weights of a separable convolution.
        masks: drop path's, `(2 * num_nodes, batch, 1, 1, 1)`, or None.
        with_statistics: whether to return what the edges' batch norms went by, for `update`.

    Returns:
        The loose ends, relu'd and joined along the channels, and their entries' numbers; with
        statistics also means and variances, each `(2 * num_nodes, 2, channels)`.
    """
    tokens = tf.unstack(tokens)
    num_entries = len(tokens) // 4 + 2
    # A TensorArray hands out one entry, and its gradient goes back to that entry alone; a choice
    # by switch_case would send zeros to all others.
    entries = tf.TensorArray(
        inputs[0].dtype, num_entries, element_shape=inputs[0].shape, clear_after_read=False
    )
    entries = entries.write(0, inputs[0]).write(1, inputs[1])
    statistics = []
    for node in range(2, num_entries):
        parts = []
        for edge in (2 * node - 4, 2 * node - 3):
            index, op = tokens[2 * edge], tokens[2 * edge + 1]
            weights = convs[0][edge], convs[1][edge]
            part, *of_edge = run_op(entries.read(index), op, *weights, with_statistics)
            statistics.append(of_edge)
            if masks is not None:
                is_identity = tf.equal(op, len(MicroSpace.ops) - 1)
                part *= tf.where(is_identity, tf.ones_like(masks[edge]), masks[edge])
            parts.append(part)
        entries = entries.write(node, parts[0] + parts[1])
    used = tf.reduce_any(tf.one_hot(tokens[0::2], num_entries, True, False, dtype=tf.bool), axis=0)
    loose = tf.cast(tf.where(~used)[:, 0], tf.int32)
    ends = tf.nn.relu(entries.gather(loose))
    shape = tf.concat([tf.shape(inputs[0])[:3], [-1]], axis=0)
    ends = tf.reshape(tf.transpose(ends, [1, 2, 3, 0, 4]), shape)
    return ends, loose, *map(tf.stack, zip(*statistics, strict=True))


class SharedCell(keras.layers.Layer):
    """A cell with weights for every op on every input that a node may take.

    Args:
        num_nodes: of the cell, its two inputs not counted.
        channels: of both inputs and the output.
        drop_path: acts on every op's output but identity's.
        moving: whether to keep moving averages, and to go by them where `training` is false.

    Call arguments:
        inputs: two of `(batch, height, width, channels)`.
        tokens: `(4 * num_nodes,)`, int32.
        training: whether to drop paths and to take in the batch's statistics.
    """

    def __init__(
        self, num_nodes: int, channels: int, drop_path: DropPath, moving: bool, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.drop_path = drop_path
        self.moving = moving
        # Entries 0 .. node - 1 may feed each of a node's two edges.
        inputs = [node for node in range(2, num_nodes + 2) for _ in range(2)]
        self.first_row = [sum(inputs[:edge]) for edge in range(len(inputs))]
        self.num_entries = num_nodes + 2
        self.conv_3x3 = SeparableConvBank(sum(inputs), channels, 3, moving, name="conv_3x3")
        self.conv_5x5 = SeparableConvBank(sum(inputs), channels, 5, moving, name="conv_5x5")

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes the ops' weights and those of the 1x1 convolution that the loose ends go into."""
        self.conv_3x3.build()
        self.conv_5x5.build()
        self.kernel = self.add_weight(
            shape=(self.num_entries, self.channels, self.channels),
            # The loose ends' number varies; one is the least.
            initializer=he_normal(self.channels),
            name="kernel",
        )
        options = {"shape": (self.channels,), "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **options)
        self.offset = self.add_weight(name="offset", initializer="zeros", **options)
        if self.moving:
            self.averages = MovingAverages((self.channels,), name="averages")

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], tokens: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """`(batch, height, width, channels)`."""
        rows = tokens[0::2] + tf.constant(self.first_row)
        convs = self.conv_3x3(rows, training=training), self.conv_5x5(rows, training=training)
        masks = None
        if training and self.drop_path.layer_keep_prob < 1:
            shape = [len(self.first_row), tf.shape(inputs[0])[0], 1, 1, 1]
            masks = tf.cast(self.drop_path.mask(shape), inputs[0].dtype)
        takes_in = self.moving and training
        ends, loose, *of_convs = _run_cell(inputs, tokens, convs, masks, takes_in)
        kernel = take_rows(tf.convert_to_tensor(self.kernel), loose)
        kernel = tf.reshape(kernel, [1, 1, -1, self.channels])
        output = tf.nn.conv2d(ends, kernel, 1, "SAME")
        averages = self.averages.read() if self.moving and not training else None
        output, *of_output = normalize(output, self.scale, self.offset, averages=averages)
        if takes_in:
            for op, bank in enumerate((self.conv_3x3, self.conv_5x5)):
                bank.update(rows, tf.equal(tokens[1::2], op), of_convs)
            self.averages.update(of_output)
        return tf.ensure_shape(output, inputs[0].shape)


class SharedLayer(keras.layers.Layer):
    """A shared cell, and before it what brings its two inputs to its size and width.

    Args:
        cell: the shared cell.
        is_reduction: whether the layer halves height and width. The previous output is then
            reduced first and the cell keeps its size, as in the authors' search network; in their
            final network the cell has strides instead.

    Call arguments:
        inputs: outputs of the layer before the previous one, and of the previous one.
        tokens: of the cell.
        training: whether to drop paths and to take in the batch's statistics.
    """

    def __init__(self, cell: SharedCell, is_reduction: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.is_reduction = is_reduction
        self.norm = partial(BatchNorm, moving=cell.moving)

    def build(self, input_shapes: tuple[tuple, tuple]) -> None:
        """Makes the weights that inputs of these shapes need."""
        older, newer = input_shapes
        channels = self.cell.channels
        if self.is_reduction:
            self.reduce = FactorizedReduction(channels, norm=self.norm, name="reduce")
            self.reduce.build(newer)
            older, newer = newer, (None, -(-newer[1] // 2), -(-newer[2] // 2), channels)
        output = (*newer[:3], channels)
        self.calibrate_0 = self._calibration(older, output)
        self.calibrate_1 = self._calibration(newer, output)
        self.cell.build()
        self.next_shapes = newer, output

    def _calibration(self, shape: tuple, wanted: tuple) -> keras.layers.Layer | None:
        """The layer that brings an input of one shape to another; None where they are equal."""
        if shape[1:3] != wanted[1:3]:
            layer = FactorizedReduction(wanted[-1], relu=True, norm=self.norm)
        elif shape[-1] != wanted[-1]:
            layer = ConvNorm(wanted[-1], norm=self.norm)
        else:
            return None
        layer.build(shape)
        return layer

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The next layer's two inputs, the second of which is this layer's output."""
        older, newer = inputs
        if self.is_reduction:
            older, newer = newer, self.reduce(newer, training=training)
        calibrated = (
            self.calibrate_0(older, training=training) if self.calibrate_0 else older,
            self.calibrate_1(newer, training=training) if self.calibrate_1 else newer,
        )
        return newer, self.cell(calibrated, tokens, training=training)


class MicroSupernet(keras.Model):
    """All networks of the micro space in one; tokens say which of them runs.

    Args:
        space: the space of its architectures.
        config: sizes and dropout.
        image_shape: `(height, width, channels)`.
        num_classes: of the logits.
        clock: the step that dropout goes by.
        moving_averages: whether batch norm keeps moving averages and goes by them where `training`
            is false; else it always goes by the batch's statistics, as in the authors' code.

    Call arguments:
        images: `(batch, height, width, channels)`, normalised.
        tokens: an architecture's, `(8 * num_nodes,)`, int32.
        training: whether to drop out and to compute the auxiliary logits.
    """

    def __init__(
        self,
        space: MicroSpace,
        config: CellChildConfig,
        image_shape: tuple[int, int, int],
        num_classes: int,
        clock: Clock,
        moving_averages: bool = False,
    ) -> None:
        super().__init__(name="micro_supernet")
        self.config = config
        self.tokens_per_cell = 4 * space.num_nodes
        norm = partial(BatchNorm, moving=moving_averages)
        self.stem = ConvNorm(3 * config.out_filters, 3, relu=False, norm=norm, name="stem")
        num_layers = config.num_layers + 2
        self.cells = []
        for layer in range(num_layers):
            channels = config.out_filters * 2 ** sum(r <= layer for r in config.reductions)
            drop_path = DropPath(config.drop_path_keep_prob, (layer + 1) / num_layers, clock)
            cell = SharedCell(space.num_nodes, channels, drop_path, moving_averages, name="cell")
            is_reduction = layer in config.reductions
            self.cells.append(SharedLayer(cell, is_reduction, name=f"layer_{layer}"))
        self.aux_head = AuxHead(num_classes, name="aux_head") if config.aux_head else None
        self.dropout = Dropout(config.keep_prob, clock)
        self.num_classes = num_classes
        self.build((None, *image_shape))

    def build(self, image_shape: tuple) -> None:
        """Makes all weights."""
        self.stem.build(image_shape)
        shapes = ((*image_shape[:3], self.stem.filters),) * 2
        for number, layer in enumerate(self.cells):
            layer.build(shapes)
            shapes = layer.next_shapes
            if self.aux_head and number == self.config.aux_layer:
                self.aux_head.build(shapes[1])
        channels = shapes[1][-1]
        self.classifier = self.add_weight(
            shape=(channels, self.num_classes), initializer=he_normal(channels), name="classifier"
        )
        self.built = True

    def call(
        self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The logits and the auxiliary logits, `(batch, num_classes)`, float32.

        The latter are None where there is no auxiliary head, or outside training.
        """
        tokens_of_cells = tokens[: self.tokens_per_cell], tokens[self.tokens_per_cell :]
        inputs = (self.stem(images, training=training),) * 2
        aux_logits = None
        for number, layer in enumerate(self.cells):
            tokens_of_cell = tokens_of_cells[layer.is_reduction]
            inputs = layer(inputs, tokens_of_cell, training=training)
            if self.aux_head and training and number == self.config.aux_layer:
                aux_logits = tf.cast(self.aux_head(inputs[1]), tf.float32)
        features = tf.reduce_mean(tf.nn.relu(inputs[1]), [1, 2])
        features = self.dropout(features, training=training)
        return tf.cast(tf.matmul(features, self.classifier), tf.float32), aux_logits
