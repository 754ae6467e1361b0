from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig, ImageChildConfig
from enas_tf.data.base import DataConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.micro import network as micro_network
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.tasks.images import ImageTask, NetworkForward
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from tests import tiny

CONFIG = ImageChildConfig(aux_head=False, l2=0.01, lr_max=0.1, momentum=0.9)
# Separable convolutions, pools and an identity, in both cells.
ARC = (0, 0, 1, 3, 1, 1, 0, 4)


class Line(keras.Model):
    """`w * x`."""

    def __init__(self, w=1.0):
        super().__init__()
        self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(w), name="w")

    def call(self, x, training=False):
        return self.w * x


class Squares:
    """A task with half the squared distance for a loss."""

    carries_state = False

    def padded(self, inputs, targets):
        return inputs, targets

    def lr_scale(self, inputs):
        return 1.0

    def loss(self, outputs, targets):
        loss = tf.reduce_mean(tf.square(outputs - targets) / 2)
        return loss, {"loss": loss}

    def totals(self, outputs, targets):
        return {"loss": tf.reduce_sum(tf.square(outputs - targets) / 2), "count": size(targets)}

    def metrics(self, totals):
        return {"loss": totals["loss"] / totals["count"]}


def size(targets):
    return tf.cast(tf.size(targets), tf.float32)


def line(config, w=1.0):
    child = Line(w)
    return ChildTrainer(child, child, Squares(), config)


ONES = tf.float32.as_numpy_dtype([1, 1]), tf.float32.as_numpy_dtype([3, 3])


def test_one_step_by_hand():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        trainer = line(CONFIG)
    numbers = trainer.train_step(tuple(map(tf.constant, ONES)))
    # The loss is (w - 3)^2 / 2 + 0.01 w^2 at w = 1; its gradient -2 + 0.02. Nesterov: the first
    # step is rate * (g + momentum * g).
    assert float(numbers["loss"]) == pytest.approx(2)
    assert float(numbers["grad_norm"]) == pytest.approx(1.98)
    assert float(trainer.child.w) == pytest.approx(1 + 0.1 * 1.98 * 1.9)


@pytest.mark.parametrize(
    # Its gradient is that of 0.01 w^2, 0.02.
    ("decay_idle", "idle"),
    [(True, 1 - 0.1 * 0.02 * 1.9), (False, 1)],
)
def test_a_weight_that_takes_no_part_only_decays_or_stays(decay_idle, idle):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        child = Line()
        child.idle = child.add_weight(shape=(), initializer="ones", name="idle")
        trainer = ChildTrainer(child, child, Squares(), replace(CONFIG, decay_idle=decay_idle))
    trainer.train_step(tuple(map(tf.constant, ONES)))
    assert float(child.idle) == pytest.approx(idle)
    assert float(child.w) == pytest.approx(1 + 0.1 * 1.98 * 1.9)


def test_weights_of_ops_that_a_step_leaves_out_decay_or_stay():
    task, after = ImageTask(tiny.data(), DataConfig(), CONFIG), []
    batch = next(iter(task.train_batches(8, seed=0, steps=range(1), shard=(0, 1))))
    for decay_idle in (True, False):
        config = CellChildConfig(out_filters=2, num_layers=3, aux_head=False, l2=0.01, lr_max=0.1)
        config = replace(config, decay_idle=decay_idle)
        keras.utils.set_random_seed(2)
        with tf.distribute.OneDeviceStrategy("CPU:0").scope():
            supernet = MicroSupernet(tiny.SPACE, config, (4, 4, 1), 3, StepRng(1, 0))
            trainer = ChildTrainer(supernet, supernet, task, config)
        before = [weight.numpy() for weight in trainer.trained]
        trainer.train_step(batch, tf.constant(ARC))
        after.append([weight.numpy() for weight in trainer.trained])
    idle = [kept == old for kept, old in zip(after[1], before, strict=True)]
    # ARC has one of the two separable convolutions, in one of the two cells.
    assert 0.5 < np.mean(np.concatenate([one.ravel() for one in idle])) < 0.95
    for old, left_out, decayed, kept in zip(before, idle, *after, strict=True):
        np.testing.assert_array_equal(decayed[~left_out], kept[~left_out])
        # 2 l2 is their gradient, by Nesterov's first step.
        rest = 1 - 0.1 * 2 * 0.01 * 1.9
        np.testing.assert_allclose(decayed[left_out], rest * old[left_out], rtol=1e-5)


def test_two_steps_by_hand():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        trainer = line(replace(CONFIG, l2=0.0))
    batch = tuple(map(tf.constant, ONES))
    trainer.train_step(batch)
    trainer.train_step(batch)
    # m = -2, w = 1 + 0.1 (2 + 0.9 * 2) = 1.38; g = -1.62, m = -1.8 - 1.62 = -3.42,
    # w = 1.38 + 0.1 (1.62 + 0.9 * 3.42).
    assert float(trainer.child.w) == pytest.approx(1.8498)


def test_a_long_gradient_is_cut_to_the_norm():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        trainer = line(replace(CONFIG, grad_clip=0.5, l2=0.0))
    numbers = trainer.train_step(tuple(map(tf.constant, ONES)))
    assert float(numbers["grad_norm"]) == pytest.approx(2)
    assert float(trainer.child.w) == pytest.approx(1 + 0.1 * 0.5 * 1.9)


def test_evaluation_adds_up_batches_of_any_size():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        trainer = line(CONFIG)
    batches = tf.data.Dataset.from_tensor_slices(([1.0, 1, 1], [3.0, 3, 5])).batch(2)
    assert trainer.evaluate(batches) == {"loss": pytest.approx((2 + 2 + 8) / 3)}


def dense(config, strategy):
    """A trainer of two dense layers, with the same weights at each call."""
    keras.utils.set_random_seed(2)
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(6, "tanh"), keras.layers.Dense(3, dtype="float32")]
    with strategy.scope():
        child = keras.Sequential(layers)
        task = ImageTask(tiny.data(), DataConfig(pad=1), config)
        return ChildTrainer(
            child, lambda x, training: (child(x, training=training), None), task, config
        )


@pytest.mark.parametrize("grad_clip", [0.0, 0.3])
def test_two_devices_step_like_one_on_the_joined_batch(grad_clip):
    config = replace(CONFIG, grad_clip=grad_clip)
    one = dense(config, tf.distribute.OneDeviceStrategy("CPU:0"))
    two = dense(config, tiny.two_devices())
    shown = []
    for trainer in (one, two):
        task = ImageTask(tiny.data(), DataConfig(pad=1), config)
        batches = distribute(
            trainer.strategy,
            lambda shard, task=task: task.train_batches(8, seed=0, steps=range(5), shard=shard),
        )
        shown.append([trainer.train_step(batch) for batch in batches])
    for wanted, actual in zip(*shown, strict=True):
        assert {n: float(v) for n, v in actual.items()} == pytest.approx(
            {n: float(v) for n, v in wanted.items()}, rel=1e-4
        )
    # Else the clip was not tried.
    assert max(float(numbers["grad_norm"]) for numbers in shown[0]) > 0.3
    for wanted, actual in zip(one.variables.values(), two.variables.values(), strict=True):
        np.testing.assert_allclose(actual.numpy(), wanted.numpy(), atol=1e-6)


def dense_learner(task):
    return dense(CONFIG, tf.distribute.get_strategy())


def supernet_learner(task):
    """By moving averages, since a batch's statistics depend on the number of replicas."""
    config = CellChildConfig(out_filters=2, num_layers=3, aux_head=False)
    supernet = MicroSupernet(tiny.SPACE, config, (4, 4, 1), 3, StepRng(1, 0), moving_averages=True)
    return ChildTrainer(supernet, supernet, task, config)


def network_learner(task):
    config = CellChildConfig(out_filters=2, num_layers=3)
    network = micro_network.build(tiny.SPACE.parse(ARC), config, (4, 4, 1), 3, StepRng(1, 0))
    return ChildTrainer(network, NetworkForward(network), task, config)


@pytest.mark.parametrize("make", [dense_learner, supernet_learner, network_learner])
def test_two_devices_evaluate_like_one(make):
    tokens = [tf.constant(ARC)] if make is supernet_learner else []
    results = []
    for strategy in (tf.distribute.OneDeviceStrategy("CPU:0"), tiny.two_devices()):
        keras.utils.set_random_seed(2)
        task = ImageTask(tiny.data(), DataConfig(), CONFIG)
        with strategy.scope():
            trainer = make(task)
        # 18 images in batches of 17: the last one has none for one of two replicas.
        batches = distribute(
            strategy, lambda shard, task=task: task.eval_batches("test", 17, shard)
        )
        results.append(trainer.evaluate(batches, *tokens))
    assert results[1] == pytest.approx(results[0], rel=1e-5)


class WithHead(keras.Model):
    """A classifier and an auxiliary one beside it."""

    def __init__(self):
        super().__init__()
        self.main = keras.layers.Dense(3, name="main")
        self.aux_head = keras.layers.Dense(3, name="aux_head")

    def call(self, images, training=False):
        x = tf.reshape(images, [-1, 16])
        aux = self.aux_head(x)
        return self.main(x), aux if training else None


@pytest.mark.parametrize("is_trained", [True, False])
def test_the_auxiliary_head_is_trained_only_where_asked_for(is_trained):
    config = replace(CONFIG, aux_head=True, train_aux_head=is_trained)
    task = ImageTask(tiny.data(), DataConfig(), config)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        child = WithHead()
        child(tf.zeros([1, 4, 4, 1]), training=True)
        trainer = ChildTrainer(child, child, task, config)
    assert len(config.trained(child)) == (4 if is_trained else 2)
    before = [weight.numpy() for weight in child.weights]
    batches = task.train_batches(8, seed=0, steps=range(1), shard=(0, 1))
    numbers = trainer.train_step(next(iter(batches)))
    assert "aux_loss" in numbers
    changed = {
        weight.path.split("/")[-2]
        for weight, value in zip(child.weights, before, strict=True)
        if not np.array_equal(weight, value)
    }
    assert changed == ({"main", "aux_head"} if is_trained else {"main"})


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_float32_weights(policy):
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        trainer = dense(CONFIG, tf.distribute.OneDeviceStrategy("CPU:0"))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    exact = dense(CONFIG, tf.distribute.OneDeviceStrategy("CPU:0"))
    task = ImageTask(tiny.data(), DataConfig(), CONFIG)
    batches = list(task.train_batches(8, seed=0, steps=range(3), shard=(0, 1)))
    for batch in batches:
        numbers, wanted = trainer.train_step(batch), exact.train_step(batch)
        # Eight bits of mantissa.
        assert float(numbers["grad_norm"]) == pytest.approx(float(wanted["grad_norm"]), rel=0.05)
    for weight, value in zip(trainer.child.weights, exact.child.weights, strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_allclose(weight, value, atol=0.01)
        assert not np.array_equal(weight, value)


def test_every_variable_of_child_and_optimizer_is_kept():
    trainer = dense(CONFIG, tf.distribute.OneDeviceStrategy("CPU:0"))
    # Kernel and bias of two layers; for each its momentum; iterations and learning rate.
    assert sorted(name.partition("/")[0] for name in trainer.variables) == (
        4 * ["child"] + 6 * ["optimizer"]
    )
