"""The choice of an op, a tensor or a set of weights by an index that is itself a tensor."""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from enas_tf.layers.norm import Statistics
from enas_tf.layers.shared_op import Kept, SharedOp

Weights = tuple[tf.Tensor, ...]


def kept_room(ops: Sequence[SharedOp]) -> tuple[int, int]:
    """Returns the largest number of images, and of reserves, that any of the ops keeps."""
    images, reserves = zip(*(op.room for op in ops), strict=True)
    return max(images), max(reserves)


def run_op(
    ops: Sequence[SharedOp], index: tf.Tensor, x: tf.Tensor, weights: Sequence[Weights]
) -> tuple[tf.Tensor, Statistics]:
    """Runs the op that the index selects, and no other.

    Its gradient is a single choice as well. In TensorFlow's own gradient of `tf.switch_case`, each
    branch returns what the gradients of all others need, in a type that XLA does not accept. Here
    XLA can compile the gradient, and little passes between branches, so that the graph is small.

    Args:
        ops: ops to choose from.
        index: number of the op to run, int32.
        x: `(batch, height, width, channels)`.
        weights: weights of each op.

    Returns:
        The output, with `x`'s shape, and the means and variances, as `choose` returns them.
    """

    @tf.custom_gradient
    def run(x: tf.Tensor, *flat: tf.Tensor):
        given = tf.nest.pack_sequence_as(list(weights), flat)
        take = given.__getitem__
        output, kept, statistics = choose(ops, index, x, take)

        def gradients(grad: tf.Tensor, *_) -> list[tf.Tensor]:
            return choose_gradients(ops, index, grad, x, take, kept, given)

        return (output, *statistics), gradients

    output, *statistics = run(x, *tf.nest.flatten(list(weights)))
    return output, tuple(statistics)


def choose(
    ops: Sequence[SharedOp], index: tf.Tensor, x: tf.Tensor, weights_of: Callable[[int], Weights]
) -> tuple[tf.Tensor, Kept, Statistics]:
    """Runs the op that the index selects; only `choose_gradients` may differentiate it.

    Args:
        ops: ops to choose from.
        index: number of the op to run, int32.
        x: `(batch, height, width, channels)`.
        weights_of: returns the weights of the op with a given number; called in its branch.

    Returns:
        The output, with `x`'s shape; what its gradient needs; and means and variances, each
        `(norms, channels)`, where `norms` is the largest number that any op has. Ops with fewer
        norms are padded with zeros.
    """
    num_images, num_reserves = kept_room(ops)
    num_norms = max(op.num_norms for op in ops)

    def run(number: int) -> tuple[tf.Tensor, Kept, Statistics]:
        output, kept, statistics = ops[number].run(x, *weights_of(number))
        # All branches must return the same shapes. The input fills missing images, since it takes
        # no memory.
        channels = tf.zeros([x.shape[-1]])
        images = [*kept.images, *[x] * (num_images - len(kept.images))]
        nothing = channels, channels, channels[:0]
        reserves = [*kept.reserves, *[nothing] * (num_reserves - len(kept.reserves))]
        missing = num_norms - ops[number].num_norms
        if statistics is None:
            statistics = (tf.zeros([num_norms, x.shape[-1]]),) * 2
        elif missing:
            statistics = tuple(tf.pad(s, [[0, missing], [0, 0]]) for s in statistics)
        return output, Kept(images, reserves), statistics

    return tf.switch_case(index, [partial(run, number) for number in range(len(ops))])


def choose_gradients(
    ops: Sequence[SharedOp],
    index: tf.Tensor,
    grad: tf.Tensor,
    x: tf.Tensor,
    weights_of: Callable[[int], Weights],
    kept: Kept,
    like: Sequence[Weights],
) -> list[tf.Tensor]:
    """Returns the gradients of `x` and of all weights; those of the ops not chosen are zeros.

    Args:
        ops: as for `choose`.
        index: as for `choose`.
        grad: gradient of the output, with `x`'s shape.
        x: as for `choose`.
        weights_of: as for `choose`.
        kept: what `choose` returned for the gradient.
        like: tensors with the shapes and dtypes of each op's weights.
    """
    zeros = [[tf.zeros(one.shape, one.dtype) for one in some] for some in like]

    def differentiate(number: int) -> list[tf.Tensor]:
        # An op gets back only what it kept, without what `choose` filled in.
        images, reserves = (some[:n] for some, n in zip(kept, ops[number].room, strict=True))
        own = Kept(images, reserves)
        grads = ops[number].gradients(grad, x, weights_of(number), own)
        grad_weights = [grads[1:] if n == number else some for n, some in enumerate(zeros)]
        return [grads[0], *tf.nest.flatten(grad_weights)]

    return tf.switch_case(index, [partial(differentiate, number) for number in range(len(ops))])


def select(index: tf.Tensor, tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns the tensor that an index selects, by masks, so that all of them are read."""
    chosen = tensors[0]
    for number, tensor in enumerate(tensors[1:], 1):
        chosen = tf.where(tf.equal(index, number), tensor, chosen)
    return chosen


@tf.custom_gradient
def take_rows(bank: tf.Tensor, places: tf.Tensor):
    """Returns rows of a tensor, each taken at most once.

    Works like `tf.gather` along axis 0, but with a dense gradient: the gradients of the shared
    weights are dense in any case, since weight decay reaches all of them.

    Args:
        bank: `(sets, ...)`.
        places: numbers of the rows, all different: int32, `(n, 1)`, or `(n, 2)` where the sets are
            numbered along two axes.

    Returns:
        `(n, ...)`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(places, upstream, tf.shape(bank)), None

    return tf.gather_nd(bank, places), gradient
