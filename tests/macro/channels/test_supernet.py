import keras
import numpy as np
import tensorflow as tf

from enas_tf.experiment.initial_weights import take
from enas_tf.layers.dropout import StepRng
from enas_tf.macro.channels.network import build_with_channels
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.channels.supernet import ChannelSupernet
from enas_tf.macro.network import MacroChildConfig

SPACE = ChannelSpace(3, "conv_3x3,max_pool_3x3", channel_blocks=2)


def test_each_layer_runs_with_its_own_tokens():
    keras.utils.set_random_seed(0)
    config = MacroChildConfig(out_filters=4, keep_prob=1.0, aux_head=True)
    supernet = ChannelSupernet(SPACE, config, (8, 8, 1), 3, StepRng(10, 0), moving_averages=True)
    # Layer 0 takes block 0 of the convolution, layer 1 block 1, layer 2 block 0.
    tokens = tf.constant(SPACE.parse("0 1 0 1  1 1 0 1 1  0 1 1 1 0 1").tokens)
    kernel, images = supernet.layer_banks.banks[0].bank["kernel"], tf.random.normal((4, 8, 8, 1))
    with tf.GradientTape() as tape:
        logits, aux_logits = supernet(images, tokens, training=True)
        loss = tf.reduce_sum(logits**2)
    assert logits.shape == aux_logits.shape == (4, 3)
    gradient = tf.convert_to_tensor(tape.gradient(loss, kernel.value))
    moved = np.abs(gradient).max((1, 2, 3)) > 1e-9
    assert np.argwhere(moved).tolist() == [[0, 0], [0, 1], [1, 2], [1, 3], [2, 0], [2, 1]]


def test_parameters_of_the_paper_s_size():
    net = ChannelSupernet(ChannelSpace(12), MacroChildConfig(), (32, 32, 3), 10, StepRng(1, 0))
    whole = 697_860
    # Each layer has six times as many channels to mix.
    assert net.count_params() == whole + 12 * (6 * 36 * 36 + 2 * 36)


def test_a_final_network_takes_the_weights_of_the_chosen_channels():
    """Until channels double, a layer of the final network computes the same."""
    space = ChannelSpace(3, "conv_3x3,separable_conv_3x3,max_pool_3x3", channel_blocks=2)
    config = MacroChildConfig(out_filters=4, keep_prob=1.0)
    net = ChannelSupernet(space, config, (8, 8, 1), 3, StepRng(1, 0), moving_averages=True)
    generator = np.random.default_rng(0)
    for variable in net.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    arc = space.parse("1 1 0 1 1 1  0 1 0 1 0 1 0  0 1 0 1 0 1 0 0")
    final = build_with_channels(arc, config, (8, 8, 1), 3, StepRng(1, 0))
    take(final, net.final_weights(arc, config), "shared", [])
    layer = keras.Model(final.input, final.get_layer("layer_0_mix_norm").output)
    images = tf.random.normal((2, 8, 8, 1))
    banks, chosen = net.layer_banks, tf.constant(arc.layers[0].tokens + 2 * (0, 1, 0, 1, 0, 1))
    given = net.stem(images, training=False)
    wanted, _ = banks.run_layer(given, banks.by_layer(chosen)[0], banks.layers(training=False)[0])
    # The batch norms of shared ops have a larger epsilon.
    np.testing.assert_allclose(tf.nn.relu(layer(images, training=False)), wanted, rtol=3e-3)
