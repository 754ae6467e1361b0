"""The final network of an architecture with chosen channels, which has these channels alone.

Reference: `_fixed_layer` of the authors' general_child.py, with `whole_channels` false. It cannot
be run; docs/sources.md says what is missing.
"""

from functools import partial

from enas_tf.layers.blocks import Blocks, Images
from enas_tf.macro.channels.space import ChannelArc
from enas_tf.macro.network import MacroChildConfig, build, count_cost


def build_branches(
    arc: ChannelArc,
    number: int,
    config: MacroChildConfig,
    blocks: Blocks,
    x: Images,
    channels: int,
) -> Images:
    """Builds all ops with their chosen channels, and mixes them; see `LayerBuilder`.

    An op comes after a 1x1 convolution, batch norm and relu. The ops' channels are joined and go
    through relu, a 1x1 convolution and batch norm.
    """
    name, branches = f"layer_{number}", []
    # A block grows with the layer, unless it is to be as in the authors' code.
    block = (config.out_filters if config.authors_macro else channels) // arc.channel_blocks
    for place, (op, branch) in enumerate(zip(arc.rows, arc.layers[number].branches, strict=True)):
        taken = branch.count * block
        # A pool gives as many channels as it gets, so it gets no more than are taken.
        given = channels if op.has_weights else taken
        y = blocks.relu(blocks.conv(x, given, 1, f"{name}_project_{place}"))
        branches.append(op.layers(blocks, y, taken, f"{name}_op_{place}"))
    y = blocks.relu(blocks.concatenate(branches, f"{name}_branches"))
    return blocks.conv(y, channels, 1, f"{name}_mix")


build_with_channels = partial(build, build_layer=build_branches)
"""Builds the network of an architecture; see `enas_tf.macro.network.build`."""

count_cost_with_channels = partial(count_cost, build_layer=build_branches)
"""Counts the cost of that network without building it."""
