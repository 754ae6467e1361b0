"""Steps in 16 bits against the same steps in 32, from the same weights, in every space."""

import functools
import math
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import CellChildConfig, ImageChildConfig, RnnChildConfig
from enas_tf.data.base import DataConfig, ImageData, Split
from enas_tf.data.text import TextData, TextDataConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.macro import network as macro_network
from enas_tf.macro.network import MacroChildConfig
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.micro import network as micro_network
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.rnn import network as rnn_network
from enas_tf.rnn.space import RnnSpace
from enas_tf.rnn.supernet import RnnSupernet
from enas_tf.tasks.images import ImageTask, NetworkForward
from enas_tf.tasks.language import LanguageTask
from enas_tf.training.child_trainer import ChildTrainer

MICRO, MACRO, RNN = MicroSpace(2), MacroSpace(7, 7), RnnSpace(4)
# Every op of each space.
MICRO_ARC = MICRO.parse((0, 0, 1, 3, 1, 1, 2, 2, 1, 4, 0, 1, 0, 3, 2, 0))
MACRO_ARC = MACRO.parse([n for op in range(7) for n in (op, *([0, 1, 1] * 2)[:op])])
RNN_ARC = RNN.parse((0, 0, 1, 1, 2, 2, 3, 3))

SHAPE, CLASSES = (8, 8, 3), 4
WORDS, BATCH = 20, 64
MICRO_CONFIG = CellChildConfig(out_filters=8, num_layers=3, drop_path_keep_prob=0.8, grad_clip=4.0)
MACRO_CONFIG = MacroChildConfig(out_filters=8, aux_head=True, grad_clip=4.0)
RNN_CONFIG = RnnChildConfig(hidden_size=16, init_range=0.3, activation_l2=0.1, grad_clip=0.5)


def images(count=64):
    """Noise with a light corner for each class."""
    generator = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int32) % CLASSES
    pixels = generator.integers(0, 150, (count, *SHAPE))
    for image, label in zip(pixels, labels, strict=True):
        image[4 * (label % 2) :, 4 * (label // 2) :][:4, :4] += 100
    split = Split(pixels.astype(np.uint8), labels)
    return ImageData("corners", dict.fromkeys(("train", "valid", "test"), split), (*"abcd",), False)


def image_learner(config: ImageChildConfig, make, wrap=lambda child: child):
    child = make(config, SHAPE, CLASSES, StepRng(10, 0))
    task = ImageTask(images(), DataConfig(pad=0), config)
    return ChildTrainer(child, wrap(child), task, config), task


def text_learner(child):
    words = np.random.default_rng(0).integers(0, WORDS, 400).astype(np.int32)
    data = TextData("noise", dict.fromkeys(("train", "valid", "test"), words), (*"ab",))
    task = LanguageTask(data, TextDataConfig(10), RNN_CONFIG)
    return ChildTrainer(child, child, task, RNN_CONFIG), task


def micro_supernet():
    return image_learner(MICRO_CONFIG, lambda *sizes: MicroSupernet(MICRO, *sizes, True))


def micro_final():
    build = micro_network.build
    return image_learner(MICRO_CONFIG, lambda *sizes: build(MICRO_ARC, *sizes), NetworkForward)


def macro_supernet():
    return image_learner(MACRO_CONFIG, lambda *sizes: MacroSupernet(MACRO, *sizes, True))


def macro_final():
    build = macro_network.build
    return image_learner(MACRO_CONFIG, lambda *sizes: build(MACRO_ARC, *sizes), NetworkForward)


def rnn_supernet():
    return text_learner(RnnSupernet(RNN, RNN_CONFIG, WORDS, BATCH, StepRng(10, 0)))


def rnn_final():
    return text_learner(rnn_network.build(RNN_ARC, RNN_CONFIG, WORDS, BATCH, StepRng(10, 0)))


CHILDREN = {
    micro_supernet: MICRO_ARC,
    micro_final: None,
    macro_supernet: MACRO_ARC,
    macro_final: None,
    rnn_supernet: RNN_ARC,
    rnn_final: None,
}
"""What makes a trainer, and the architecture that its child takes beside a batch."""


def step(make, policy):
    """What a step reports, by what it changes each variable, and an evaluation behind it."""
    keras.mixed_precision.set_dtype_policy(policy)
    # A graph of each child takes longer than all that runs in it.
    tf.config.run_functions_eagerly(True)
    try:
        keras.utils.set_random_seed(0)
        with tf.distribute.OneDeviceStrategy("CPU:0").scope():
            trainer, task = make()
        arc = CHILDREN[make]
        tokens = [tf.constant(arc.tokens)] if arc else []
        before = [variable.numpy() for variable in trainer.child.variables]
        batches = task.train_batches(BATCH, seed=0, steps=range(1), shard=(0, 1))
        report = trainer.train_step(next(iter(batches)), *tokens)
        after = [variable.numpy() for variable in trainer.child.variables]
        metrics = trainer.evaluate(task.eval_batches("valid", BATCH, (0, 1)), *tokens)
    finally:
        tf.config.run_functions_eagerly(False)
        keras.mixed_precision.set_dtype_policy("float32")
    assert {variable.dtype for variable in trainer.child.variables} == {"float32"}
    changes = [new - old for new, old in zip(after, before, strict=True)]
    return {name: float(value) for name, value in report.items()}, changes, metrics


@functools.cache
def exact(make):
    """The step in 32 bits."""
    return step(make, "float32")


class Tolerance(NamedTuple):
    """Largest errors, as parts of the values in 32 bits.

    Twice to three times what is there: an error in the last of few bits goes through up to twenty
    layers, each of which may take it across a relu's kink.
    """

    losses: float
    grad_norm: float
    evaluation: float
    changes: float
    """Of all variables together."""
    change: float
    """Of each variable for itself; infinite where its sign is not certain."""


TOLERANCES = {
    # Eight bits of mantissa, and eleven.
    ("mixed_bfloat16", "images"): Tolerance(0.02, 0.1, 0.15, 0.15, math.inf),
    ("mixed_float16", "images"): Tolerance(0.004, 0.03, 0.04, 0.05, 0.8),
    ("mixed_bfloat16", "text"): Tolerance(0.0002, 0.01, 0.0002, 0.015, 0.2),
    ("mixed_float16", "text"): Tolerance(0.00002, 0.002, 0.00002, 0.003, 0.05),
}


def error(actual, wanted):
    return np.linalg.norm(actual - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("make", CHILDREN)
def test_a_step_in_16_bits_is_close_to_one_in_32(make, policy):
    report, changes, metrics = step(make, policy)
    wanted_report, wanted_changes, wanted_metrics = exact(make)
    kind = "text" if "perplexity" in metrics else "images"
    at_most = TOLERANCES[policy, kind]
    for name in wanted_report.keys() & {"loss", "aux_loss"}:
        assert report[name] == pytest.approx(wanted_report[name], rel=at_most.losses)
    assert report["grad_norm"] == pytest.approx(wanted_report["grad_norm"], rel=at_most.grad_norm)
    assert metrics["loss"] == pytest.approx(wanted_metrics["loss"], rel=at_most.evaluation)
    joined = [np.concatenate([c.ravel() for c in each]) for each in (changes, wanted_changes)]
    assert 0 < error(*joined) < at_most.changes
    for number, (actual, wanted) in enumerate(zip(changes, wanted_changes, strict=True)):
        # What batch norm takes out again has no gradient but what rounding leaves.
        if np.abs(wanted).max() > 1e-6:
            assert error(actual, wanted) < at_most.change, number
