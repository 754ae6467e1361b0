"""The recurrence of the rnn space's language models: words in, a cell over time, logits out.

Reference: Pham et al. 2018, section 2.1; `_rnn_fn` of the authors' child.py and fixed_lib.py in
google-research's `enas_lm`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

from enas_tf.layers.form import Form, current_form
from enas_tf.layers.softmax import PADDING


class Masks(NamedTuple):
    """Dropout's factors, the same for all words of a sequence; None where nothing is dropped.

    Attributes:
        word: `(vocabulary, 1)`, on the embedding of the input alone.
        embedding: `(rows, hidden)`, on the embedded words.
        input: of the same shape, on what the cell reads, on top of `embedding`.
        node: of the same shape, on what each node reads of the states.
        output: of the same shape, on the states before the softmax.
        kernels: on the recurrent weights, `(hidden, 2 * hidden)` for node 0 and each node.
    """

    word: tf.Tensor | None = None
    embedding: tf.Tensor | None = None
    input: tf.Tensor | None = None
    node: tf.Tensor | None = None
    output: tf.Tensor | None = None
    kernels: Sequence[tf.Tensor] | None = None


class Wiring(Protocol):
    """Says what the nodes of a cell read and do; nodes count from 1."""

    def source(self, node: int, states: list[tf.Tensor]) -> tf.Tensor:
        """The state that a node reads, of those of nodes 0 to `node - 1`."""

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """A node's activation."""

    def output(self, states: list[tf.Tensor]) -> tf.Tensor:
        """The cell's output, of the states of nodes 1 and up."""


class WordRecurrence(keras.layers.Layer):
    """Embedding, recurrent cell, and a softmax that shares the embedding's weights.

    Node 0 is a highway from the previous state to tanh of it and the word; every other one a
    highway from an earlier node to an activation of that. Their weights are given at each call.

    Args:
        vocab_size: words.
        hidden_size: of embedding and state.
        init_range: initial weights are uniform between minus and plus this.
    """

    def __init__(self, vocab_size: int, hidden_size: int, init_range: float, **kwargs) -> None:
        # Float32 weights and states come in and go out whatever the products are computed in.
        super().__init__(autocast=False, **kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.init_range = init_range

    def build(self, *input_shapes: tuple) -> None:
        """Makes the embedding and the weights of node 0, those on the word before the state's."""
        size = self.hidden_size
        self.embedding = self.add_kernel("embedding", (self.vocab_size, size))
        self.entry_kernel = self.add_kernel("entry_kernel", (2 * size, 2 * size))
        self.built = True

    def add_kernel(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        """A trained weight."""
        initializer = keras.initializers.RandomUniform(-self.init_range, self.init_range)
        return self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)

    def run(
        self,
        words: tf.Tensor,
        state: tf.Tensor,
        kernels: Sequence[tf.Tensor],
        wiring: Wiring,
        masks: Masks,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Reads words.

        Args:
            words: `(rows, time)`, int32; both may be unknown. For XLA all rows may end with as many
                `PADDING`, at which the state stays what it is.
            state: `(rows, hidden)`, float32.
            kernels: of nodes 1 and up, each `(hidden, 2 * hidden)`, float32: half for the
                activation, half for the gate.
            wiring: of these nodes.
            masks: of dropout.

        Returns:
            The cell's outputs with their dropout, from which the next words follow, and without
            it, both `(rows, time, hidden)`; the last of the latter, `(rows, hidden)`.
        """
        embedding = tf.convert_to_tensor(self.embedding)
        entry = tf.convert_to_tensor(self.entry_kernel)
        on_word, *kernels = (*tf.split(entry, 2), *kernels)
        if masks.kernels is not None:
            kernels = [kernel * mask for kernel, mask in zip(kernels, masks.kernels, strict=True)]
        kernels = [tf.cast(kernel, self.compute_dtype) for kernel in kernels]
        is_word = None
        if current_form() is Form.XLA:
            is_word = tf.reduce_any(tf.not_equal(words, PADDING), axis=0)
            words = tf.maximum(words, 0)
        # What the words add does not depend on the state: one product for all of them.
        x = _project(self._embed(embedding, words, masks), on_word)
        # Also fails where words and state are not of as many rows.
        state = tf.reshape(state, [tf.shape(words)[0], self.hidden_size])
        cell = _cell(kernels, wiring, masks.node)
        states, last = _recur(cell, x, tf.cast(state, self.compute_dtype), is_word)
        states = tf.transpose(states, [1, 0, 2])
        mask = None if masks.output is None else masks.output[:, tf.newaxis]
        return _scale(states, mask), states, last

    def _embed(self, embedding: tf.Tensor, words: tf.Tensor, masks: Masks) -> tf.Tensor:
        """What the cell reads of the words, `(time, rows, hidden)`."""
        words = tf.transpose(words)
        x = tf.gather(embedding, words)
        if masks.word is not None:
            x *= tf.gather(masks.word, words)
        x = _scale(_scale(x, masks.embedding), masks.input)
        return tf.cast(x, self.compute_dtype)


def _scale(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    return x if mask is None else x * tf.cast(mask, x.dtype)


def _project(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The product along the last axis, in `x`'s dtype."""
    return tf.tensordot(x, tf.cast(kernel, x.dtype), 1)


def _highway(s: tf.Tensor, projected: tf.Tensor, activate: Callable) -> tf.Tensor:
    """From `s` on, by the gate in the second half of `projected`, to an activation of the first."""

    def run(s: tf.Tensor, projected: tf.Tensor) -> tf.Tensor:
        h, t = tf.split(projected, 2, axis=-1)
        return s + tf.sigmoid(t) * (activate(h) - s)

    if current_form() is not Form.XLA:
        return run(s, projected)

    @tf.custom_gradient
    def run_again_for_gradient(s: tf.Tensor, projected: tf.Tensor):
        # A loop keeps what gradients need, and stores each tensor by a kernel of its own: half of
        # all kernels on a GPU. These two are enough for the rest, which XLA makes one kernel of.
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            # Copies, since a tape in a loop's gradient loses tensors of the loop's own graph.
            given = tf.identity(s), tf.identity(projected)
            with tf.GradientTape() as tape:
                tape.watch(given)
                output = run(*given)
            return list(tape.gradient(output, given, upstream))

        return run(s, projected), gradient

    return run_again_for_gradient(s, projected)


def _cell(kernels: Sequence[tf.Tensor], wiring: Wiring, mask: tf.Tensor | None) -> Callable:
    """From what a word adds, `(rows, 2 * hidden)`, and the state to the next state."""
    entry, *kernels = kernels

    def cell(x: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        states = [_highway(state, x + tf.matmul(_scale(state, mask), entry), tf.tanh)]
        for node, kernel in enumerate(kernels, 1):
            source = wiring.source(node, states)
            projected = tf.matmul(_scale(source, mask), kernel)
            states.append(_highway(source, projected, lambda h, n=node: wiring.activate(n, h)))
        return wiring.output(states[1:])

    return cell


def _recur(
    cell: Callable, inputs: tf.Tensor, state: tf.Tensor, is_word: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """A cell over time: all its outputs, `(time, rows, hidden)`, and the last.

    Where `is_word`, `(time,)`, is false, the state stays what it is.
    """
    length = tf.shape(inputs)[0]
    given = tf.TensorArray(inputs.dtype, length).unstack(inputs)
    outputs = tf.TensorArray(state.dtype, length, element_shape=state.shape)

    def step(time: tf.Tensor, state: tf.Tensor, outputs: tf.TensorArray) -> tuple:
        after = cell(given.read(time), state)
        state = after if is_word is None else tf.where(is_word[time], after, state)
        return time + 1, state, outputs.write(time, state)

    # XLA needs a number of iterations, and finds none in a condition.
    _, last, outputs = tf.while_loop(
        lambda *_: True, step, (0, state, outputs), maximum_iterations=length
    )
    return outputs.stack(), last
