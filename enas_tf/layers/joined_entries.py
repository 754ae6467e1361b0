"""Sums of layers' outputs, where tensors say which of them are taken."""

from collections.abc import Callable

import tensorflow as tf

from enas_tf.layers.graph import graph_function
from enas_tf.layers.tensor_lists import ListOf, put


class JoinedEntries:
    """The stem and layers of one height and width, of which any may be joined to a later layer.

    Joining costs what is used: a list of tensors hands out the chosen entries without a copy, and
    takes gradients for these alone. Sums of all entries under a mask took about twice the time.

    Args:
        entries: the earlier ones, `(batch, height, width, channels)`.
        size: how many there may be in the end.
    """

    def __init__(self, entries: list[tf.Tensor], size: int) -> None:
        self.entries: list[tf.Tensor] = []
        self._list = ListOf.batches_like(entries[0]).empty(size)
        for entry in entries:
            self.append(entry)

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""
        self._list = put(self._list, len(self.entries), entry)
        self.entries.append(entry)

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """`x`, of the entries' shape, and the entries whose bit is 1, summed.

        Args:
            x: `(batch, height, width, channels)`.
            bits: int32, of the first entries.
        """
        # Where a list wants its places to be: a GPU would send them to the host one by one.
        with tf.device("CPU:0"):
            chosen = tf.cast(tf.where(bits > 0)[:, 0], tf.int32)
        return _add(x, self._list, chosen)


@tf.custom_gradient
def _add(x: tf.Tensor, entries: tf.Tensor, chosen: tf.Tensor):
    """TensorFlow's own gradient would copy what comes back for each of the chosen entries."""
    size = tf.raw_ops.TensorListLength(input_handle=entries)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        return upstream, _send(upstream, chosen, size), None

    return _sum(x, entries, chosen), gradient


@graph_function
def _sum(x: tf.Tensor, entries: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """`x` and the chosen entries, summed."""
    batches = ListOf.batches_like(x)

    def take(place: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(total + batches.take(entries, place), x.shape)

    return _for_each(chosen, take, x)


@graph_function
def _send(upstream: tf.Tensor, chosen: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """A list of gradients: that of the sum for each of the chosen entries, of none for others."""

    def send(place: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        return put(gradients, place, upstream)

    return _for_each(chosen, send, ListOf.batches_like(upstream).empty(size))


def _for_each(places: tf.Tensor, step: Callable, state: tf.Tensor) -> tf.Tensor:
    """What `state = step(place, state)` comes to, for one place after another."""
    return tf.while_loop(
        lambda n, _: n < tf.size(places),
        lambda n, state: (n + 1, step(places[n], state)),
        (0, state),
    )[1]
