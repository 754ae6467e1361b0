"""Earlier outputs that later layers add, or that nodes take, where tensors say which of them."""

from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from enas_tf.layers.form import Form, current_form
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.tensor_lists import ListOf, put


class Entries(Protocol):
    """Tensors of one shape, `(batch, height, width, channels)`.

    Attributes:
        all: the tensors, in their order.
    """

    all: list[tf.Tensor]

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns `x` and the entries whose bit is 1, summed.

        Args:
            x: `(batch, height, width, channels)`.
            bits: int32, of the first entries.
        """


def make_entries(entries: list[tf.Tensor], size: int) -> Entries:
    """Returns entries that hold the first ones and have room for others.

    Args:
        entries: the first ones.
        size: how many there may be in the end.
    """
    on_cpu = current_form() is Form.CPU
    made = ListedEntries(entries[0], size) if on_cpu else MaskedEntries()
    for entry in entries:
        made.append(entry)
    return made


class MaskedEntries:
    """Entries that are summed under masks, on GPUs and for XLA; see `Entries`.

    XLA makes one kernel of a sum, and of what comes before and after.
    """

    def __init__(self) -> None:
        self.all: list[tf.Tensor] = []

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""
        self.all.append(entry)

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns `x` and the entries whose bit is 1, summed."""
        for entry, bit in zip(self.all, tf.unstack(bits), strict=False):
            # Not a product: what is left out may be infinite.
            x += tf.where(bit > 0, entry, tf.zeros_like(entry))
        return x


class ListedEntries:
    """Entries in a list of tensors, on CPUs; see `Entries`.

    Joining costs what is used: the list hands out the chosen entries without a copy, and takes
    gradients for these alone. Sums of all entries under a mask took about twice the time.

    Args:
        like: an entry.
        size: how many there may be in the end.
    """

    def __init__(self, like: tf.Tensor, size: int) -> None:
        self.all: list[tf.Tensor] = []
        self._list = ListOf.batches_like(like).empty(size)

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""
        self._list = put(self._list, len(self.all), entry)
        self.all.append(entry)

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns `x` and the entries whose bit is 1, summed."""
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
