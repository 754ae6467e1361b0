"""The nodes of a shared cell: a loop runs them, and another one goes back through them.

Unrolled, a cell's ten edges take ten times the graph, and TensorFlow, which walks through every
call of every function before it runs a graph for the first time, a second more.
"""

from collections.abc import Iterator

import tensorflow as tf

from enas_tf.layers.banks import Weights, op_gradients, run_op
from enas_tf.layers.norm import Statistics
from enas_tf.layers.tensor_lists import ListOf, put, put_all, stack_all


def run_nodes(
    inputs: tuple[tf.Tensor, tf.Tensor],
    edges: tf.Tensor,
    banks: tuple[Weights, Weights],
    factors: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, Statistics]:
    """Runs the nodes of a cell.

    Args:
        inputs: two of `(batch, height, width, channels)`.
        edges: `(2 * num_nodes, 3)`, int32: for each edge the entry that it comes from, its op, and
            which set of weights the op takes; sets are all different.
        banks: per kernel size, all sets of a separable convolution's weights.
        factors: of the edges' outputs, `(2 * num_nodes, batch, 1, 1, 1)`; None leaves them be.

    Returns:
        The loose ends, `(loose ends, batch, height, width, channels)`; their entries' numbers;
        means and variances that the edges' batch norms went by, `(2 * num_nodes, 2, channels)`.
    """
    num_entries = edges.shape[0] // 2 + 2
    # Where a list wants its places to be.
    with tf.device("CPU:0"):
        used = tf.one_hot(edges[:, 0], num_entries, True, False, dtype=tf.bool)
        loose = tf.cast(tf.where(~tf.reduce_any(used, axis=0))[:, 0], tf.int32)

    @tf.custom_gradient
    def run(older: tf.Tensor, newer: tf.Tensor, *weights: tf.Tensor):
        nodes = _Nodes(older, edges, tf.nest.pack_sequence_as(banks, weights), factors)
        entries, kept, statistics = nodes.run(older, newer)

        def gradients(upstream: tf.Tensor, *_) -> list[tf.Tensor]:
            of_entries = nodes.images.scatter(upstream, loose, num_entries)
            return nodes.gradients(of_entries, entries, kept)

        return (nodes.images.gather(entries, loose), *statistics), gradients

    ends, *statistics = run(*inputs, *tf.nest.flatten(banks))
    return ends, loose, tuple(statistics)


class _Nodes:
    """The nodes of a cell and what they run with.

    Args:
        like: an input.
        edges: as for `run_nodes`, and what follows as well.
        banks: per kernel size.
        factors: of the edges' outputs, or None.
    """

    def __init__(
        self,
        like: tf.Tensor,
        edges: tf.Tensor,
        banks: tuple[Weights, Weights],
        factors: tf.Tensor | None,
    ) -> None:
        self.edges = edges
        self.banks = banks
        self.factors = factors
        self.num_edges = edges.shape[0]
        self.num_entries = self.num_edges // 2 + 2
        channels = like.shape[-1]
        self.images = ListOf.batches_like(like)
        self.statistics = [ListOf((2, channels), tf.float32)] * 2
        # The last one is what a GPU's kernel reserves, of a size of its own.
        self.kept = [self.images, *[ListOf((channels,), tf.float32)] * 2, ListOf(-1, tf.float32)]

    def run(
        self, older: tf.Tensor, newer: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Runs all nodes, one after the other.

        Returns:
            A list of all entries; lists of what each edge keeps; the edges' means and variances.
        """

        def run_node(node: tf.Tensor, entries: tf.Tensor, kept: list, statistics: list) -> tuple:
            parts = []
            for edge, index, op, row in self._edges_of(node):
                x = self.images.take(entries, index)
                part, of_edge, went_by = run_op(x, op, row, self.banks)
                parts.append(self._scaled(part, edge))
                kept = put_all(kept, edge, of_edge)
                statistics = put_all(statistics, edge, went_by)
            return node + 1, put(entries, node, tf.add(*parts)), kept, statistics

        entries = put(put(self.images.empty(self.num_entries), 0, older), 1, newer)
        kept = [of.empty(self.num_edges) for of in self.kept]
        statistics = [of.empty(self.num_edges) for of in self.statistics]
        _, entries, kept, statistics = tf.while_loop(
            lambda node, *_: node < self.num_entries, run_node, (2, entries, kept, statistics)
        )
        return entries, kept, stack_all(self.statistics, statistics)

    def gradients(
        self, of_entries: tf.Tensor, entries: tf.Tensor, kept: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Gradients of both inputs and of all weights.

        Args:
            of_entries: the gradients of the loose ends, in a list with a place for every entry.
            entries: a list of all entries.
            kept: of `run`.
        """

        def differentiate_node(node: tf.Tensor, of_entries: tf.Tensor, of_weights: list) -> tuple:
            upstream = self.images.take(of_entries, node)
            sent = []
            for edge, index, op, row in self._edges_of(node):
                of_part = self._scaled(upstream, edge)
                x = self.images.take(entries, index)
                of_edge = [of.take(one, edge) for of, one in zip(self.kept, kept, strict=True)]
                of_x, *of_set = op_gradients(of_part, x, op, row, self.banks, of_edge)
                sent.append(put(self.images.empty(self.num_entries), index, of_x))
                of_weights = put_all(of_weights, row, of_set)
            # Empty places of lists cost nothing to add.
            return node - 1, tf.raw_ops.AddN(inputs=[*sent, of_entries]), of_weights

        weights = tf.nest.flatten(self.banks)
        sets = [ListOf(tuple(tensor.shape[1:]), tensor.dtype) for tensor in weights]
        of_weights = [of.empty(tensor.shape[0]) for of, tensor in zip(sets, weights, strict=True)]
        _, of_entries, of_weights = tf.while_loop(
            lambda node, *_: node > 1,
            differentiate_node,
            (self.num_entries - 1, of_entries, of_weights),
        )
        of_inputs = [self.images.take(of_entries, number) for number in (0, 1)]
        return of_inputs + stack_all(sets, of_weights)

    def _edges_of(self, node: tf.Tensor) -> Iterator[tuple[tf.Tensor, ...]]:
        """Both edges of a node: each one's number, and its row of `edges`."""
        for edge in (2 * node - 4, 2 * node - 3):
            # Where choices and lists want them to be.
            with tf.device("CPU:0"):
                of_edge = tf.unstack(tf.gather(self.edges, edge))
            yield edge, *of_edge

    def _scaled(self, x: tf.Tensor, edge: tf.Tensor) -> tf.Tensor:
        return x if self.factors is None else x * tf.gather(self.factors, edge)
