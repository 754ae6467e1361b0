"""The shared weights of the micro space's cells.

Reference: `_enas_layer` of the authors' micro_child.py.
"""

import keras
import tensorflow as tf

from enas_tf.layers.banks import (
    SeparableConvBank,
    Weights,
    run_op,
    take_rows,
    take_sets,
)
from enas_tf.layers.dropout import DropPath
from enas_tf.layers.graph import graph_function
from enas_tf.layers.image_ops import pointwise_conv
from enas_tf.layers.initial import he_normal
from enas_tf.layers.norm import MovingAverages, Statistics, normalize
from enas_tf.spaces.micro import MicroSpace


def run_nodes(
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
        masks: drop path's, `(batch, 2 * num_nodes, 1, 1, 1)`, or None.
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
            part, *edge_statistics = run_op(entries.read(index), op, *weights, with_statistics)
            statistics.append(edge_statistics)
            if masks is not None:
                is_identity, mask = tf.equal(op, len(MicroSpace.ops) - 1), masks[:, edge]
                part *= tf.where(is_identity, tf.ones_like(mask), mask)
            parts.append(part)
        entries = entries.write(node, parts[0] + parts[1])
    # Where a TensorArray wants its places to be.
    with tf.device("CPU:0"):
        used = tf.one_hot(tokens[0::2], num_entries, True, False, dtype=tf.bool)
        loose = tf.cast(tf.where(~tf.reduce_any(used, axis=0))[:, 0], tf.int32)
    ends = tf.transpose(entries.gather(loose), [1, 2, 3, 0, 4])
    height, width, channels = inputs[0].shape[1:]
    shape = [-1, height, width, tf.size(loose) * channels]
    # Behind the transposition, relu and the convolution keep one tensor for their gradients.
    ends = tf.nn.relu(tf.reshape(ends, shape))
    return ends, loose, *map(tf.stack, zip(*statistics, strict=True))


@graph_function
def _run_cell(
    inputs: tuple[tf.Tensor, tf.Tensor],
    tokens: tf.Tensor,
    rows: tf.Tensor,
    banks: tuple[Weights, Weights],
    join: Weights,
    averages: Statistics | None,
    masks: tf.Tensor | None,
    with_statistics: bool,
) -> tuple[tf.Tensor, Statistics | None, Statistics | None]:
    """A cell whose weights are given.

    Args:
        inputs: two of `(batch, height, width, channels)`.
        tokens: `(4 * num_nodes,)`, int32.
        rows: `(2 * num_nodes,)`, int32: each edge's set of weights.
        banks: per kernel size, all sets of weights.
        join: kernel, `(entries, channels, channels)`, scale and offset behind the loose ends.
        averages: what the batch norm behind the loose ends goes by; None takes the batch's own.
        masks: drop path's, `(batch, 2 * num_nodes, 1, 1, 1)`, or None.
        with_statistics: whether to return what the batch norms went by.

    Returns:
        The output, of an input's shape; with statistics also the edges' means and variances,
        each `(2 * num_nodes, 2, channels)`, and those of the output, `(channels,)`.
    """
    convs = tuple(take_sets(bank, rows) for bank in banks)
    ends, loose, *edge_statistics = run_nodes(inputs, tokens, convs, masks, with_statistics)
    kernel, scale, offset = join
    kernel = tf.reshape(take_rows(kernel, loose[:, tf.newaxis]), [-1, kernel.shape[-1]])
    output = pointwise_conv(ends, kernel)
    output, *output_statistics = normalize(output, scale, offset, averages=averages)
    return (output, edge_statistics, output_statistics) if with_statistics else (output, None, None)


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
        banks = self.conv_3x3.read(training), self.conv_5x5.read(training)
        join = tuple(map(tf.convert_to_tensor, (self.kernel, self.scale, self.offset)))
        averages = self.averages.read() if self.moving and not training else None
        masks = None
        if training and self.drop_path.layer_keep_prob < 1:
            shape = [tf.shape(inputs[0])[0], len(self.first_row), 1, 1, 1]
            masks = tf.cast(self.drop_path.mask(shape), inputs[0].dtype)
        update_averages = self.moving and training
        output, edge_statistics, output_statistics = _run_cell(
            inputs, tokens, rows, banks, join, averages, masks, update_averages
        )
        if update_averages:
            for op, bank in enumerate((self.conv_3x3, self.conv_5x5)):
                bank.update(rows, tf.equal(tokens[1::2], op), edge_statistics)
            self.averages.update(output_statistics)
        return tf.ensure_shape(output, inputs[0].shape)
