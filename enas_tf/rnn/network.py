"""The final network of the rnn space: a language model with a single cell.

Reference: Pham et al. 2018, section 3.1, and the authors' fixed_lib.py in google-research's
`enas_lm`.
"""

from typing import Literal

import keras
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.softmax import word_logits
from enas_tf.rnn.language_model import LanguageModel
from enas_tf.rnn.ops import OPS
from enas_tf.rnn.recurrence import Masks, WordRecurrence
from enas_tf.rnn.space import RnnArc, RnnSpace
from enas_tf.tasks.language import RnnOutputs


class FixedWiring:
    """The wiring of one known architecture; see `enas_tf.rnn.recurrence.Wiring`.

    Args:
        arc: the architecture.
        output: which nodes' mean the cell returns: that of all nodes or of the loose ends.
    """

    def __init__(self, arc: RnnArc, output: Literal["all", "loose_ends"]) -> None:
        self.nodes = arc.nodes
        self.activations = [arc.rows[node.op].function for node in arc.nodes]
        self.ends = range(1, len(arc.nodes) + 1) if output == "all" else arc.loose_ends

    def source(self, node: int, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the state that a node reads, from those of nodes 0 to `node - 1`."""
        return states[self.nodes[node - 1].index]

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """Applies a node's activation."""
        return self.activations[node - 1](x)

    def output(self, states: list[tf.Tensor]) -> tf.Tensor:
        """Returns the cell's output, computed from the states of nodes 1 and up."""
        return tf.add_n([states[node - 1] for node in self.ends]) / len(self.ends)


@keras.saving.register_keras_serializable("enas_tf")
class CellRecurrence(WordRecurrence):
    """The language model of a single cell, without dropout and without a state of its own.

    Args:
        arc: the architecture as text.
        output: which nodes' mean the cell returns: that of all nodes or of the loose ends.
        vocab_size: number of words.
        hidden_size: size of embedding, state and nodes.
        init_range: initial weights are uniform between minus and plus this.
        op_set: the set of activations that the text's numbers refer to.

    Call arguments:
        words: `(rows, time)`, int32.
        state: `(rows, hidden)`, float32.
    """

    def __init__(
        self,
        arc: str,
        output: Literal["all", "loose_ends"],
        vocab_size: int,
        hidden_size: int,
        init_range: float,
        op_set: str = str(OPS.default),
        **kwargs,
    ) -> None:
        super().__init__(vocab_size, hidden_size, init_range, **kwargs)
        self.arc = arc
        self.output_of = output
        self.op_set = op_set
        self.wiring = FixedWiring(RnnSpace.of(arc, op_set=op_set)[1], output)

    def build(self, words_shape: tuple | None = None, state_shape: tuple | None = None) -> None:
        """Creates all weights."""
        super().build()
        size = self.hidden_size
        self.kernels = [
            self.add_kernel(f"node_{node}", (size, 2 * size))
            for node in range(1, len(self.wiring.nodes) + 1)
        ]

    def call(self, words: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the logits of the next words, `(rows, time, vocabulary)`, and the last state.

        Both are float32.
        """
        features, _, state = self.run(words, state, self.node_kernels(), self.wiring, Masks())
        return word_logits(features, self.embedding), tf.cast(state, tf.float32)

    def node_kernels(self) -> list[tf.Tensor]:
        """Returns the weights of nodes 1 and up, as `run` takes them."""
        return [tf.convert_to_tensor(kernel) for kernel in self.kernels]

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        config = {
            "arc": self.arc,
            "output": self.output_of,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "init_range": self.init_range,
            "op_set": self.op_set,
        }
        return super().get_config() | config


class RnnNetwork(LanguageModel):
    """The language model of a single architecture.

    Args:
        arc: the architecture.
        config: sizes and drop rates.
        vocab_size: number of words.
        batch_size: rows of a training batch, over all replicas.
        rng: random numbers of dropout.

    Call arguments:
        words: `(rows, time)`, int32.
        starts: whether the state starts at zero, a bool scalar; otherwise it is the state that the
            last call left. Training and evaluation each have a state of their own.
        training: whether to apply dropout, and which of the two states to carry on.
    """

    def __init__(
        self, arc: RnnArc, config: RnnChildConfig, vocab_size: int, batch_size: int, rng: StepRng
    ) -> None:
        sizes = vocab_size, config.hidden_size, config.init_range
        recurrence = CellRecurrence(
            str(arc), config.output, *sizes, op_set=arc.op_set, name="recurrence"
        )
        super().__init__(recurrence, config, len(arc.nodes), batch_size, rng)

    def call(self, words: tf.Tensor, starts: tf.Tensor, training: bool = False) -> RnnOutputs:
        """Returns the outputs for the next words; their `decay` is the sum of squared weights."""
        kernels, wiring = self.recurrence.node_kernels(), self.recurrence.wiring
        outputs = self.carry_on(words, starts, training, kernels, wiring)
        weights = [tf.convert_to_tensor(weight) for weight in self.trainable_variables]
        return RnnOutputs(*outputs, tf.add_n([2 * tf.nn.l2_loss(w) for w in weights]))

    def advance(self, words: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads words, starting from a given state; leaves the carried states unchanged.

        Args:
            words: `(rows, time)`, int32.
            state: `(rows, hidden)`, float32.

        Returns:
            The logits of the next words, `(rows, time, vocabulary)`, and the state after the last
            word, `(rows, hidden)`; both float32.
        """
        return self.recurrence(words, state)


def build(
    arc: RnnArc, config: RnnChildConfig, vocab_size: int, batch_size: int, rng: StepRng
) -> RnnNetwork:
    """Builds the network of an architecture; see `RnnNetwork`."""
    return RnnNetwork(arc, config, vocab_size, batch_size, rng)


def count_cost(arc: RnnArc, config: RnnChildConfig, vocab_size: int) -> Cost:
    """Counts the cost per word of the network that `build` returns, without building it."""
    kernel = config.hidden_size * 2 * config.hidden_size
    params = vocab_size * config.hidden_size + (2 + len(arc.nodes)) * kernel
    # Each weight is multiplied once per word; those of the embedding in the softmax.
    return Cost(params, params)


def deployable(network: RnnNetwork) -> keras.Model:
    """Returns a model for deployment with the same weights, which takes and returns its state.

    Returns:
        A model that maps `tokens`, int32 `(batch, time)`, and `state`, float32 `(batch, hidden)`,
        to `log_probabilities` of the next word, float32 `(batch, time, vocabulary)`, and the new
        `state`.
    """
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    state = keras.Input((network.recurrence.hidden_size,), dtype="float32", name="state")
    logits, last = network.advance(tokens, state)
    log_softmax = keras.layers.Activation("log_softmax", dtype="float32", name="log_probabilities")
    outputs = {"log_probabilities": log_softmax(logits), "state": last}
    return keras.Model({"tokens": tokens, "state": state}, outputs, name="rnn_network")
