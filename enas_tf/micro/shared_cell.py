"""The cell of the micro space's shared-weight network, with its weights.

Reference: `_enas_layer` of the authors' micro_child.py.
"""

import functools
from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from enas_tf.layers.choice import Weights, take_rows
from enas_tf.layers.dropout import DropPath
from enas_tf.layers.final_weights import Named
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import MovingAverages, Statistics, normalize
from enas_tf.layers.op_bank import OpBank
from enas_tf.micro.nodes import loose_ends, run_nodes
from enas_tf.micro.ops import MicroOp
from enas_tf.micro.space import Cell, MicroSpace


def edge_factors(ops: tuple[MicroOp, ...], chosen: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Returns the factors of the edges' outputs: masks of drop path, or 1 for ops without it.

    Args:
        ops: the ops that edges choose from.
        chosen: the number of each edge's op, `(2 * num_nodes,)`, int32.
        masks: `(batch, 2 * num_nodes, 1, 1, 1)`.

    Returns:
        `(2 * num_nodes, batch, 1, 1, 1)`.
    """
    masks = tf.transpose(masks, [1, 0, 2, 3, 4])
    drops = tf.gather(tf.constant([op.drop_path for op in ops]), chosen)
    return tf.where(tf.reshape(drops, [-1, 1, 1, 1, 1]), masks, tf.ones_like(masks))


@functools.cache
def _cell_function(ops: tuple[MicroOp, ...]) -> Callable[..., tuple]:
    """Returns `_run_cell` for `ops`; cached, so that the graph holds it once per shape."""
    return graph_function(partial(_run_cell, ops))


def _run_cell(
    ops: tuple[MicroOp, ...],
    inputs: tuple[tf.Tensor, tf.Tensor],
    tokens: tf.Tensor,
    rows: tf.Tensor,
    banks: tuple[Weights, ...],
    join: Weights,
    averages: Statistics | None,
    masks: tf.Tensor | None,
    with_statistics: bool,
) -> tuple[tf.Tensor, Statistics | None, Statistics | None]:
    """Runs a cell with given weights.

    Args:
        ops: the ops that edges choose from.
        inputs: the cell's two inputs, each `(batch, height, width, channels)`.
        tokens: the cell's tokens, `(4 * num_nodes,)`, int32.
        rows: the set of weights that each edge uses, `(2 * num_nodes,)`, int32.
        banks: all sets of weights, of each op.
        join: kernel, `(entries, channels, channels)`, scale and offset of the 1x1 convolution and
            the batch norm after the loose ends.
        averages: means and variances for the batch norm after the loose ends; None uses the
            batch's own.
        masks: masks of drop path, `(batch, 2 * num_nodes, 1, 1, 1)`, or None.
        with_statistics: whether to return the statistics that the batch norms used.

    Returns:
        The output, with the shape of an input. With statistics, also the means and variances of
        the edges, each `(2 * num_nodes, norms, channels)`, and those of the output, `(channels,)`;
        None otherwise.
    """
    edges = tf.stack([tokens[0::2], tokens[1::2], rows], axis=1)
    factors = None if masks is None else edge_factors(ops, tokens[1::2], masks)
    ends, places, edge_statistics = run_nodes(ops, inputs, edges, banks, factors)
    kernel, scale, offset = join
    if places is None:
        # For XLA `ends` holds all entries; zeros in the kernel leave out those that are no ends.
        loose = tf.cast(loose_ends(edges[:, 0], kernel.shape[0]), kernel.dtype)
        kernel *= loose[:, tf.newaxis, tf.newaxis]
    else:
        kernel = take_rows(kernel, places[:, tf.newaxis])
    ends = tf.transpose(ends, [1, 2, 3, 0, 4])
    height, width, channels = inputs[0].shape[1:]
    # Relu comes after the transposition, so that it and the convolution keep the same tensor for
    # their gradients.
    count = kernel.shape[0] or tf.shape(kernel)[0]
    ends = tf.nn.relu(tf.reshape(ends, [-1, height, width, count * channels]))
    output = pointwise_conv(ends, tf.reshape(kernel, [-1, channels]))
    output, *output_statistics = normalize(output, scale, offset, averages=averages)
    return (output, edge_statistics, output_statistics) if with_statistics else (output, None, None)


class SharedCell(keras.layers.Layer):
    """A cell with weights for every op on every entry that a node may take.

    Args:
        space: the space, which defines the number of nodes and the ops.
        channels: channels of both inputs and of the output.
        drop_path: applied to the outputs of the ops that it may drop.
        moving: whether to keep moving averages and use them when `training` is false.

    Call arguments:
        inputs: the cell's two inputs, each `(batch, height, width, channels)`.
        tokens: the cell's tokens, `(4 * num_nodes,)`, int32.
        training: whether to drop paths and to update the moving averages.
    """

    def __init__(
        self, space: MicroSpace, channels: int, drop_path: DropPath, moving: bool, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.ops = space.rows
        self.channels = channels
        self.drop_path = drop_path
        self.moving = moving
        # Each of a node's two edges may come from entries 0 to node - 1, and has a set of weights
        # for each of them.
        inputs = [node for node in range(2, space.num_nodes + 2) for _ in range(2)]
        self.first_row = [sum(inputs[:edge]) for edge in range(len(inputs))]
        self.num_entries = space.num_nodes + 2
        self.banks = [OpBank(op, sum(inputs), channels, moving) for op in self.ops]

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates the weights of the ops and of the 1x1 convolution after the loose ends."""
        for bank in self.banks:
            bank.build()
        self.kernel = self.add_weight(
            shape=(self.num_entries, self.channels, self.channels),
            # The fan-in of one loose end, since their number varies and is at least one.
            initializer=he_normal(self.channels),
            name="kernel",
        )
        options = {"shape": (self.channels,), "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **options)
        self.offset = self.add_weight(name="offset", initializer="zeros", **options)
        if self.moving:
            self.averages = MovingAverages((self.channels,), name="averages")

    def final_weights(self, cell: Cell, name: str) -> Named:
        """Returns the weights of the ops that a cell has, by the paths of final networks.

        Args:
            cell: the cell.
            name: of the layer in the final network.
        """
        named, edges = {}, [edge for node in cell for edge in node.inputs]
        for number, ((index, op), first) in enumerate(zip(edges, self.first_row, strict=False)):
            node, side = number // 2 + 2, number % 2 + 1
            named |= self.banks[op].final_weights(first + index, f"{name}_node_{node}_{side}")
        return named

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], tokens: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns the output, `(batch, height, width, channels)`."""
        rows = tokens[0::2] + tf.constant(self.first_row)
        banks = tuple(bank.read(training) for bank in self.banks)
        join = tuple(map(tf.convert_to_tensor, (self.kernel, self.scale, self.offset)))
        averages = self.averages.read() if self.moving and not training else None
        masks = None
        if training and self.drop_path.layer_keep_prob < 1:
            shape = [tf.shape(inputs[0])[0], len(self.first_row), 1, 1, 1]
            masks = tf.cast(self.drop_path.mask(shape), inputs[0].dtype)
        update_averages = self.moving and training
        # The function returns the statistics, and the averages are assigned out here: under
        # `tf.distribute`, a branch of `tf.switch_case` may not assign.
        output, edge_statistics, output_statistics = _cell_function(self.ops)(
            inputs, tokens, rows, banks, join, averages, masks, update_averages
        )
        if update_averages:
            for op, bank in enumerate(self.banks):
                bank.update(rows, tf.equal(tokens[1::2], op), edge_statistics)
            self.averages.update(output_statistics)
        return tf.ensure_shape(output, inputs[0].shape)
