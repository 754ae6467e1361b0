"""The shared-weight network of the micro space.

Reference: Pham et al. 2018, section 2.4, and `_enas_layer` of the authors' micro_child.py.
"""

from functools import partial

import keras
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.conv import ConvNorm, FactorizedReduction
from enas_tf.layers.dropout import Dropout, DropPath, StepRng
from enas_tf.layers.final_weights import Named, conv_norm_weights
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm
from enas_tf.layers.stem import shared_stem, stem_output, stem_weights
from enas_tf.micro.shared_cell import SharedCell
from enas_tf.micro.space import MicroArc, MicroSpace


class SharedLayer(keras.layers.Layer):
    """A shared cell, after layers that bring its two inputs to one size and number of channels.

    Args:
        cell: the shared cell.
        is_reduction: whether the layer halves height and width. The previous output is then
            reduced first and the cell keeps its size, as in the authors' search network; in their
            final network the cell has strides instead.

    Call arguments:
        inputs: outputs of the layer before the previous one, and of the previous one.
        tokens: the cell's tokens, `(4 * num_nodes,)`, int32.
        training: whether to drop paths and to update the moving averages.
    """

    def __init__(self, cell: SharedCell, is_reduction: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.is_reduction = is_reduction
        self.norm = partial(BatchNorm, moving=cell.moving)

    def build(self, input_shapes: tuple[tuple, tuple]) -> None:
        """Creates the weights for inputs of these shapes."""
        prev_prev, prev = input_shapes
        channels = self.cell.channels
        if self.is_reduction:
            self.reduce = FactorizedReduction(channels, norm=self.norm, name="reduce")
            self.reduce.build(prev)
            prev_prev, prev = prev, (None, -(-prev[1] // 2), -(-prev[2] // 2), channels)
        output = (*prev[:3], channels)
        self.calibrate_0 = self._calibration(prev_prev, output, "calibrate_0")
        self.calibrate_1 = self._calibration(prev, output, "calibrate_1")
        self.cell.build()
        self.next_shapes = prev, output

    def _calibration(self, shape: tuple, wanted: tuple, name: str) -> keras.layers.Layer | None:
        """Returns the layer that brings an input of `shape` to `wanted`; None if it has it."""
        if shape[1:3] != wanted[1:3]:
            layer = FactorizedReduction(wanted[-1], relu=True, norm=self.norm, name=name)
        elif shape[-1] != wanted[-1]:
            layer = ConvNorm(wanted[-1], norm=self.norm, name=name)
        else:
            return None
        layer.build(shape)
        return layer

    def final_weights(self, arc: MicroArc, name: str) -> Named:
        """Returns the weights that a layer of a final network has too; `name` is the layer's."""
        if self.is_reduction:
            # A final network's inputs keep their size until the ops' strides.
            return self.cell.final_weights(arc.reduction, name)
        named = self.cell.final_weights(arc.normal, name)
        for number, layer in enumerate((self.calibrate_0, self.calibrate_1)):
            if layer:
                named |= conv_norm_weights(f"{name}_calibrate_{number}", layer)
        return named

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the two inputs of the next layer; the second one is this layer's output."""
        prev_prev, prev = inputs
        if self.is_reduction:
            prev_prev, prev = prev, self.reduce(prev, training=training)
        calibrated = (
            self.calibrate_0(prev_prev, training=training) if self.calibrate_0 else prev_prev,
            self.calibrate_1(prev, training=training) if self.calibrate_1 else prev,
        )
        return prev, self.cell(calibrated, tokens, training=training)


class MicroSupernet(keras.Model):
    """The supernet of the micro space: all its networks in one, from which tokens choose.

    Args:
        space: the space of its architectures.
        config: sizes and dropout rates.
        image_shape: `(height, width, channels)`.
        num_classes: number of classes.
        rng: random numbers of dropout and drop path.
        moving_averages: whether batch norm keeps moving averages and uses them when `training` is
            false; otherwise it always uses the batch's statistics, as in the authors' code.

    Call arguments:
        images: `(batch, height, width, channels)`, normalised.
        tokens: tokens of an architecture, `(8 * num_nodes,)`, int32.
        training: whether to apply dropout and to compute the auxiliary logits.
    """

    def __init__(
        self,
        space: MicroSpace,
        config: CellChildConfig,
        image_shape: tuple[int, int, int],
        num_classes: int,
        rng: StepRng,
        moving_averages: bool = False,
    ) -> None:
        super().__init__(name="micro_supernet")
        self.config = config
        self.tokens_per_cell = 4 * space.num_nodes
        norm = partial(BatchNorm, moving=moving_averages)
        self.stem = shared_stem(config.stem, 3 * config.out_filters, norm)
        num_layers = config.num_layers + 2
        self.cells = []
        for layer in range(num_layers):
            channels = config.out_filters * 2 ** sum(r <= layer for r in config.reductions)
            drop_path = DropPath(config.drop_path_keep_prob, (layer + 1) / num_layers, rng)
            cell = SharedCell(space, channels, drop_path, moving_averages, name="cell")
            is_reduction = layer in config.reductions
            self.cells.append(SharedLayer(cell, is_reduction, name=f"layer_{layer}"))
        self.aux_head = AuxHead(num_classes, name="aux_head") if config.aux_head else None
        self.dropout = Dropout(config.keep_prob, rng)
        self.num_classes = num_classes
        self.build((None, *image_shape))

    def build(self, image_shape: tuple) -> None:
        """Creates all weights."""
        self.stem.build(image_shape)
        shapes = (stem_output(self.config.stem, image_shape, self.stem.filters),) * 2
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

    def final_weights(self, arc: MicroArc, config: CellChildConfig) -> Named:
        """Returns the shared weights that a final network has too, by its variables' paths.

        These are the stem, and the ops of each cell at the same place between two reductions, with
        the convolutions before the first cells. The final network's cells end without a 1x1
        convolution and have strides, so that its other weights have no equals here.

        Args:
            arc: the architecture of the final network.
            config: sizes of the final network.
        """
        named, own = stem_weights(self.stem), dict(zip(self.config.places, self.cells, strict=True))
        for number, place in enumerate(config.places):
            if place in own:
                named |= own[place].final_weights(arc, f"layer_{number}")
        return named

    def call(
        self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the logits and the auxiliary logits, each `(batch, num_classes)`, float32.

        The auxiliary logits are None without an auxiliary head and outside training.
        """
        tokens_of_cells = tokens[: self.tokens_per_cell], tokens[self.tokens_per_cell :]
        inputs = (self.stem(images, training=training),) * 2
        aux_logits = None
        for number, layer in enumerate(self.cells):
            tokens_of_cell = tokens_of_cells[layer.is_reduction]
            inputs = layer(inputs, tokens_of_cell, training=training)
            if self.aux_head and training and number == self.config.aux_layer:
                aux_logits = self.aux_head(inputs[1])
        features = tf.reduce_mean(tf.nn.relu(inputs[1]), [1, 2])
        features = self.dropout(features, training=training)
        return tf.cast(tf.matmul(features, self.classifier), tf.float32), aux_logits
