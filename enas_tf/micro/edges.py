"""The edges of a shared cell: an op of the micro space on an entry, with one set of its weights."""

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
    """How an edge runs.

    Attributes:
        run: see `_run`.
        gradients: see `_gradients`.
    """

    run: Callable[..., tuple[tf.Tensor, Kept, Statistics]]
    gradients: Callable[..., list[tf.Tensor]]


@functools.cache
def edge_functions(ops: tuple[MicroOp, ...]) -> EdgeFunctions:
    """Returns how edges run that choose among ops; the graph holds each function once per shape."""
    run, gradients = (graph_function(partial(one, ops)) for one in (_run, _gradients))
    return EdgeFunctions(run, gradients)


def _run(
    ops: tuple[MicroOp, ...],
    x: tf.Tensor,
    op: tf.Tensor,
    row: tf.Tensor,
    banks: tuple[Weights, ...],
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op of an edge; to be differentiated by `_gradients` alone.

    Args:
        ops: to choose from.
        x: `(batch, height, width, channels)`.
        op: a number, int32.
        row: which of its sets of weights the op takes, int32.
        banks: for each op all sets of its weights.

    Returns:
        The output, of `x`'s shape; what `_gradients` needs; means and variances, as of `choose`.
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
    """Returns the gradients of `x`, and of each tensor of a set of each bank.

    Args:
        ops: as for `_run`, as what follows.
        grad: the output's gradient, `(batch, height, width, channels)`.
        x: of the same shape.
        op: int32.
        row: int32.
        banks: without averages.
        kept: what `_run` returned.
    """
    like = [[tf.TensorSpec(one.shape[1:], one.dtype) for one in bank] for bank in banks]
    return choose_gradients(ops, op, grad, x, partial(_set_of, row, banks), kept, like)


def _set_of(row: tf.Tensor, banks: tuple[Weights, ...], number: int) -> Weights:
    return tuple(tf.gather(one, row) for one in banks[number])
