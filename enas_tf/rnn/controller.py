"""The rnn space's controller.

Reference: Pham et al. 2018, section 2.1, and `_build_sampler` of controller.py in the authors'
corrected code, google-research's `enas_lm`.
"""

from dataclasses import dataclass

import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.search.controller import Controller, ControllerConfig, Pick


@dataclass(frozen=True)
class RnnControllerConfig(ControllerConfig):
    """The controller, and how rewards train it."""

    temperature: float = option(5.0, "divides logits before the tanh; 0 leaves them")
    tanh_constant: float = option(2.25, "logits become this times their tanh; 0 leaves them")
    # Not an option: in this space activations' logits have the same bound as those of indices.
    op_tanh_reduce: float = 1.0
    entropy_weight: float = option(1e-5, "weight of the entropy in the reward")
    learning_rate: float = option(5e-5, "Adam's learning rate")
    beta_1: float = option(0.9, "Adam's beta_1")
    epsilon: float = option(1e-8, "Adam's epsilon")
    baseline_decay: float = option(0.999, "decay of the baseline, the moving average of rewards")
    init_range: float = option(0.01, "initial weights are uniform between minus and plus this")


class RnnController(Controller):
    """Chooses an earlier node by attention for each node, then an activation.

    The further back an earlier node is, the less likely it is to be chosen before any training,
    and the smaller its part in the LSTM's next input.
    """

    def build(self, input_shape: tuple | None) -> None:
        """Creates the embeddings and the attention weights; the ops' embedding also classifies."""
        size = self.config.lstm_size
        self.add_weights(start=(1, size), op_embedding=(len(self.space.ops), size))
        self.add_attention()

    def decide(self, pick: Pick) -> None:
        """Chooses the index of each node, then its activation."""
        zeros = tf.zeros([pick.batch, self.config.lstm_size])
        state = [zeros, zeros]
        x = tf.repeat(tf.convert_to_tensor(self.start), pick.batch, axis=0)
        # A node's key is what attention scores it by; its anchor is a part of the LSTM's next input
        # once the node is chosen. Node 0, about which nothing is decided, has zeros for both.
        anchors, keys = [zeros], [tf.matmul(zeros, self.key_kernel)]
        for node in range(1, self.space.num_nodes + 1):
            slot = 2 * (node - 1)
            distances = tf.range(node, 0, -1, dtype=tf.float32)
            output, state = self.step(x, state)
            # Subtracted after the tanh, which so does not bound the preference for near nodes.
            logits = self.squash(self.attend(output, keys)) - distances**2 / 6
            index = pick(slot, logits)
            anchor = tf.gather(tf.stack(anchors, axis=1), index, batch_dims=1)
            x = anchor / (0.1 + tf.gather(distances, index)[:, tf.newaxis])
            anchors.append(output)
            keys.append(tf.matmul(output, self.key_kernel))
            output, state = self.step(x, state)
            logits = self.squash(tf.matmul(output, self.op_embedding, transpose_b=True))
            x = tf.gather(self.op_embedding, pick(slot + 1, logits))
