"""The shared-weight network of the space with chosen channels.

Reference: `_enas_layer` of the authors' general_child.py, with `whole_channels` false.
"""

from enas_tf.macro.channels.banks import ChannelBanks
from enas_tf.macro.supernet import MacroSupernet


class ChannelSupernet(MacroSupernet):
    """The supernet in which each layer runs all ops and takes the chosen channels of each.

    Everything but the layers is as in `MacroSupernet`: stem, skip connections, reductions.
    """

    def make_layers(self) -> ChannelBanks:
        """Makes the weights of all layers, and what runs a layer."""
        space = self.space
        return ChannelBanks(
            space.num_layers,
            space.rows,
            self.channels,
            self.moving,
            space.channel_blocks,
            name="layers",
        )
