"""The smallest parts on which search, derivation and training run, within seconds."""

import functools
import json
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.base import DataConfig, ImageData, Split
from enas_tf.layers.dropout import Dropout, StepRng
from enas_tf.layers.norm import BatchNorm
from enas_tf.layers.op_bank import OpBank
from enas_tf.micro.space import MicroSpace
from enas_tf.search.algorithms import make_algorithm
from enas_tf.search.controller import Controller, ControllerConfig
from enas_tf.search.search import Search, SearchConfig
from enas_tf.search.weights import SharedWeights
from enas_tf.tasks.images import ImageTask
from enas_tf.training import session as sessions
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import make_strategy
from enas_tf.training.final_training import Training
from enas_tf.training.train_config import ImageTrainConfig

SPACE = MicroSpace(1)
CHILD = ImageChildConfig(aux_head=False, keep_prob=0.8)
SEARCH = SearchConfig(
    num_epochs=2, batch_size=4, max_steps=5, updates_per_epoch=4, arcs_per_update=2
)


def data():
    """Makes grey 4x4 images of three classes, which differ in one light pixel, with noise."""
    generator = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count, dtype=np.int32) % 3
        images = generator.integers(0, 120, (count, 4, 4, 1))
        images[np.arange(count), labels] += 100
        return Split(images.astype(np.uint8), labels)

    splits = {"train": split(45), "valid": split(24), "test": split(18)}
    return ImageData("tiny", splits, ("a", "b", "c"), flip=False)


class Supernet(keras.Model):
    """A supernet of one hidden layer, whose units are scaled by each token."""

    def __init__(self, space, child, image_shape, num_classes, rng, moving_averages=False):
        super().__init__()
        self.first_rows = np.cumsum([0, *space.sizes[:-1]])
        self.scales = self.add_weight(shape=(sum(space.sizes), 8), name="scales")
        self.flatten = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.dropout = Dropout(child.keep_prob, rng)
        self.classifier = keras.layers.Dense(num_classes)

    def call(self, images, tokens, training=False):
        scale = tf.reduce_sum(tf.gather(self.scales, tokens + self.first_rows), axis=0)
        x = self.hidden(self.flatten(images)) * (1 + scale)
        return self.classifier(self.dropout(x, training=training)), None


def network(arc, child, image_shape, num_classes, rng):
    """Makes a network with batch norm and dropout, the same for every architecture."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(4, 3),
            BatchNorm(),
            keras.layers.Flatten(),
            Dropout(child.keep_prob, rng),
            keras.layers.Dense(num_classes),
        ]
    )


class TinyController(Controller):
    """A controller that makes all choices from the output of one LSTM step."""

    def build(self, input_shape):
        size = self.config.lstm_size
        self.start = self.add_weight(shape=(1, size), name="start")
        self.kernel = self.add_weight(shape=(size, sum(self.space.sizes)), name="kernel")

    def decide(self, pick):
        zeros = tf.zeros([1, self.config.lstm_size])
        output, _ = self.step(tf.convert_to_tensor(self.start), [zeros, zeros])
        logits = tf.split(tf.matmul(output, self.kernel), self.space.sizes, axis=1)
        for slot, logits_of_slot in enumerate(logits):
            pick(slot, tf.repeat(logits_of_slot, pick.batch, axis=0))


def images_and_banks(sets):
    """Makes two batches of images, and `sets` weight sets for each op of the micro space."""
    keras.utils.set_random_seed(0)
    banks = []
    for op in SPACE.rows:
        bank = OpBank(op, sets, channels=4, moving=False)
        bank.build()
        banks.append(bank.read())
    images = tuple(tf.random.normal((2, 6, 5, 4)) for _ in range(2))
    return images, tuple(banks)


@functools.cache
def two_devices():
    """Returns a mirrored strategy; cached, since collectives of two strategies get mixed up."""
    return make_strategy("mirrored")


def search(
    strategy=None, child=CHILD, config=SEARCH, jit_compile=False, cost_of=None, **controller
):
    """Makes a search, with the same initial weights at each call."""
    keras.utils.set_random_seed(1)
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    task = ImageTask(data(), DataConfig(pad=1), child)
    algorithm = make_algorithm(TinyController, SPACE, ControllerConfig(lstm_size=4, **controller))
    with strategy.scope():
        rng = StepRng(config.max_steps * config.num_epochs, seed=3)
        supernet = Supernet(SPACE, child, (4, 4, 1), 3, rng)
        supernet(tf.zeros([1, 4, 4, 1]), tf.zeros([8], tf.int32))
        trainer = ChildTrainer(supernet, supernet, task, child, jit_compile)
    weights = SharedWeights(trainer, task, config, rng, seed=3)
    return Search(weights, algorithm, config, seed=3, cost_of=cost_of)


def training(config, child=CHILD, strategy=None):
    """Makes a training of a network."""
    keras.utils.set_random_seed(1)
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    images = data().with_validation() if config.use_validation else data()
    task = ImageTask(images, DataConfig(pad=1), child, cutout=1)
    with strategy.scope():
        rng = StepRng(100, seed=3)
        layers = network(None, child, (4, 4, 1), 3, rng)
        trainer = ChildTrainer(
            layers,
            lambda images, training: (layers(images, training=training), None),
            task,
            child,
        )
    return Training(trainer, task, config, rng, seed=3)


TRAIN = ImageTrainConfig(num_epochs=3, batch_size=6, max_steps=5, use_validation=False)


def values(variables):
    """Returns copies of the values of variables, by name."""
    return {name: variable.numpy() for name, variable in variables.items()}


def assert_same(actual, wanted):
    """Checks that arrays by name are the same, bit for bit."""
    assert actual.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def records(run, phase):
    """Returns a phase's metrics without those that depend on the machine's speed."""
    lines = run.path(phase, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [
        {n: v for n, v in r.items() if n != "seconds" and not n.endswith("per_second")}
        for r in records
    ]


class Killed(BaseException):
    """The end of a process in a test; a BaseException, so that no code catches it."""


@contextmanager
def many_checkpoints():
    """Makes sessions record metrics every two steps, and write a checkpoint each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "LOG_EVERY", 2)
        patch.setattr(sessions, "_CHECKPOINT_SECONDS", 0)
        yield


@contextmanager
def killed_at(step):
    """Ends the work after it has done a step, before the step is counted."""
    advance = sessions.Session.advance

    def killing(self, *args, **kwargs):
        if self.step + 1 == step:
            raise Killed
        advance(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sessions.Session, "advance", killing)
        yield
