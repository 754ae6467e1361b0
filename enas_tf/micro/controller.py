"""The micro space's controller.

Reference: Pham et al. 2018, section 2.4, and `_build_sampler` of the authors'
micro_controller.py.
"""

import tensorflow as tf

from enas_tf.search.controller import Controller, Pick


class MicroController(Controller):
    """Chooses two earlier entries by attention for each node, then an op for each of them.

    The choices of the reduction cell continue from the LSTM's state after the normal cell.
    """

    true_entropy = True

    def build(self, input_shape: tuple | None) -> None:
        """Creates the embeddings, the attention weights and the ops' classifier."""
        size, num_ops = self.config.lstm_size, len(self.space.ops)
        self.add_weights(start=(1, size), op_embedding=(num_ops, size), op_kernel=(size, num_ops))
        self.add_attention()
        self.op_bias = self.add_weight(
            shape=(num_ops,),
            initializer=lambda shape, dtype: tf.constant(
                [op.initial_bias for op in self.space.rows], dtype
            ),
            name="op_bias",
        )

    def decide(self, pick: Pick) -> None:
        """Chooses index 1, index 2, op 1 and op 2 of each node of both cells, in this order.

        An architecture's tokens hold them as index 1, op 1, index 2, op 2.
        """
        state = [tf.zeros([pick.batch, self.config.lstm_size])] * 2
        fixed_biases = (
            tf.constant([op.normal_cell_bias for op in self.space.rows]),
            tf.zeros([len(self.space.ops)]),
        )
        for cell, fixed_bias in enumerate(fixed_biases):
            first_slot = cell * self.num_tokens // 2
            state = self._decide_cell(pick, first_slot, state, fixed_bias)

    def _decide_cell(
        self, pick: Pick, first_slot: int, state: list[tf.Tensor], fixed_bias: tf.Tensor
    ) -> list[tf.Tensor]:
        start = tf.repeat(tf.convert_to_tensor(self.start), pick.batch, axis=0)
        # An entry's key is what attention scores it by; its anchor is the LSTM's next input once
        # the entry is chosen. The cell's two inputs have keys, but zeros for anchors.
        anchors, keys = [], []
        for _ in range(2):
            output, state = self.step(start, state)
            anchors.append(tf.zeros_like(output))
            keys.append(tf.matmul(output, self.key_kernel))
        for node in range(self.num_tokens // 8):
            slot, x = first_slot + 4 * node, start
            for index_slot in (slot, slot + 2):
                output, state = self.step(x, state)
                index = pick(index_slot, self.squash(self.attend(output, keys)))
                x = tf.gather(tf.stack(anchors, axis=1), index, batch_dims=1)
            for op_slot in (slot + 1, slot + 3):
                output, state = self.step(x, state)
                logits = tf.matmul(output, self.op_kernel) + self.op_bias
                logits = self.squash(logits, self.config.op_tanh_reduce)
                x = tf.gather(self.op_embedding, pick(op_slot, logits + fixed_bias))
            output, state = self.step(x, state)
            anchors.append(output)
            keys.append(tf.matmul(output, self.key_kernel))
        return state
