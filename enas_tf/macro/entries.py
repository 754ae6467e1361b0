"""The earlier outputs of a network, some of which a tensor of bits chooses to be added."""

from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from enas_tf.layers.form import Form, current_form
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.tensor_lists import ListOf, put


class Entries(Protocol):
    """Earlier outputs of one shape, `(batch, height, width, channels)`.

    Attributes:
        all: the tensors, in order.
    """

    all: list[tf.Tensor]

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns the sum of `x` and the entries whose bit is 1.

        Args:
            x: `(batch, height, width, channels)`.
            bits: one bit for each of the first entries, int32.
        """


def make_entries(entries: list[tf.Tensor], size: int) -> Entries:
    """Returns `Entries` that hold some tensors and have room for more.

    Args:
        entries: the first entries; not empty.
        size: maximum number of entries.
    """
    on_cpu = current_form() is Form.CPU
    made = ListedEntries(entries[0], size) if on_cpu else MaskedEntries()
    for entry in entries:
        made.append(entry)
    return made


class MaskedEntries:
    """Entries that are summed under masks, for GPUs and XLA; see `Entries`.

    With a list, TensorFlow on a GPU would wait for the host. XLA makes a single kernel of a sum and
    of what comes before and after it.
    """

    def __init__(self) -> None:
        self.all: list[tf.Tensor] = []

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""
        self.all.append(entry)

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns the sum of `x` and the entries whose bit is 1."""
        for entry, bit in zip(self.all, tf.unstack(bits), strict=False):
            # A choice, not a product: an entry that is left out may be infinite.
            x += tf.where(bit > 0, entry, tf.zeros_like(entry))
        return x


class ListedEntries:
    """Entries in a list of tensors, for CPUs; see `Entries`.

    Only the entries that are used cost time: the list returns them without a copy and takes
    gradients for them alone. Sums of all entries under a mask took about twice as long.

    Args:
        like: an entry, for its shape and dtype.
        size: maximum number of entries.
    """

    def __init__(self, like: tf.Tensor, size: int) -> None:
        self.all: list[tf.Tensor] = []
        self._list = ListOf.batches_like(like).empty(size)

    def append(self, entry: tf.Tensor) -> None:
        """Adds the next entry."""
        self._list = put(self._list, len(self.all), entry)
        self.all.append(entry)

    def add_to(self, x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
        """Returns the sum of `x` and the entries whose bit is 1."""
        chosen = tf.cast(tf.where(bits > 0)[:, 0], tf.int32)
        return _add(x, self._list, chosen)


@tf.custom_gradient
def _add(x: tf.Tensor, entries: tf.Tensor, chosen: tf.Tensor):
    """Returns the sum of `x` and the chosen entries of a list.

    TensorFlow's own gradient would copy the upstream gradient for each of them.
    """
    size = tf.raw_ops.TensorListLength(input_handle=entries)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        return upstream, _send(upstream, chosen, size), None

    return _sum(x, entries, chosen), gradient


@graph_function
def _sum(x: tf.Tensor, entries: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `x` and the chosen entries."""
    batches = ListOf.batches_like(x)

    def take(place: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(total + batches.take(entries, place), x.shape)

    return _for_each(chosen, take, x)


@graph_function
def _send(upstream: tf.Tensor, chosen: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns a list of gradients: `upstream` for each chosen entry, no tensor for the others."""

    def send(place: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        return put(gradients, place, upstream)

    return _for_each(chosen, send, ListOf.batches_like(upstream).empty(size))


def _for_each(places: tf.Tensor, step: Callable, state: tf.Tensor) -> tf.Tensor:
    """Returns the last state of `state = step(place, state)`, over all places in turn."""
    return tf.while_loop(
        lambda n, _: n < tf.size(places),
        lambda n, state: (n + 1, step(places[n], state)),
        (0, state),
    )[1]
