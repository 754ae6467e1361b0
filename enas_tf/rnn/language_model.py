"""The parts that the rnn space's language models share besides recurrence: dropout and states.

Reference: `_build_params` and `_forward` of the authors' child.py and fixed_lib.py in
google-research's `enas_lm`.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.recurrence import Masks, Wiring, WordRecurrence


class SequenceDropout:
    """Draws the dropout masks of a step.

    Args:
        config: drop rates.
        vocab_size: number of words.
        num_nodes: number of nodes in the cell, not counting node 0.
        rng: random numbers of the network's dropout.
    """

    def __init__(
        self, config: RnnChildConfig, vocab_size: int, num_nodes: int, rng: StepRng
    ) -> None:
        self._config = config
        self._vocab_size = vocab_size
        self._rng = rng
        # This order must not change: a stream's number decides which random numbers it draws.
        self._word = rng.stream()
        self._embedding = rng.stream()
        self._input = rng.stream()
        self._node = rng.stream()
        self._output = rng.stream()
        self._kernels = [rng.stream() for _ in range(num_nodes + 1)]

    def draw(self, rows: tf.Tensor | int) -> Masks:
        """Returns the masks of this step for `rows` rows of this replica."""
        config, keep_mask, keep_rows = self._config, self._rng.keep_mask, self._rng.keep_rows
        hidden = config.hidden_size
        shape, kernel_shape = [rows, hidden], [hidden, 2 * hidden]
        kernels = [
            _factors(keep_mask, stream, kernel_shape, config.drop_weight)
            for stream in self._kernels
        ]
        return Masks(
            word=_factors(keep_mask, self._word, [self._vocab_size, 1], config.drop_word),
            embedding=_factors(keep_rows, self._embedding, shape, config.drop_embedding),
            input=_factors(keep_rows, self._input, shape, config.drop_input),
            node=_factors(keep_rows, self._node, shape, config.drop_node),
            output=_factors(keep_rows, self._output, shape, config.drop_output),
            kernels=kernels if config.drop_weight else None,
        )


def _factors(
    keep: Callable[[int, list, float], tf.Tensor], stream: int, shape: list, drop_rate: float
) -> tf.Tensor | None:
    """Returns factors: 0 for what is dropped, `1 / (1 - drop_rate)` elsewhere; None at rate 0."""
    return keep(stream, shape, 1 - drop_rate) / (1 - drop_rate) if drop_rate else None


class CarriedState(keras.layers.Layer):
    """The states that are carried from call to call: one for training, one for evaluation.

    Every replica holds the whole training state, so that checkpoints contain it, and uses its own
    equal part of the rows. The evaluation state has as many rows as a batch; every replica has its
    own, and checkpoints do not contain it.

    Args:
        batch_size: rows of a training batch, over all replicas.
        hidden_size: size of a row.
    """

    def __init__(self, batch_size: int, hidden_size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.batch_size = batch_size
        self.hidden_size = hidden_size

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates both states, filled with zeros."""
        self.state = self.add_weight(
            shape=(self.batch_size, self.hidden_size),
            initializer="zeros",
            trainable=False,
            autocast=False,
            # Each replica assigns its own rows, and zeros in place of the others'.
            aggregation="sum",
            name="state",
        )
        self.evaluation_state = tf.Variable(
            tf.zeros([0, self.hidden_size]),
            trainable=False,
            shape=[None, self.hidden_size],
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.NONE,
        )
        self.built = True

    def read(self, rows: tf.Tensor | int, starts: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the state that a call starts with.

        Args:
            rows: number of rows of this replica's batch.
            starts: whether the state starts at zero, a bool scalar.
            training: whether to read the training state, not the evaluation state.

        Returns:
            `(rows, hidden)`, float32.
        """
        zeros = tf.zeros([rows, self.hidden_size])
        if not training:
            # The number of rows may change, but only where the state starts anew. So this is a
            # condition: a mask would need both tensors to have the same shape.
            return tf.cond(starts, lambda: zeros, self.evaluation_state.read_value)
        first, count = self._own_rows()
        return tf.where(starts, zeros, self.state.value[first : first + count])

    def write(self, state: tf.Tensor, training: bool) -> None:
        """Stores the state that a call of this replica ended with, `(rows, hidden)`."""
        state = tf.cast(state, tf.float32)
        if not training:
            self.evaluation_state.assign(state)
            return
        first, count = self._own_rows()
        whole = tf.pad(state, [[first, self.batch_size - count - first], [0, 0]])
        self.state.assign(tf.ensure_shape(whole, self.state.shape))

    def _own_rows(self) -> tuple[tf.Tensor | int, int]:
        """Returns the place of this replica's first row in the training state, and its rows."""
        context = tf.distribute.get_replica_context()
        count = self.batch_size // context.num_replicas_in_sync
        return context.replica_id_in_sync_group * count, count


class LanguageModel(keras.Model):
    """A language model that carries its state from call to call.

    Args:
        recurrence: the recurrence, which holds the weights.
        config: sizes and drop rates.
        num_nodes: number of nodes in the cell, not counting node 0.
        batch_size: rows of a training batch, over all replicas.
        rng: random numbers of dropout.
    """

    def __init__(
        self,
        recurrence: WordRecurrence,
        config: RnnChildConfig,
        num_nodes: int,
        batch_size: int,
        rng: StepRng,
    ) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.recurrence.build()
        self.carried = CarriedState(batch_size, config.hidden_size, name="carried_state")
        self.carried.build()
        self._dropout = SequenceDropout(config, recurrence.vocab_size, num_nodes, rng)
        self.built = True

    def carry_on(
        self,
        words: tf.Tensor,
        starts: tf.Tensor,
        training: bool,
        kernels: Sequence[tf.Tensor],
        wiring: Wiring,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Runs the recurrence from the carried state and stores the state after the last word.

        Args:
            words: `(rows, time)`, int32.
            starts: whether the state starts at zero, a bool scalar.
            training: whether to apply dropout, and which of the two states to carry on.
            kernels: weights of nodes 1 and up, as `WordRecurrence.run` takes them.
            wiring: the wiring of these nodes.

        Returns:
            The fields `features`, `embedding` and `states` of `RnnOutputs`.
        """
        rows = tf.shape(words)[0]
        state = self.carried.read(rows, starts, training)
        masks = self._dropout.draw(rows) if training else Masks()
        features, states, last = self.recurrence.run(words, state, kernels, wiring, masks)
        self.carried.write(last, training)
        return features, tf.convert_to_tensor(self.recurrence.embedding), states
