"""The controller that chooses the channels of every op in each layer.

Reference: `_build_sampler` of the authors' general_controller.py, with `search_whole_channels`
false.
"""

import tensorflow as tf

from enas_tf.macro.controller import MacroController
from enas_tf.search.controller import NEVER, Pick


class ChannelController(MacroController):
    """Chooses, in each layer, start and count of each op's channels; then the skip connections.

    Each op has embeddings and classifiers of its own, which all layers share.
    """

    def add_op_weights(self) -> None:
        """Creates the embeddings and classifiers of starts and counts, for each op."""
        size, ops, blocks = self.config.lstm_size, len(self.space.ops), self.space.channel_blocks
        self.add_weights(
            start_embedding=(ops, blocks, size),
            start_kernel=(ops, size, blocks),
            # A count is at least 1, and less than all blocks.
            count_embedding=(ops, blocks - 1, size),
            count_kernel=(ops, size, blocks - 1),
        )

    def decide_op(
        self, pick: Pick, slot: int, x: tf.Tensor, state: list[tf.Tensor]
    ) -> tuple[int, tf.Tensor, list[tf.Tensor]]:
        """Chooses the start, then the count, of each op in turn; see `MacroController`."""
        blocks = self.space.channel_blocks
        counts = tf.range(1, blocks)
        for op in range(len(self.space.ops)):
            output, state = self.step(x, state)
            start = pick(slot, self.squash(tf.matmul(output, self.start_kernel[op])))
            output, state = self.step(tf.gather(self.start_embedding[op], start), state)
            logits = self.squash(tf.matmul(output, self.count_kernel[op]))
            fits = counts <= blocks - start[:, tf.newaxis]
            # The option before them is the count 0, so that an option's place is its count.
            logits = tf.pad(tf.where(fits, logits, NEVER), [[0, 0], [1, 0]], constant_values=NEVER)
            count = pick(slot + 1, logits)
            x, slot = tf.gather(self.count_embedding[op], count - 1), slot + 2
        return slot, x, state
