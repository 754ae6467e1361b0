"""The nodes of a shared cell: one loop runs their edges, another computes the gradients.

Unrolled, the ten edges of a cell would make a graph ten times as large: TensorFlow would reach its
first step two seconds later, and XLA would take several times as long to compile it.
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
    """Returns which entries of a cell no node takes, `(num_entries,)`, bool.

    Args:
        indices: the entries that the nodes' edges take, int32.
        num_entries: number of entries of the cell, including its two inputs.
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
        ops: the ops that edges choose from.
        inputs: the cell's two inputs, each `(batch, height, width, channels)`.
        edges: `(2 * num_nodes, 3)`, int32: for each edge the entry that it comes from, its op, and
            the set of weights that the op uses. No two edges use the same set.
        banks: all sets of weights, of each op.
        factors: factors of the edges' outputs, `(2 * num_nodes, batch, 1, 1, 1)`; None leaves the
            outputs unchanged.

    Returns:
        The loose ends, `(loose ends, batch, height, width, channels)`, and the numbers of their
        entries; for XLA, all entries and None. Then the means and variances that the batch norms
        of the edges used, each `(2 * num_nodes, norms, channels)`.
    """
    num_entries, places = edges.shape[0] // 2 + 2, None
    # XLA compiles one program for all architectures, so no size may depend on their loose ends.
    if current_form() is not Form.XLA:
        places = tf.cast(tf.where(loose_ends(edges[:, 0], num_entries))[:, 0], tf.int32)

    # TensorFlow's own gradient of the loop grows 91 lists, where this one needs five, and XLA
    # cannot compile TensorFlow's gradient of the choice among ops.
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
    """The nodes of a cell, and what they need to run.

    Args:
        ops: as for `run_nodes`.
        like: one of the cell's inputs, for its shape and dtype.
        edges: as for `run_nodes`.
        banks: as for `run_nodes`.
        factors: as for `run_nodes`.
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
        # What a batch norm keeps for its gradient; the third tensor's shape is up to the kernel.
        reserve = of_channel, of_channel, ListOf(-1, tf.float32)
        num_images, num_reserves = kept_room(ops)
        self.kept = Kept([self.images] * num_images, [reserve] * num_reserves)

    def run(
        self, prev_prev: tf.Tensor, prev: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Runs all nodes, one after the other.

        Returns:
            A tensor list of all entries; tensor lists of what the edges keep for their gradients;
            and the means and variances of all edges.
        """

        def step(edge: tf.Tensor, entries: tf.Tensor, kept: list, statistics: list) -> tuple:
            index, op, row = self._row_of(edge)
            x = self.images.take(entries, index)
            part, kept_of_edge, used = self.run_edge(x, op, row, self.banks)
            # The two edges of a node add up in its entry, which starts without a tensor.
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
        """Returns the gradients of both inputs and of all weights.

        Args:
            grad_entries: the gradients of the loose ends, in a tensor list with a place for every
                entry.
            entries: the entries that `run` returned.
            kept: the lists that `run` returned for this purpose.
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
            # Put, not added: no other edge uses this set of weights.
            return edge - 1, grad_entries, put_all(grad_weights, row, grad_set)

        weights = tf.nest.flatten(self.banks)
        sets = [ListOf(tuple(tensor.shape[1:]), tensor.dtype) for tensor in weights]
        empty = [of.empty(tensor.shape[0]) for of, tensor in zip(sets, weights, strict=True)]
        # From the last edge to the first, so that the gradient of an entry is complete, from all
        # edges that take it, before it goes on to the edges of its own node.
        _, grad_entries, grad_weights = tf.while_loop(
            lambda edge, *_: edge >= 0, step, (self.num_edges - 1, grad_entries, empty)
        )
        grad_inputs = [self.images.take(grad_entries, number) for number in (0, 1)]
        return grad_inputs + stack_all(sets, grad_weights)

    def _row_of(self, edge: tf.Tensor) -> list[tf.Tensor]:
        """Returns the entry, the op and the set of weights of an edge."""
        return tf.unstack(tf.gather(self.edges, edge))

    def _scaled(self, x: tf.Tensor, edge: tf.Tensor) -> tf.Tensor:
        return x if self.factors is None else x * tf.gather(self.factors, edge)
