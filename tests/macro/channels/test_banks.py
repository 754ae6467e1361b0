"""A layer with chosen channels against NumPy, in all forms, and against the final network's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.blocks import KerasBlocks
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.form import Form, traced_for
from enas_tf.macro.channels.banks import ChannelBanks
from enas_tf.macro.channels.network import build_branches
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.network import MacroChildConfig

# Four blocks of two channels; every op starts and ends somewhere else.
SPACE = ChannelSpace(2, channel_blocks=4)
PLACES = [(0, 3), (2, 1), (1, 2), (3, 1), (0, 1), (1, 3)]
TOKENS = [0, 1] * 6 + [n for place in PLACES for n in place]
CHANNELS = 8


def made(moving=False):
    keras.utils.set_random_seed(0)
    banks = ChannelBanks(2, SPACE.rows, CHANNELS, moving, blocks=4)
    banks.build()
    for variable in banks.trainable_variables:
        if "scale" in variable.path or "offset" in variable.path:
            variable.assign(variable + tf.random.normal(variable.shape, stddev=0.3))
    return banks, tf.random.normal((3, 5, 6, CHANNELS))


@pytest.fixture(scope="module")
def banks():
    return made()


def run(banks, x, training=True, with_statistics=False, layer=1):
    """What a layer makes of images."""
    branches = banks.by_layer(tf.constant(TOKENS))[layer]
    return banks.run_layer(x, branches, banks.layers(training)[layer], with_statistics)


def normed(x, scale, offset, epsilon):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + epsilon) * scale + offset


def windows(x, size, beyond):
    """What each place of a window reads, `(batch, height, width, size, size, channels)`."""
    half = size // 2
    padded = np.pad(x, [(0, 0), (half, half), (half, half), (0, 0)], constant_values=beyond)
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.moveaxis(views, 3, -1)


def average(x):
    inside = windows(np.ones_like(x), 3, 0).sum((3, 4))
    return windows(x, 3, 0).sum((3, 4)) / inside


def by_hand(banks, x):
    """Layer 1 as the authors' child has it: each op computes its own channels and no others."""
    w = {name: np.array(getattr(banks, name), np.float64)[1] for name in ("kernel", "scale")}
    w["offset"], x = np.array(banks.offset)[1], np.array(x, np.float64)
    outputs, rows = [], []
    for op, place in enumerate(PLACES):
        start, count = (2 * one for one in place)
        own = slice(start, start + count)
        y = np.maximum(normed(x @ w["kernel"][op], w["scale"][op], w["offset"][op], 1e-5), 0)
        bank = {name: np.array(v, np.float64)[1] for name, v in banks.banks[op].bank.items()}
        if op == 4:
            y = average(y)[..., own]
        elif op == 5:
            y = windows(y, 3, -np.inf).max((3, 4))[..., own]
        else:
            if "kernel" in bank:
                size = len(bank["kernel"])
                y = np.tensordot(windows(y, size, 0), bank["kernel"][..., own], 3)
            else:
                size = len(bank["depthwise"])
                y = (windows(y, size, 0) * bank["depthwise"][..., 0]).sum((3, 4))
                y = y @ bank["pointwise"][:, own]
            y = np.maximum(normed(y, bank["scale"][0, own], bank["offset"][0, own], 1e-3), 0)
        outputs.append(y)
        rows.append(np.array(banks.mix_kernel, np.float64)[1, op, own])
    y = np.concatenate(outputs, -1) @ np.concatenate(rows)
    assert y.shape[-1] == CHANNELS and sum(map(len, rows)) == 2 * 11
    return np.maximum(
        normed(y, np.array(banks.mix_scale)[1], np.array(banks.mix_offset)[1], 1e-5), 0
    )


def test_a_layer_is_what_the_authors_child_computes(banks):
    banks, x = banks
    y, statistics = run(banks, x)
    assert statistics is None
    np.testing.assert_allclose(y, by_hand(banks, x), rtol=1e-3, atol=1e-4)


def test_all_forms_give_the_same_outputs_and_gradients(banks):
    banks, x = banks

    def outputs(form):
        with traced_for(form), tf.GradientTape() as tape:
            y, _ = run(banks, x)
            loss = tf.reduce_sum(y * tf.cos(tf.range(CHANNELS, dtype=tf.float32)))
        with traced_for(form):
            return y, tape.gradient(loss, [v.value for v in banks.trainable_variables])

    y, gradients = outputs(Form.CPU)
    others = [outputs(Form.GPU), tf.function(outputs, autograph=False, jit_compile=True)(Form.XLA)]
    for other, other_gradients in others:
        np.testing.assert_allclose(other, y, rtol=1e-4, atol=1e-4)
        for one, two, variable in zip(
            gradients, other_gradients, banks.trainable_variables, strict=True
        ):
            one, two = tf.convert_to_tensor(one), tf.convert_to_tensor(two)
            error = np.abs(one - two).max() / np.abs(one).max()
            assert error < 1e-3, (variable.path, error)


def test_weights_of_other_channels_get_no_gradient(banks):
    banks, x = banks
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(run(banks, x)[0] ** 2)
    kernel, mix = tape.gradient(loss, [banks.banks[0].bank["kernel"].value, banks.mix_kernel.value])
    moved = np.abs(tf.convert_to_tensor(kernel)).max((1, 2, 3)) > 0
    assert moved.tolist() == [[False] * 8, [True] * 6 + [False] * 2]
    moved = np.abs(tf.convert_to_tensor(mix)).max(3)[1] > 0
    for op, (start, count) in enumerate(PLACES):
        assert set(np.flatnonzero(moved[op])) == set(range(2 * start, 2 * (start + count)))


@pytest.mark.parametrize("form", [Form.CPU, Form.GPU])
def test_moving_averages_take_in_the_chosen_channels_alone(form):
    banks, x = made(moving=True)
    with traced_for(form):
        statistics = [run(banks, x, with_statistics=True, layer=n)[1] for n in range(2)]
        banks.update(tf.constant(TOKENS), statistics)
    moved = np.array(banks.banks[1].averages.mean)[:, 0] != 0
    # Block 0 of layer 0, block 2 of layer 1.
    assert np.argwhere(moved).tolist() == [[0, 0], [0, 1], [1, 4], [1, 5]]
    assert np.all(np.array(banks.averages.mean) != 0)
    assert np.all(np.array(banks.mix_averages.variance) != 1)
    # By these averages, an image does not depend on its batch.
    with traced_for(form):
        alone, together = (run(banks, some, training=False)[0] for some in (x[:1], x))
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)


def test_the_final_layer_has_the_chosen_channels_of_the_shared_one(banks):
    banks, x = banks
    arc = SPACE.parse([*TOKENS, 0])
    images = keras.Input(x.shape[1:])
    output = build_branches(
        arc, 1, MacroChildConfig(out_filters=CHANNELS), KerasBlocks(StepRng(1, 0)), images, CHANNELS
    )
    layer = keras.Model(images, output)
    for op, place in enumerate(PLACES):
        own = slice(2 * place[0], 2 * sum(place))
        project, norm = (layer.get_layer(f"layer_1_project_{op}_{n}") for n in ("conv", "norm"))
        given = own if op > 3 else slice(None)
        project.kernel.assign(np.array(banks.kernel)[1, op][None, None, :, given])
        norm.scale.assign(np.array(banks.scale)[1, op, given])
        norm.offset.assign(np.array(banks.offset)[1, op, given])
        if op > 3:
            continue
        bank = {name: np.array(v)[1] for name, v in banks.banks[op].bank.items()}
        conv, norm = (layer.get_layer(f"layer_1_op_{op}_{n}") for n in ("conv", "norm"))
        if "kernel" in bank:
            conv.kernel.assign(bank["kernel"][..., own])
        else:
            conv.depthwise_kernel.assign(bank["depthwise"])
            conv.pointwise_kernel.assign(bank["pointwise"][None, None, :, own])
        norm.scale.assign(bank["scale"][0, own])
        norm.offset.assign(bank["offset"][0, own])
        # The search's batch norm of ops has another one.
        norm.epsilon = 1e-3
    rows = [
        np.array(banks.mix_kernel)[1, op, 2 * start : 2 * (start + count)]
        for op, (start, count) in enumerate(PLACES)
    ]
    layer.get_layer("layer_1_mix_conv").kernel.assign(np.concatenate(rows)[None, None])
    norm = layer.get_layer("layer_1_mix_norm")
    norm.scale.assign(np.array(banks.mix_scale)[1])
    norm.offset.assign(np.array(banks.mix_offset)[1])
    wanted, _ = run(banks, x)
    found = tf.nn.relu(layer(x, training=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
