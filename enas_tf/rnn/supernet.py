"""The shared-weight network of the rnn space.

Reference: Pham et al. 2018, section 2.1, and the authors' child.py in google-research's `enas_lm`.
"""

import functools
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.layers.choice import select, take_rows
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.final_weights import Named
from enas_tf.layers.form import Form, current_form
from enas_tf.rnn.language_model import LanguageModel
from enas_tf.rnn.ops import Activation
from enas_tf.rnn.recurrence import WordRecurrence
from enas_tf.rnn.space import RnnArc, RnnSpace
from enas_tf.tasks.language import RnnOutputs


@functools.cache
def _choice_of(activations: tuple[Activation, ...]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function of an op's number and an input that applies the activation chosen by it.

    The function is traced once for all nodes. It is inlined, since it is small and runs at every
    word: called, it makes a step 3 % slower.
    """

    @tf.function(autograph=False)
    def activate(op: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return tf.switch_case(op, [lambda a=a: a.function(x) for a in activations])

    return activate


class DrawnWiring:
    """The wiring that tokens in a tensor choose; see `enas_tf.rnn.recurrence.Wiring`.

    Args:
        activations: the activations of the space, in the order of their numbers.
        tokens: tokens of an architecture, `(2 * num_nodes,)`, int32.
        output: which nodes' mean the cell returns: that of all nodes or of the loose ends.
    """

    def __init__(
        self,
        activations: tuple[Activation, ...],
        tokens: tf.Tensor,
        output: Literal["all", "loose_ends"],
    ) -> None:
        self.activations = activations
        self.indices = tf.unstack(tokens[0::2])
        self.ops = tf.unstack(tokens[1::2])
        self.shares = None
        if output == "loose_ends":
            nodes = tf.range(1, len(self.indices) + 1)
            is_used = tf.equal(tokens[0::2], nodes[:, tf.newaxis])
            is_loose = tf.cast(~tf.reduce_any(is_used, axis=1), tf.float32)
            self.shares = tf.unstack(is_loose / tf.reduce_sum(is_loose))

    def source(self, node: int, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the state that a node reads, from those of nodes 0 to `node - 1`."""
        # XLA cannot compile TensorFlow's gradient of `switch_case`; elsewhere masks cost more.
        if current_form() is Form.XLA:
            return select(self.indices[node - 1], states)
        return tf.switch_case(self.indices[node - 1], [lambda s=s: s for s in states])

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """Applies a node's activation.

        For XLA, all activations are computed and one is selected: XLA does that in one kernel with
        what comes before, while a choice among kernels would wait for the host at each word.
        """
        if current_form() is Form.XLA:
            return select(self.ops[node - 1], [a.function(x) for a in self.activations])
        return _choice_of(self.activations)(self.ops[node - 1], x)

    def output(self, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the cell's output, computed from the states of nodes 1 and up."""
        if self.shares is None:
            return tf.add_n(states) / len(states)
        shares = [tf.cast(share, states[0].dtype) for share in self.shares]
        return tf.add_n([share * s for share, s in zip(shares, states, strict=True)])


class SharedRecurrence(WordRecurrence):
    """The language models of all cells, with a set of weights for each node, activation and index.

    Args:
        space: the space of the cells.
        vocab_size: number of words.
        hidden_size: size of embedding, state and nodes.
        init_range: initial weights are uniform between minus and plus this.
    """

    def __init__(
        self, space: RnnSpace, vocab_size: int, hidden_size: int, init_range: float, **kwargs
    ) -> None:
        super().__init__(vocab_size, hidden_size, init_range, **kwargs)
        self.space = space

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates all weights."""
        super().build()
        size, ops = self.hidden_size, len(self.space.ops)
        self.banks = [
            self.add_kernel(f"node_{node}", (ops, node, size, 2 * size))
            for node in range(1, self.space.num_nodes + 1)
        ]

    def node_kernels(self, wiring: DrawnWiring) -> list[tf.Tensor]:
        """Returns the weights of nodes 1 and up that a wiring chooses, as `run` takes them."""
        chosen = zip(self.banks, wiring.ops, wiring.indices, strict=True)
        # Gathered, not sliced: XLA would compile a program for each start of a slice.
        return [
            take_rows(tf.convert_to_tensor(bank), tf.stack([[op, index]]))[0]
            for bank, op, index in chosen
        ]


class RnnSupernet(LanguageModel):
    """The supernet of the rnn space: all its language models in one, from which tokens choose.

    Args:
        space: the space of its architectures.
        config: sizes and drop rates.
        vocab_size: number of words.
        batch_size: rows of a training batch, over all replicas.
        rng: random numbers of dropout.

    Call arguments:
        words: `(rows, time)`, int32.
        starts: whether the state starts at zero, a bool scalar; otherwise it is the state that the
            last call left. Training and evaluation each have a state of their own.
        tokens: tokens of an architecture, `(2 * num_nodes,)`, int32.
        training: whether to apply dropout, and which of the two states to carry on.
    """

    def __init__(
        self,
        space: RnnSpace,
        config: RnnChildConfig,
        vocab_size: int,
        batch_size: int,
        rng: StepRng,
    ) -> None:
        sizes = vocab_size, config.hidden_size, config.init_range
        recurrence = SharedRecurrence(space, *sizes, name="recurrence")
        super().__init__(recurrence, config, space.num_nodes, batch_size, rng)
        self.space = space
        self.config = config

    def call(
        self, words: tf.Tensor, starts: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> RnnOutputs:
        """Returns the outputs for the next words; `decay` is that of the weights that were used."""
        wiring = DrawnWiring(self.space.rows, tokens, self.config.output)
        kernels = self.recurrence.node_kernels(wiring)
        outputs = self.carry_on(words, starts, training, kernels, wiring)
        return RnnOutputs(*outputs, self._decay(kernels))

    def final_weights(self, arc: RnnArc, config: RnnChildConfig) -> Named:
        """Returns the weights of an architecture's own network, by its variables' paths.

        Args:
            arc: the architecture of the final network.
            config: sizes of the final network.
        """
        recurrence = self.recurrence
        named = {"embedding": recurrence.embedding, "entry_kernel": recurrence.entry_kernel}
        named = {name: weight.numpy() for name, weight in named.items()}
        for number, (node, bank) in enumerate(zip(arc.nodes, recurrence.banks, strict=False), 1):
            named[f"node_{number}"] = bank.numpy()[node.op, node.index]
        return {f"recurrence/{name}": weight for name, weight in named.items()}

    def _decay(self, kernels: list[tf.Tensor]) -> tf.Tensor:
        """Computes half the sum of squares of the weights that were used, but for the embedding.

        With `authors_decay`, weights are squared twice and node 1 is left out, as in the authors'
        code.
        """
        entry = tf.convert_to_tensor(self.recurrence.entry_kernel)
        if self.config.authors_decay:
            return tf.add_n([tf.nn.l2_loss(tf.square(w)) for w in [entry, *kernels[1:]]])
        return tf.add_n([tf.nn.l2_loss(w) for w in [entry, *kernels]])
