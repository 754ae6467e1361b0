"""The recurrence of the rnn space's language models: an embedding, then a cell run over time.

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
    """Factors of dropout, the same at every word of a sequence; None where nothing is dropped.

    Attributes:
        word: for the embedding of the input only, not of the softmax, `(vocabulary, 1)`.
        embedding: for the embedded words, `(rows, hidden)`.
        input: for the same words as the cell reads them, on top of `embedding`; same shape.
        node: for the state that each node reads; same shape.
        output: for the states before the softmax; same shape.
        kernels: for the recurrent weights of node 0 and each other node, `(hidden, 2 * hidden)`.
    """

    word: tf.Tensor | None = None
    embedding: tf.Tensor | None = None
    input: tf.Tensor | None = None
    node: tf.Tensor | None = None
    output: tf.Tensor | None = None
    kernels: Sequence[tf.Tensor] | None = None


class Wiring(Protocol):
    """Defines what the nodes of a cell read and compute; nodes count from 1."""

    def source(self, node: int, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the state that a node reads, from those of nodes 0 to `node - 1`."""

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """Applies a node's activation."""

    def output(self, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the cell's output, computed from the states of nodes 1 and up."""


class WordRecurrence(keras.layers.Layer):
    """An embedding, shared with the softmax, and a recurrent cell of highway nodes.

    Node 0 is a highway from the previous state to the tanh of projections of that state and the
    word. Every other node is a highway from an earlier node to an activation of its projection. The
    weights of these other nodes are given at each call.

    Args:
        vocab_size: number of words.
        hidden_size: size of embedding and state.
        init_range: initial weights are uniform between minus and plus this.
    """

    def __init__(self, vocab_size: int, hidden_size: int, init_range: float, **kwargs) -> None:
        # No autocast: weights and states are float32 in whatever dtype the products are computed.
        super().__init__(autocast=False, **kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.init_range = init_range

    def build(self, *input_shapes: tuple) -> None:
        """Creates the embedding and the weights of node 0, for the word first, then the state."""
        size = self.hidden_size
        self.embedding = self.add_kernel("embedding", (self.vocab_size, size))
        self.entry_kernel = self.add_kernel("entry_kernel", (2 * size, 2 * size))
        self.built = True

    def add_kernel(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        """Creates a trainable weight."""
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
        """Reads words, starting from a given state.

        Args:
            words: `(rows, time)`, int32; both sizes may be unknown. For XLA, all rows may end with
                the same number of `PADDING`, at which the state does not change.
            state: `(rows, hidden)`, float32.
            kernels: weights of nodes 1 and up, each `(hidden, 2 * hidden)`, float32: one half for
                the activation, one for the gate.
            wiring: the wiring of these nodes.
            masks: the masks of dropout.

        Returns:
            The cell's outputs with dropout, from which the next words are predicted, and without
            it, both `(rows, time, hidden)`; and the last one without dropout, `(rows, hidden)`.
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
        # The words' part of node 0 does not depend on the state: one product for all words.
        x = _project(self._embed(embedding, words, masks), on_word)
        # The reshape fails if the state does not have as many rows as the words.
        state = tf.reshape(state, [tf.shape(words)[0], self.hidden_size])
        cell = _cell(kernels, wiring, masks.node)
        states, last = _recur(cell, x, tf.cast(state, self.compute_dtype), is_word)
        states = tf.transpose(states, [1, 0, 2])
        mask = None if masks.output is None else masks.output[:, tf.newaxis]
        return _scale(states, mask), states, last

    def _embed(self, embedding: tf.Tensor, words: tf.Tensor, masks: Masks) -> tf.Tensor:
        """Returns the embedded words with dropout, as the cell reads them, `(time, rows, hidden)`.

        Time comes first, since the loop takes one step of it at a time.
        """
        words = tf.transpose(words)
        x = tf.gather(embedding, words)
        if masks.word is not None:
            x *= tf.gather(masks.word, words)
        x = _scale(_scale(x, masks.embedding), masks.input)
        return tf.cast(x, self.compute_dtype)


def _scale(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    return x if mask is None else x * tf.cast(mask, x.dtype)


def _project(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Multiplies along the last axis, in the dtype of `x`."""
    return tf.tensordot(x, tf.cast(kernel, x.dtype), 1)


def _highway(s: tf.Tensor, projected: tf.Tensor, activate: Callable) -> tf.Tensor:
    """Returns `s + sigmoid(t) * (activate(h) - s)`, with `projected` the pair of `h` and `t`."""

    def run(s: tf.Tensor, projected: tf.Tensor) -> tf.Tensor:
        h, t = tf.split(projected, 2, axis=-1)
        return s + tf.sigmoid(t) * (activate(h) - s)

    if current_form() is not Form.XLA:
        return run(s, projected)

    @tf.custom_gradient
    def run_again_for_gradient(s: tf.Tensor, projected: tf.Tensor):
        # A loop keeps what gradients need and stores each tensor by a kernel of its own, which was
        # half of all kernels on a GPU. So only these two are kept; from them XLA computes the rest
        # again, in a single kernel.
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
    """Returns the cell as a function.

    It maps a word's projection, `(rows, 2 * hidden)`, and the state to the next state.
    """
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
    """Runs a cell over time; returns all its outputs, `(time, rows, hidden)`, and the last one.

    The state does not change where `is_word`, `(time,)`, is false.
    """
    length = tf.shape(inputs)[0]
    given = tf.TensorArray(inputs.dtype, length).unstack(inputs)
    outputs = tf.TensorArray(state.dtype, length, element_shape=state.shape)

    def step(time: tf.Tensor, state: tf.Tensor, outputs: tf.TensorArray) -> tuple:
        after = cell(given.read(time), state)
        state = after if is_word is None else tf.where(is_word[time], after, state)
        return time + 1, state, outputs.write(time, state)

    # XLA needs to know the number of iterations, and cannot derive it from a condition.
    _, last, outputs = tf.while_loop(
        lambda *_: True, step, (0, state, outputs), maximum_iterations=length
    )
    return outputs.stack(), last
