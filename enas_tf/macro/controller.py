"""The macro space's controller.

Reference: Pham et al. 2018, section 2.3, and `_build_sampler` of the authors'
general_controller.py.
"""

from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.search.controller import Controller, ControllerConfig, Pick


@dataclass(frozen=True)
class MacroControllerConfig(ControllerConfig):
    """The controller, and how rewards train it."""

    tanh_constant: float = option(1.5, "logits become this times their tanh; 0 leaves them")
    # Not an option: in this space the ops' logits have the same bound as all others.
    op_tanh_reduce: float = 1.0
    learning_rate: float = option(0.001, "Adam's learning rate")
    skip_target: float = option(0.4, "the part of all skip connections that is aimed at")
    skip_weight: float = option(0.8, "weight in the loss of the divergence from skip_target")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no controller."""
        super().__post_init__()
        if not 0 < self.skip_target < 1:
            raise UserError(
                f"controller.skip_target must be between 0 and 1, got {self.skip_target}"
            )
        if self.skip_weight < 0:
            raise UserError(f"controller.skip_weight must not be negative, got {self.skip_weight}")


class MacroController(Controller):
    """Chooses an op for each layer, then by attention the earlier outputs to join to it.

    Besides tokens it returns the weighted skip penalty, and the metrics `skip_penalty` (without
    the weight) and `skip_rate` (the share of all possible skip connections that is present).
    """

    def build(self, input_shape: tuple | None) -> None:
        """Creates the start embedding, the attention weights and those of the ops' choice."""
        self.add_weights(start=(1, self.config.lstm_size))
        self.add_op_weights()
        self.add_attention()

    def add_op_weights(self) -> None:
        """Creates the ops' embeddings and their classifier."""
        size, num_ops = self.config.lstm_size, len(self.space.ops)
        self.add_weights(op_embedding=(num_ops, size), op_kernel=(size, num_ops))

    def decide_op(
        self, pick: Pick, slot: int, x: tf.Tensor, state: list[tf.Tensor]
    ) -> tuple[int, tf.Tensor, list[tf.Tensor]]:
        """Chooses what comes before a layer's skip bits: its op.

        Args:
            pick: makes the choices.
            slot: the layer's first slot.
            x: the LSTM's next input, `(batch, lstm_size)`.
            state: the LSTM's state.

        Returns:
            The slot after the last one chosen, and the LSTM's next input and state.
        """
        output, state = self.step(x, state)
        op = pick(slot, self.squash(tf.matmul(output, self.op_kernel)))
        return slot + 1, tf.gather(self.op_embedding, op), state

    def decide(self, pick: Pick) -> None:
        """Chooses the op of each layer, then all of the layer's skip bits at once."""
        state = [tf.zeros([pick.batch, self.config.lstm_size])] * 2
        start = tf.repeat(tf.convert_to_tensor(self.start), pick.batch, axis=0)
        # A layer's key is what attention scores it by; its anchor is a part of the LSTM's next
        # input once the layer is joined. As in the authors' code, bit j attends to layer j,
        # although it joins the output of layer j - 1.
        anchors, keys, penalties, counts = [], [], [], []
        slot, x = 0, start
        for layer in range(self.space.num_layers):
            slot, x, state = self.decide_op(pick, slot, x, state)
            output, state = self.step(x, state)
            x = start
            if layer:
                # A skip bit has two logits: the energy for 1, its negative for 0.
                energies = self.attend(output, keys)
                logits = self.squash(tf.stack([-energies, energies], axis=-1))
                skips = tf.cast(pick.several(slot, logits), tf.float32)
                penalties.append(self._penalty(logits))
                counts.append(tf.reduce_sum(skips, axis=1, keepdims=True))
                x = tf.einsum("bk,bkc->bc", skips, tf.stack(anchors, axis=1)) / (1 + counts[-1])
            anchors.append(output)
            keys.append(tf.matmul(output, self.key_kernel))
            slot += layer
        self._account(pick, penalties, counts)

    def _penalty(self, logits: tf.Tensor) -> tf.Tensor:
        """Computes how far a layer's skip probabilities are from the target, `(batch,)`.

        As in the authors' code this is `p log(p / target)`, where `p` is the sigmoid, not the
        softmax, of each of the two logits, summed over both and over all skips of the layer.
        """
        target = self.config.skip_target
        log_p = tf.math.log_sigmoid(logits)
        divergence = tf.exp(log_p) * (log_p - tf.math.log([1 - target, target]))
        return tf.reduce_sum(divergence, axis=[1, 2])

    def _account(self, pick: Pick, penalties: list[tf.Tensor], counts: list[tf.Tensor]) -> None:
        """Sets the weighted mean penalty of the layers with skips, and adds both metrics."""
        if not counts:
            return
        layers = len(counts)
        penalty = tf.add_n(penalties) / layers
        pick.penalty = self.config.skip_weight * penalty
        possible = layers * (layers + 1) / 2
        pick.metrics |= {
            "skip_penalty": penalty,
            "skip_rate": tf.squeeze(tf.add_n(counts), axis=1) / possible,
        }
