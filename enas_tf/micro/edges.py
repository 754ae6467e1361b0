"""The edges of a shared cell, each an op on an entry with one set of the op's shared weights."""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from enas_tf.layers.choice import Weights, choose, choose_gradients
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.norm import Statistics
from enas_tf.layers.shared_op import Kept
from enas_tf.micro.ops import MicroOp


class EdgeFunctions(NamedTuple):
    """The functions that run and differentiate an edge.

    Attributes:
        run: `_run` without its argument `ops`.
        gradients: `_gradients` without its argument `ops`.
    """

    run: Callable[..., tuple[tf.Tensor, Kept, Statistics]]
    gradients: Callable[..., list[tf.Tensor]]


@functools.cache
def edge_functions(ops: tuple[MicroOp, ...]) -> EdgeFunctions:
    """Returns the functions of edges that choose among `ops`.

    They are cached, so that all cells share them and the graph holds each once per shape.
    """
    run, gradients = (graph_function(partial(one, ops)) for one in (_run, _gradients))
    return EdgeFunctions(run, gradients)


def _run(
    ops: tuple[MicroOp, ...],
    x: tf.Tensor,
    op: tf.Tensor,
    row: tf.Tensor,
    banks: tuple[Weights, ...],
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op of an edge; only `_gradients` may differentiate it.

    Args:
        ops: the ops to choose from.
        x: the entry that the edge comes from, `(batch, height, width, channels)`.
        op: the number of the op, int32.
        row: the set of weights that the op uses, int32.
        banks: all sets of weights, of each op.

    Returns:
        The output, with the shape of `x`; what `_gradients` needs; and the means and variances
        that `choose` returns.
    """
    return choose(ops, op, x, partial(_set_of, row, banks))


def _gradients(
    ops: tuple[MicroOp, ...],
    grad: tf.Tensor,
    x: tf.Tensor,
    op: tf.Tensor,
    row: tf.Tensor,
    banks: tuple[Weights, ...],
    kept: Kept,
) -> list[tf.Tensor]:
    """Returns the gradients of `x` and, for each bank, of each tensor of one set.

    Args:
        ops: as for `_run`.
        grad: the gradient of the output, `(batch, height, width, channels)`.
        x: as for `_run`.
        op: as for `_run`.
        row: as for `_run`.
        banks: as for `_run`, without moving averages.
        kept: what `_run` returned for this purpose.
    """
    like = [[tf.TensorSpec(one.shape[1:], one.dtype) for one in bank] for bank in banks]
    return choose_gradients(ops, op, grad, x, partial(_set_of, row, banks), kept, like)


def _set_of(row: tf.Tensor, banks: tuple[Weights, ...], number: int) -> Weights:
    # Gathered in the branch of the chosen op, so that no other op's weights are read.
    return tuple(tf.gather(one, row) for one in banks[number])
