"""The controller of NAS-Bench-201's space.

The authors of ENAS have none for it; the choice of an op is as in their micro_controller.py.
"""

import tensorflow as tf

from enas_tf.search.controller import Controller, Pick


class Nasbench201Controller(Controller):
    """Chooses the op of each edge in turn; the chosen op's embedding is the next input."""

    true_entropy = True

    def build(self, input_shape: tuple | None) -> None:
        """Makes embeddings and the ops' classifier."""
        size, num_ops = self.config.lstm_size, len(self.space.ops)
        self.add_weights(start=(1, size), op_embedding=(num_ops, size), op_kernel=(size, num_ops))

    def decide(self, pick: Pick) -> None:
        """Chooses the ops in the order of the tokens."""
        state = [tf.zeros([pick.batch, self.config.lstm_size])] * 2
        x = tf.repeat(tf.convert_to_tensor(self.start), pick.batch, axis=0)
        for slot in range(self.num_tokens):
            output, state = self.step(x, state)
            logits = self.squash(tf.matmul(output, self.op_kernel), self.config.op_tanh_reduce)
            x = tf.gather(self.op_embedding, pick(slot, logits))
