import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.experiment.initial_weights import take
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.norm import EPSILON, MovingAverages
from enas_tf.macro.banks import LayerBanks, layer_function
from enas_tf.macro.network import MacroChildConfig, build
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.training.distribution import make_strategy

SMALL = MacroChildConfig(out_filters=4, keep_prob=1.0, aux_head=True)
TOKENS = (0, 1, 0, 2, 1, 0)


def supernet(image_shape=(8, 8, 1), config=SMALL, space=None, moving_averages=False):
    keras.utils.set_random_seed(0)
    rng = StepRng(10, seed=0)
    return MacroSupernet(space or MacroSpace(3), config, image_shape, 3, rng, moving_averages)


def normalised(x, epsilon=EPSILON):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + epsilon)


SEVEN = MacroSpace(2, op_set=7)


@pytest.fixture(scope="module")
def banks():
    """The weights of two layers with all seven ops, and an input."""
    keras.utils.set_random_seed(0)
    banks = LayerBanks(2, SEVEN.rows, 4, moving=False)
    banks.build()
    return banks, tf.random.normal((3, 6, 6, 4))


@pytest.mark.parametrize("op", range(7))
def test_each_op_index_runs_the_op_of_that_name(banks, op):
    banks, images = banks
    w = {name: np.array(variable)[1] for name, variable in banks.banks[op].bank.items()}
    x = np.maximum(normalised(images.numpy() @ np.array(banks.kernel)[1, op]), 0)

    def conv():
        return normalised(tf.nn.conv2d(x, w["kernel"], 1, "SAME").numpy(), 1e-3)

    def separable():
        y = tf.nn.depthwise_conv2d(x, w["depthwise"], [1, 1, 1, 1], "SAME")
        return normalised(y.numpy() @ w["pointwise"], 1e-3)

    def excited():
        y = conv()
        squeezed = np.maximum(y.mean((1, 2)) @ w["squeeze"], 0)
        return y / (1 + np.exp(-squeezed @ w["excite"]))[:, None, None]

    wanted, size = {
        "conv 3x3": (conv, 3),
        "separable conv 3x3": (separable, 3),
        "conv 5x5": (conv, 5),
        "separable conv 5x5": (separable, 5),
        "average pool 3x3": (lambda: keras.layers.AveragePooling2D(3, 1, "same")(x).numpy(), None),
        "max pool 3x3": (lambda: keras.layers.MaxPooling2D(3, 1, "same")(x).numpy(), None),
        "squeeze-and-excitation conv 3x3": (excited, 3),
    }[SEVEN.ops[op]]
    assert {len(kernel) for name, kernel in w.items() if kernel.ndim == 4} == {size} - {None}
    weights = banks.layers(training=True)[1]
    y, _ = layer_function(SEVEN.rows)(images, tf.constant(op), weights)
    np.testing.assert_allclose(y, np.maximum(wanted(), 0), rtol=1e-3, atol=1e-4)


def test_only_the_drawn_weights_get_a_gradient():
    net = supernet()
    images = tf.random.normal((4, 8, 8, 1))
    banks = net.layer_banks
    variables = {bank.op.name: next(iter(bank.bank.values())) for bank in banks.banks[:4]}
    variables["before"] = banks.kernel
    with tf.GradientTape() as tape:
        logits, _ = net(images, tf.constant(TOKENS), training=True)
        loss = tf.reduce_sum(logits**2)
    gradients = tape.gradient(loss, {name: v.value for name, v in variables.items()})

    def moved(name):
        gradient = np.abs(tf.convert_to_tensor(gradients[name]).numpy())
        return (gradient.reshape(3, -1).max(axis=1) > 1e-9).tolist()

    # Layer 0 is a conv 3x3, layer 1 a separable conv 3x3, layer 2 a conv 5x5.
    assert moved("conv 3x3") == [True, False, False]
    assert moved("separable conv 3x3") == [False, True, False]
    assert moved("conv 5x5") == [False, False, True]
    rows = np.abs(tf.convert_to_tensor(gradients["before"]).numpy()).max(axis=(2, 3)) > 1e-9
    assert np.argwhere(rows).tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("bits", [(0, 0, 0), (1, 0, 1)])
def test_joins_batches_of_unknown_size(bits):
    net = supernet()
    (skip_1, *skips_2), images = bits, tf.random.stateless_normal((2, 8, 8, 1), (0, 0))
    tokens = tf.constant([0, 1, skip_1, 2, *skips_2])
    call = tf.function(
        lambda images, tokens: net(images, tokens)[0],
        input_signature=[tf.TensorSpec((None, 8, 8, 1)), tf.TensorSpec((6,), tf.int32)],
    )
    wanted, _ = net(images, tokens)
    np.testing.assert_allclose(call(images, tokens), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 9, 1), (28, 28, 1), (48, 48, 3)])
def test_images_of_any_size(shape):
    net = supernet(shape)
    images = tf.random.normal((2, *shape))
    with tf.GradientTape() as tape:
        logits, aux_logits = net(images, tf.constant(TOKENS), training=True)
        loss = tf.reduce_sum(logits**2) + tf.reduce_sum(aux_logits**2)
    gradients = tape.gradient(loss, [net.stem.kernel.value, net.classifier.value])
    assert logits.shape == aux_logits.shape == (2, 3)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    assert net(images, tf.constant(TOKENS))[1] is None


def test_parameters_of_the_paper_s_size():
    net = MacroSupernet(MacroSpace(12), MacroChildConfig(), (32, 32, 3), 10, StepRng(1, 0))
    assert net.count_params() == 697_860
    assert len(net.variables) < 30


def test_seven_ops_run():
    space = MacroSpace(4, op_set=7)
    net = supernet(space=space)
    tokens = tf.constant(space.parse("6  6 0  6 0 1  6 1 1 0").tokens)
    logits, _ = net(tf.random.normal((2, 8, 8, 1)), tokens)
    assert np.isfinite(logits).all()


def test_moving_averages_take_in_the_drawn_rows_alone():
    averages = MovingAverages((2, 2, 1))
    mask = tf.constant([[1.0, 0.0], [0.0, 1.0]])[..., tf.newaxis]
    means, variances = tf.constant([[[10.0]], [[20.0]]]), tf.constant([[[3.0]], [[5.0]]])
    averages.update((means, variances), mask)
    np.testing.assert_allclose(averages.mean[..., 0], [[1, 0], [0, 2]])
    np.testing.assert_allclose(averages.variance[..., 0], [[1.2, 1], [1, 1.4]])


def test_by_moving_averages_an_image_does_not_depend_on_its_batch():
    images = tf.random.normal((6, 8, 8, 1))
    tokens = tf.constant(TOKENS)
    for moving, same in ((True, True), (False, False)):
        net = supernet(moving_averages=moving)
        for _ in range(3):
            net(images, tokens, training=True)
        alone, together = net(images[:2], tokens)[0], net(images, tokens)[0][:2]
        assert np.allclose(alone, together, atol=1e-5) is same


def test_moving_averages_of_what_was_never_drawn_stay():
    net = supernet(moving_averages=True)
    net(tf.random.normal((4, 8, 8, 1)), tf.constant(TOKENS), training=True)
    moved = np.abs(np.array(net.layer_banks.averages.mean)).max(axis=2) > 0
    assert np.argwhere(moved).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.all(np.array(net.skip_averages.mean) != 0)
    assert np.all(np.array(net.reductions["0"].averages.variance) != 1)


def test_replicas_share_moving_averages():
    strategy = make_strategy("mirrored")
    with strategy.scope():
        net = supernet(moving_averages=True)
    images = tf.random.normal((2, 4, 8, 8, 1))
    draws = [MacroSpace(3).random(random.Random(seed)).tokens for seed in range(2)]

    def of_replica(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group])
        )

    step = tf.function(lambda x, tokens: net(x, tokens, training=True)[0], autograph=False)
    run = tf.function(lambda *args: strategy.run(step, args=args), autograph=False)
    run(of_replica(images), of_replica(draws))
    for variable in net.non_trainable_variables:
        first, *others = [np.array(v) for v in strategy.experimental_local_results(variable.value)]
        assert all(np.array_equal(first, other) for other in others), variable.path
    assert np.any(np.array(net.layer_banks.averages.mean) != 0)


def test_drop_path_drops_whole_ops_where_something_is_joined():
    config = MacroChildConfig(out_filters=4, keep_prob=1.0, drop_path_keep_prob=0.5)
    net = supernet(config=config)
    x = tf.ones((200, 1, 1, 4))
    net.drop_paths[1]._rng.step.assign(9)
    dropped = net._drop_path(x, tf.constant([1]), 1, training=True).numpy()
    # Depth 2/3 at the last step: kept by 2/3, and scaled by 3/2.
    assert set(np.unique(dropped.round(3))) == {0.0, 1.5}
    assert np.mean(dropped > 0) == pytest.approx(2 / 3, abs=0.1)
    assert np.array_equal(net._drop_path(x, tf.constant([0]), 1, training=True), x)
    assert np.array_equal(net._drop_path(x, tf.constant([1]), 1, training=False), x)


def test_a_final_network_takes_the_drawn_ops_until_channels_double():
    config = MacroChildConfig(out_filters=4, keep_prob=1.0, stem="imagenet")
    # The first pool comes after layer 2; of all ops with weights one is before it.
    space = MacroSpace(9, op_set=7)
    arc = space.parse([op for n in range(9) for op in ((6, 3, 0)[n % 3], *[0] * n)])
    net = supernet((64, 64, 1), config, space, moving_averages=True)
    generator = np.random.default_rng(1)
    for variable in net.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    final = build(arc, config, (64, 64, 1), 3, StepRng(10, 0))
    take(final, net.final_weights(arc, config), "shared", [])

    def weights(layer):
        return [np.squeeze(weight) for weight in final.get_layer(layer).get_weights()]

    banks, averages = net.layer_banks, net.layer_banks.averages
    project = (banks.scale, banks.offset, averages.mean, averages.variance)
    for layer, op in enumerate((6, 3, 0)):
        name = f"layer_{layer}"
        wanted = banks.kernel[layer, op]
        np.testing.assert_array_equal(weights(f"{name}_project_conv")[0], wanted)
        norm = [weight[layer, op] for weight in project]
        np.testing.assert_array_equal(weights(f"{name}_project_norm"), norm)
        bank, moving = banks.banks[op].bank, banks.banks[op].averages
        kernels = [kind for kind in ("kernel", "depthwise", "pointwise") if kind in bank]
        for weight, kind in zip(weights(f"{name}_op_conv"), kernels, strict=True):
            np.testing.assert_array_equal(weight, np.squeeze(bank[kind][layer]))
        norm = [bank["scale"], bank["offset"], moving.mean, moving.variance]
        np.testing.assert_array_equal(weights(f"{name}_op_norm"), [w[layer, 0] for w in norm])
    for end, kind in (("relu", "squeeze"), ("sigmoid", "excite")):
        wanted = np.squeeze(banks.banks[6].bank[kind][0])
        np.testing.assert_array_equal(weights(f"layer_0_op_{end}")[0], wanted)
    # Behind the pool, channels are twice as many.
    assert final.get_layer("layer_3_project_conv").kernel.shape[-1] == 8
    images = tf.random.normal((2, 64, 64, 1))
    last = final.get_layer("stem_3_norm").output
    own = keras.Model(final.input, last)(images, training=False)
    np.testing.assert_allclose(own, net.stem(images, training=False), rtol=1e-4, atol=1e-4)
