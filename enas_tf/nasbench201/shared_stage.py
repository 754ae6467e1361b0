"""The shared weights of a stage of cells of NAS-Bench-201's space."""

import functools
from collections.abc import Callable, Sequence
from functools import partial

import keras
import tensorflow as tf

from enas_tf.layers.choice import Weights, run_op
from enas_tf.layers.dropout import DropPath
from enas_tf.layers.final_weights import Named
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.norm import Statistics
from enas_tf.layers.op_bank import OpBank
from enas_tf.nasbench201.ops import Nasbench201Op
from enas_tf.nasbench201.space import Nasbench201Arc, Nasbench201Space


@functools.cache
def _cell_function(ops: tuple[Nasbench201Op, ...]) -> Callable[..., tuple]:
    """Returns `_run_cell` of some ops; the graph holds it once per shape."""
    return graph_function(partial(_run_cell, ops))


def _run_cell(
    ops: tuple[Nasbench201Op, ...],
    x: tf.Tensor,
    tokens: tf.Tensor,
    banks: tuple[Weights, ...],
    factors: tf.Tensor | None,
    with_statistics: bool,
) -> tuple[tf.Tensor, Statistics | None]:
    """Runs a cell with given weights.

    Args:
        ops: that edges choose from.
        x: `(batch, height, width, channels)`.
        tokens: the op of each edge, int32.
        banks: for each op its weights on each edge, `(edges, ...)`.
        factors: of the edges' outputs, `(edges, batch, 1, 1, 1)`; None leaves them be.
        with_statistics: whether to return what the batch norms used.

    Returns:
        The output, of `x`'s shape; with statistics also means and variances, each
        `(edges, norms, channels)`.
    """
    sets = [list(zip(*map(tf.unstack, bank), strict=True)) for bank in banks]
    nodes, statistics = [x], []
    while len(statistics) < tokens.shape[0]:
        parts = []
        for source in nodes:
            edge = len(statistics)
            weights = [of_op[edge] if of_op else () for of_op in sets]
            part, used = run_op(ops, tokens[edge], source, weights)
            parts.append(part if factors is None else part * factors[edge])
            statistics.append(used)
        nodes.append(tf.add_n(parts))
    if not with_statistics:
        return nodes[-1], None
    return nodes[-1], tuple(map(tf.stack, zip(*statistics, strict=True)))


class SharedStage(keras.layers.Layer):
    """Cells in a row, each with weights for every op on every edge.

    Args:
        space: says how many edges there are, and which ops.
        channels: of the input and the output.
        drop_paths: for each cell what acts on the outputs of all ops that it may drop.
        moving: whether to keep moving averages, and to use them where `training` is false.

    Call arguments:
        x: `(batch, height, width, channels)`.
        tokens: the op of each edge, int32.
        training: whether to drop paths and to take in the batch's statistics.
    """

    def __init__(
        self,
        space: Nasbench201Space,
        channels: int,
        drop_paths: Sequence[DropPath],
        moving: bool,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.ops = space.rows
        self.num_edges = len(space.slots)
        self.drop_paths = list(drop_paths)
        self.moving = moving
        sets = len(self.drop_paths) * self.num_edges
        # Cell by cell, and edge by edge in each.
        self.banks = [OpBank(op, sets, channels, moving) for op in self.ops]

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes the ops' weights."""
        for bank in self.banks:
            bank.build()
        self.built = True

    def call(
        self, x: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs of the first and of the last cell, each of `x`'s shape."""
        update_averages = self.moving and training
        banks = [tuple(map(self._by_cells, bank.read(training))) for bank in self.banks]
        outputs, statistics = [x], []
        for cell, drop_path in enumerate(self.drop_paths):
            of_cell = tuple(tuple(weights[cell] for weights in bank) for bank in banks)
            factors = self._factors(drop_path, x, tokens) if training else None
            x, used = _cell_function(self.ops)(x, tokens, of_cell, factors, update_averages)
            x = tf.ensure_shape(x, outputs[0].shape)
            outputs.append(x)
            statistics.append(used)
        if update_averages:
            self._update_averages(tokens, statistics)
        return outputs[1], outputs[-1]

    def final_weights(self, arc: Nasbench201Arc, name: str) -> Named:
        """Returns an architecture's weights by the paths that final networks have for them.

        Args:
            arc: the architecture.
            name: of the stage in the final network.
        """
        edges = [
            (node, source, op)
            for node, ops in enumerate(arc.nodes, 1)
            for source, op in enumerate(ops)
        ]
        named = {}
        for cell in range(len(self.drop_paths)):
            for edge, (node, source, op) in enumerate(edges, cell * self.num_edges):
                path = f"{name}_cell_{cell}_node_{node}_from_{source}"
                named |= self.banks[op].final_weights(edge, path)
        return named

    def _by_cells(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """Returns for each cell a bank's sets of its edges, `(edges, ...)`."""
        shape = [len(self.drop_paths), self.num_edges, *weights.shape[1:]]
        return tf.unstack(tf.reshape(weights, shape))

    def _factors(self, drop_path: DropPath, x: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor | None:
        """Returns what the edges' outputs are multiplied by; None where drop path is off."""
        if drop_path.layer_keep_prob == 1:
            return None
        masks = drop_path.mask([tf.shape(x)[0], self.num_edges, 1, 1, 1])
        masks = tf.cast(tf.transpose(masks, [1, 0, 2, 3, 4]), x.dtype)
        drops = tf.gather(tf.constant([op.drop_path for op in self.ops]), tokens)
        return tf.where(tf.reshape(drops, [-1, 1, 1, 1, 1]), masks, tf.ones_like(masks))

    def _update_averages(self, tokens: tf.Tensor, statistics: list[Statistics]) -> None:
        """Takes in what the batch norms of all cells used."""
        cells = len(self.drop_paths)
        means, variances = (tf.concat(some, axis=0) for some in zip(*statistics, strict=True))
        rows, tokens = tf.range(cells * self.num_edges), tf.tile(tokens, [cells])
        for op, bank in enumerate(self.banks):
            bank.update(rows, tf.equal(tokens, op), (means, variances))
