"""The nodes of a shared cell: a loop runs their edges, and another one goes back through them.

Unrolled, a cell's ten edges are ten times the graph. TensorFlow would take two seconds longer to
its first step, and XLA several times as long to compile it.
"""

import tensorflow as tf

from enas_tf.layers.choice import Weights, kept_room
from enas_tf.layers.form import Form, current_form
from enas_tf.layers.norm import Statistics
from enas_tf.layers.shared_op import Kept
from enas_tf.layers.tensor_lists import ListOf, put, put_all, stack_all
from enas_tf.micro.edges import edge_functions
from enas_tf.micro.ops import MicroOp


def loose_ends(indices: tf.Tensor, num_entries: int) -> tf.Tensor:
    """Tells which entries of a cell no node takes, `(num_entries,)`, bool.

    Args:
        indices: that the nodes' edges take, int32.
        num_entries: of the cell, its inputs among them.
    """
    return ~tf.reduce_any(tf.equal(indices, tf.range(num_entries)[:, tf.newaxis]), axis=1)


def run_nodes(
    ops: tuple[MicroOp, ...],
    inputs: tuple[tf.Tensor, tf.Tensor],
    edges: tf.Tensor,
    banks: tuple[Weights, ...],
    factors: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None, Statistics]:
    """Runs the nodes of a cell.

    Args:
        ops: that edges choose from.
        inputs: two of `(batch, height, width, channels)`.
        edges: `(2 * num_nodes, 3)`, int32: for each edge the entry that it comes from, its op, and
            which set of weights the op takes; sets are all different.
        banks: for each op all sets of its weights.
        factors: of the edges' outputs, `(2 * num_nodes, batch, 1, 1, 1)`; None leaves them be.

    Returns:
        The loose ends, `(loose ends, batch, height, width, channels)`, and their entries' numbers;
        for XLA, whose sizes depend on no architecture, all entries and None. And means and
        variances that the edges' batch norms used, `(2 * num_nodes, norms, channels)`.
    """
    num_entries, places = edges.shape[0] // 2 + 2, None
    if current_form() is not Form.XLA:
        places = tf.cast(tf.where(loose_ends(edges[:, 0], num_entries))[:, 0], tf.int32)

    @tf.custom_gradient
    def run(prev_prev: tf.Tensor, prev: tf.Tensor, *weights: tf.Tensor):
        nodes = _Nodes(ops, prev, edges, tf.nest.pack_sequence_as(banks, weights), factors)
        entries, kept, statistics = nodes.run(prev_prev, prev)

        def gradients(grad: tf.Tensor, *_) -> list[tf.Tensor]:
            grad_entries = nodes.images.spread(grad, places, num_entries)
            return nodes.gradients(grad_entries, entries, kept)

        return (nodes.images.gather(entries, places), *statistics), gradients

    ends, *statistics = run(*inputs, *tf.nest.flatten(banks))
    return ends, places, tuple(statistics)


class _Nodes:
    """The nodes of a cell and what they run with.

    Args:
        ops: as for `run_nodes`, as what follows but `like`.
        like: an input.
        edges: int32.
        banks: for each op.
        factors: of the edges' outputs, or None.
    """

    def __init__(
        self,
        ops: tuple[MicroOp, ...],
        like: tf.Tensor,
        edges: tf.Tensor,
        banks: tuple[Weights, ...],
        factors: tf.Tensor | None,
    ) -> None:
        self.run_edge, self.edge_gradients = edge_functions(ops)
        self.edges = edges
        self.banks = banks
        self.factors = factors
        self.num_edges = edges.shape[0]
        self.num_entries = self.num_edges // 2 + 2
        channels = like.shape[-1]
        self.images = ListOf.batches_like(like)
        num_norms = max(op.num_norms for op in ops)
        self.statistics = [ListOf((num_norms, channels), tf.float32)] * 2
        of_channel = ListOf((channels,), tf.float32)
        # The last one is what a GPU's kernel reserves, of a shape of its own.
        reserve = of_channel, of_channel, ListOf(-1, tf.float32)
        num_images, num_reserves = kept_room(ops)
        self.kept = Kept([self.images] * num_images, [reserve] * num_reserves)

    def run(
        self, prev_prev: tf.Tensor, prev: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Runs all nodes, one after the other.

        Returns:
            A list of all entries; lists of what each edge keeps; the edges' means and variances.
        """

        def step(edge: tf.Tensor, entries: tf.Tensor, kept: list, statistics: list) -> tuple:
            index, op, row = self._row_of(edge)
            x = self.images.take(entries, index)
            part, kept_of_edge, used = self.run_edge(x, op, row, self.banks)
            entries = self.images.add(entries, edge // 2 + 2, self._scaled(part, edge))
            kept = put_all(kept, edge, tf.nest.flatten(kept_of_edge))
            statistics = put_all(statistics, edge, used)
            return edge + 1, entries, kept, statistics

        entries = put(put(self.images.empty(self.num_entries), 0, prev_prev), 1, prev)
        kept = [of.empty(self.num_edges) for of in tf.nest.flatten(self.kept)]
        statistics = [of.empty(self.num_edges) for of in self.statistics]
        _, entries, kept, statistics = tf.while_loop(
            lambda edge, *_: edge < self.num_edges, step, (0, entries, kept, statistics)
        )
        return entries, kept, stack_all(self.statistics, statistics)

    def gradients(
        self, grad_entries: tf.Tensor, entries: tf.Tensor, kept: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Gradients of both inputs and of all weights.

        Args:
            grad_entries: the gradients of the loose ends, in a list with a place for every entry.
            entries: a list of all entries.
            kept: of `run`.
        """

        def step(edge: tf.Tensor, grad_entries: tf.Tensor, grad_weights: list) -> tuple:
            index, op, row = self._row_of(edge)
            grad_part = self._scaled(self.images.take(grad_entries, edge // 2 + 2), edge)
            x = self.images.take(entries, index)
            lists = zip(tf.nest.flatten(self.kept), kept, strict=True)
            kept_of_edge = [of.take(one, edge) for of, one in lists]
            kept_of_edge = tf.nest.pack_sequence_as(self.kept, kept_of_edge)
            grad_x, *grad_set = self.edge_gradients(grad_part, x, op, row, self.banks, kept_of_edge)
            grad_entries = self.images.add(grad_entries, index, grad_x)
            return edge - 1, grad_entries, put_all(grad_weights, row, grad_set)

        weights = tf.nest.flatten(self.banks)
        sets = [ListOf(tuple(tensor.shape[1:]), tensor.dtype) for tensor in weights]
        empty = [of.empty(tensor.shape[0]) for of, tensor in zip(sets, weights, strict=True)]
        _, grad_entries, grad_weights = tf.while_loop(
            lambda edge, *_: edge >= 0, step, (self.num_edges - 1, grad_entries, empty)
        )
        grad_inputs = [self.images.take(grad_entries, number) for number in (0, 1)]
        return grad_inputs + stack_all(sets, grad_weights)

    def _row_of(self, edge: tf.Tensor) -> list[tf.Tensor]:
        """Entry, op and set of weights of an edge."""
        return tf.unstack(tf.gather(self.edges, edge))

    def _scaled(self, x: tf.Tensor, edge: tf.Tensor) -> tf.Tensor:
        return x if self.factors is None else x * tf.gather(self.factors, edge)
