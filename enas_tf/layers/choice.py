"""The choice of an op by an index, on the way forward and on the way back."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from enas_tf.layers.norm import Reserve, Statistics

Weights = tuple[tf.Tensor, ...]


class Kept(NamedTuple):
    """What an op keeps for its gradient beside its input.

    Attributes:
        images: tensors of the input's shape.
        reserves: of its batch norms.
    """

    images: list[tf.Tensor]
    reserves: list[Reserve]


class Op(NamedTuple):
    """An op with its gradient.

    Attributes:
        run: `run(x, *weights)` returns the output, of `x`'s shape; a `Kept`; and the means and
            variances that its batch norms used, or None.
        gradients: `gradients(upstream, x, weights, kept)` returns those of `x` and of each weight.
    """

    run: Callable[..., tuple[tf.Tensor, Kept, Statistics | None]]
    gradients: Callable[..., list[tf.Tensor]]


def op_without_weights(function: Callable[[tf.Tensor], tf.Tensor]) -> Op:
    """Makes an op of a function of images alone, whose gradient is TensorFlow's."""

    def gradients(upstream: tf.Tensor, x: tf.Tensor, weights: Weights, kept: Kept) -> list:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = function(x)
        return [tape.gradient(output, x, upstream)]

    return Op(lambda x: (function(x), Kept([], []), None), gradients)


def run_op(
    ops: Sequence[Op],
    index: tf.Tensor,
    x: tf.Tensor,
    weights: Sequence[Weights],
    room: tuple[int, int],
    statistics_shape: tuple[int, ...],
) -> tuple[tf.Tensor, Statistics]:
    """Runs the op that the index names, and no other.

    Its gradient is a single choice as well, and not TensorFlow's of `tf.switch_case`, in which each
    branch returns what the gradients of all others need: XLA compiles it, and little passes between
    branches, so that the graph is small.

    Args:
        ops: as for `choose`, as what follows.
        index: int32.
        x: `(batch, height, width, channels)`.
        weights: of each op.
        room: how many images and how many reserves an op keeps at most.
        statistics_shape: of an op's means, and of its variances.

    Returns:
        The output, of `x`'s shape; means and variances, zeros for an op without batch norm.
    """

    @tf.custom_gradient
    def run(x: tf.Tensor, *flat: tf.Tensor):
        given = tf.nest.pack_sequence_as(list(weights), flat)
        take = given.__getitem__
        output, kept, statistics = choose(ops, index, x, take, room, statistics_shape)

        def gradients(upstream: tf.Tensor, *_) -> list[tf.Tensor]:
            return choose_gradients(ops, index, upstream, x, take, kept, given)

        return (output, *statistics), gradients

    output, *statistics = run(x, *tf.nest.flatten(list(weights)))
    return output, tuple(statistics)


def choose(
    ops: Sequence[Op],
    index: tf.Tensor,
    x: tf.Tensor,
    weights_of: Callable[[int], Weights],
    room: tuple[int, int],
    statistics_shape: tuple[int, ...],
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op that the index names; to be differentiated by `choose_gradients` alone.

    Args:
        ops: to choose from.
        index: of one of them, int32.
        x: `(batch, height, width, channels)`.
        weights_of: gives the weights of the op of a number, within its branch.
        room: how many images and how many reserves an op keeps at most.
        statistics_shape: of an op's means, and of its variances.

    Returns:
        The output, of `x`'s shape; what its gradient needs; means and variances, zeros for an op
        without batch norm.
    """

    def run(number: int) -> tuple[tf.Tensor, Kept, Statistics]:
        output, kept, statistics = ops[number].run(x, *weights_of(number))
        # All branches return the same shapes; the input takes no memory.
        channels = tf.zeros([x.shape[-1]])
        images = kept.images + [x] * (room[0] - len(kept.images))
        nothing = channels, channels, channels[:0]
        reserves = kept.reserves + [nothing] * (room[1] - len(kept.reserves))
        return output, Kept(images, reserves), statistics or (tf.zeros(statistics_shape),) * 2

    return tf.switch_case(index, [partial(run, number) for number in range(len(ops))])


def choose_gradients(
    ops: Sequence[Op],
    index: tf.Tensor,
    upstream: tf.Tensor,
    x: tf.Tensor,
    weights_of: Callable[[int], Weights],
    kept: Kept,
    like: Sequence[Weights],
) -> list[tf.Tensor]:
    """Returns the gradients of `x` and of all weights; those of the ops not chosen are zeros.

    Args:
        ops: as for `choose`, as what follows.
        index: int32.
        upstream: the output's gradient, of `x`'s shape.
        x: `(batch, height, width, channels)`.
        weights_of: gives the weights of an op.
        kept: what `choose` returned.
        like: tensors of the shapes and dtypes of each op's weights.
    """
    zeros = [[tf.zeros(one.shape, one.dtype) for one in some] for some in like]

    def differentiate(number: int) -> list[tf.Tensor]:
        grads = ops[number].gradients(upstream, x, weights_of(number), kept)
        of_ops = [grads[1:] if n == number else some for n, some in enumerate(zeros)]
        return [grads[0], *tf.nest.flatten(of_ops)]

    return tf.switch_case(index, [partial(differentiate, number) for number in range(len(ops))])


def select(index: tf.Tensor, tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns the tensor that an index names, by masks: all of them are read."""
    chosen = tensors[0]
    for number, tensor in enumerate(tensors[1:], 1):
        chosen = tf.where(tf.equal(index, number), tensor, chosen)
    return chosen


@tf.custom_gradient
def take_rows(bank: tf.Tensor, places: tf.Tensor):
    """Rows of a tensor, each taken at most once.

    As `tf.gather` along axis 0, but with a dense gradient: the shared weights' gradients are
    dense in any case, since weight decay reaches all of them.

    Args:
        bank: `(sets, ...)`.
        places: `(n, 1)`, int32: the rows' numbers, all different; `(n, 2)` where the sets are
            numbered along two axes.

    Returns:
        `(n, ...)`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(places, upstream, tf.shape(bank)), None

    return tf.gather_nd(bank, places), gradient
