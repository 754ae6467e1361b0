"""The micro space's final network: one architecture alone, as a plain Keras model.

Reference: `_fixed_layer` of the authors' micro_child.py.
"""

from collections.abc import Sequence

import keras

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.blocks import Tensor, classify, conv, conv_params, reduce, relu
from enas_tf.layers.dropout import Clock, Dropout, DropPath
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm
from enas_tf.micro.space import Cell, MicroArc


def build(
    arc: MicroArc,
    config: CellChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    clock: Clock,
) -> keras.Model:
    """The network of one architecture.

    Args:
        arc: its cells.
        config: sizes and dropout.
        image_shape: `(height, width, channels)` of the input, normalised float32 images.
        num_classes: of the logits.
        clock: the step that dropout and drop path go by.

    Returns:
        A model from images to the logits, `(batch, num_classes)`, and where `config.aux_head`, a
        second output, the auxiliary logits of the same shape; float32.
    """
    images = keras.Input(image_shape, name="images")
    x = conv(images, 3 * config.out_filters, 3, "stem")
    inputs, aux_logits = [x, x], []
    channels, num_layers = config.out_filters, config.num_layers + 2
    for number in range(num_layers):
        is_reduction = number in config.reductions
        channels *= 2 if is_reduction else 1
        drop_path = config.drop_path_keep_prob, (number + 1) / num_layers, clock
        layer = _Layer(f"layer_{number}", channels, 2 if is_reduction else 1, drop_path)
        x = layer(inputs, arc.reduction if is_reduction else arc.normal)
        inputs = [inputs[1], x]
        if config.aux_head and number == config.aux_layer:
            aux_logits = [AuxHead(num_classes, name="aux_head")(x)]
    x = keras.layers.GlobalAveragePooling2D(name="pool")(relu(x))
    x = Dropout(config.keep_prob, clock, name="dropout")(x)
    logits = classify(x, num_classes)
    return keras.Model(images, [logits, *aux_logits], name="micro_network")


class _Layer:
    """One layer: how it makes the tensors of a cell.

    Args:
        name: prefix of its Keras layers' names.
        channels: of every op's output.
        stride: of ops on the cell's two inputs.
        drop_path: arguments of `DropPath`.
    """

    def __init__(self, name: str, channels: int, stride: int, drop_path: tuple) -> None:
        self.name = name
        self.channels = channels
        self.stride = stride
        self.drop_path = drop_path

    def __call__(self, inputs: Sequence[Tensor], cell: Cell) -> Tensor:
        """The cell's output: its loose ends, joined along the channels."""
        entries = self._calibrate(*inputs)
        entries[1] = conv(relu(entries[1]), self.channels, 1, f"{self.name}_base")
        for number, node in enumerate(cell, 2):
            parts = [
                self._op(op, entries[index], index, f"{self.name}_node_{number}_{side}")
                for side, (index, op) in enumerate(node.inputs, 1)
            ]
            entries.append(keras.layers.Add(name=f"{self.name}_node_{number}")(parts))
        ends = [
            # An input that no node takes has not been through an op's stride.
            reduce(entries[entry], self.channels, f"{self.name}_end_{entry}")
            if entry < 2 and self.stride == 2
            else entries[entry]
            for entry in MicroArc.loose_ends(cell)
        ]
        return keras.layers.Concatenate(name=f"{self.name}_output")(ends) if ends[1:] else ends[0]

    def _calibrate(self, older: Tensor, newer: Tensor) -> list[Tensor]:
        """Both inputs with the layer's channels and the newer one's height and width."""
        name = f"{self.name}_calibrate"
        if older.shape[1:3] != newer.shape[1:3]:
            older = reduce(relu(older), self.channels, f"{name}_0")
        elif older.shape[-1] != self.channels:
            older = conv(relu(older), self.channels, 1, f"{name}_0")
        if newer.shape[-1] != self.channels:
            newer = conv(relu(newer), self.channels, 1, f"{name}_1")
        return [older, newer]

    def _op(self, op: int, x: Tensor, index: int, name: str) -> Tensor:
        """The op with this number in `MicroSpace.ops` on entry `index`."""
        stride = self.stride if index < 2 else 1
        if op == 4:
            return reduce(x, self.channels, name) if stride == 2 else x
        if op in (2, 3):
            pool = keras.layers.AveragePooling2D if op == 2 else keras.layers.MaxPooling2D
            x = pool(3, stride, "same", name=name)(x)
        else:
            x = self._separable_conv(x, (3, 5)[op], stride, name)
        return DropPath(*self.drop_path, name=f"{name}_drop_path")(x)

    def _separable_conv(self, x: Tensor, kernel_size: int, stride: int, name: str) -> Tensor:
        """Relu, depthwise and pointwise convolution, batch norm; twice, the first with stride."""
        for place in (1, 2):
            separable = keras.layers.SeparableConv2D(
                self.channels,
                kernel_size,
                stride if place == 1 else 1,
                "same",
                use_bias=False,
                depthwise_initializer=he_normal(kernel_size**2),
                pointwise_initializer=he_normal(x.shape[-1]),
                name=f"{name}_conv_{place}",
            )
            x = BatchNorm(name=f"{name}_norm_{place}")(separable(relu(x)))
        return x


def count_params(
    arc: MicroArc, config: CellChildConfig, image_shape: tuple[int, int, int], num_classes: int
) -> int:
    """The trained parameters of `build`'s network, the auxiliary head aside, without building it.

    A hundred architectures are so counted in no time.
    """
    channels = config.out_filters
    total = conv_params(3, image_shape[-1], 3 * channels)
    older = newer = 3 * channels
    after_reduction = False
    for number in range(config.num_layers + 2):
        is_reduction = number in config.reductions
        channels *= 2 if is_reduction else 1
        if after_reduction or older != channels:
            total += conv_params(1, older, channels)
        if newer != channels:
            total += conv_params(1, newer, channels)
        total += conv_params(1, channels, channels)
        cell = arc.reduction if is_reduction else arc.normal
        total += _cell_params(cell, channels, is_reduction)
        older, newer = newer, channels * len(MicroArc.loose_ends(cell))
        after_reduction = is_reduction
    return total + newer * num_classes


def _cell_params(cell: Cell, channels: int, is_reduction: bool) -> int:
    separable = {
        op: 2 * (size**2 * channels + channels**2 + 2 * channels) for op, size in ((0, 3), (1, 5))
    }
    uses = [use for node in cell for use in node.inputs]
    total = sum(separable.get(op, 0) for _, op in uses)
    if is_reduction:
        reduced = sum(index < 2 and op == 4 for index, op in uses)
        reduced += sum(entry < 2 for entry in MicroArc.loose_ends(cell))
        total += reduced * conv_params(1, channels, channels)
    return total
