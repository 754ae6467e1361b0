import random

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers import cost
from enas_tf.layers.dropout import StepRng
from enas_tf.macro.channels.network import build_with_channels, count_cost_with_channels
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.network import MacroChildConfig

SPACE = ChannelSpace(3, channel_blocks=4)
SHAPE = (8, 8, 3)


@pytest.mark.parametrize("authors_macro", [False, True])
def test_layers_have_the_channels_that_were_chosen_and_costs_are_counted(authors_macro):
    arc = SPACE.random(random.Random(3))
    config = MacroChildConfig(out_filters=8, aux_head=True, authors_macro=authors_macro)
    built = build_with_channels(arc, config, SHAPE, 3, StepRng(1, 0))
    assert count_cost_with_channels(arc, config, SHAPE, 3) == (
        cost.count_params(built),
        cost.count_multiply_adds(built),
    )
    outputs = built(tf.random.normal((2, *SHAPE)), training=True)
    assert all(one.shape == (2, 3) and np.isfinite(one).all() for one in outputs)
    for number, layer in enumerate(arc.layers):
        width = 8 * 2**number
        block = 2 if authors_macro else width // 4
        for op, branch in enumerate(layer.branches):
            name = f"layer_{number}_op_{op}" + ("_norm" if op < 4 else "")
            assert built.get_layer(name).output.shape[-1] == block * branch.count
        mixed = built.get_layer(f"layer_{number}_mix_conv")
        assert mixed.kernel.shape[2:] == (block * layer.num_blocks, width)


@pytest.mark.parametrize(("authors_macro", "blocks"), [(False, (2, 4, 8)), (True, (2, 2, 2))])
def test_parameters_by_formula(authors_macro, blocks):
    # The pools come after layers 0 and 1, and nothing is skipped.
    arc = SPACE.parse(
        "0 1 0 2 0 3 1 1 1 2 1 3  0 1 0 1 0 1 0 1 0 1 0 1 0  3 1 2 2 1 3 0 3 3 1 0 1 0 0"
    )
    config = MacroChildConfig(out_filters=8, authors_macro=authors_macro)
    params = 9 * 3 * 8 + 2 * 8
    for number, (layer, block) in enumerate(zip(arc.layers, blocks, strict=True)):
        width = 8 * 2**number
        taken = [branch.count * block for branch in layer.branches]
        for size, separable, count in zip((3, 3, 5, 5), (0, 1, 0, 1), taken[:4], strict=True):
            kernels = size**2 * width + width * count if separable else size**2 * width * count
            params += width**2 + 2 * width + kernels + 2 * count
        # A pool has its 1x1 convolution alone.
        params += sum(width * count + 2 * count for count in taken[4:])
        params += sum(taken) * width + 2 * width
        # The convolution over what is joined.
        params += width**2 + 2 * width if number else 0
    # Each pool reduces the layer before it; the authors' code, all entries.
    reduced = (2, 3) if authors_macro else (1, 1)
    params += sum(n * (w * 2 * w + 4 * w) for n, w in zip(reduced, (8, 16), strict=True))
    params += 32 * 10
    assert count_cost_with_channels(arc, config, SHAPE, 10).params == params
