"""Every space on two devices, step by step like one device on the joined batch."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.dropout import StepRng
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.nasbench201.recipe import NASBENCH201
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.training.child_trainer import ChildTrainer
from tests import tiny

STEPS = 20
KEEP = {"keep_prob": 0.7}
CASES = {
    # Steep steps would make what rounding changes grow, behind each relu and max pool.
    "micro": (
        CIFAR_MICRO,
        {"num_nodes": 1},
        {"out_filters": 8, "lr_max": 1e-4, **KEEP},
        ((16, 16, 3), 3),
    ),
    "macro": (
        CIFAR_MACRO,
        {"num_layers": 4},
        {"out_filters": 4, "lr_max": 0.01, **KEEP},
        ((6, 6, 3), 3),
    ),
    "nasbench201": (
        NASBENCH201,
        {"num_nodes": 3},
        {"out_filters": 4, "lr_max": 0.01, **KEEP},
        ((6, 6, 3), 3),
    ),
    "rnn": (PTB_RNN, {"num_nodes": 3}, {"hidden_size": 6, "init_range": 0.5}, (9,)),
}
# The micro space has most kinds of layers, and text is of another kind.
NAMES = [pytest.param(n, marks=() if n in ("micro", "rnn") else pytest.mark.long) for n in CASES]


def settings_of(recipe, space, child):
    settings = recipe.presets["tiny"]
    return replace(
        settings,
        space=replace(settings.space, **space),
        child=replace(settings.child, **child),
        search=replace(settings.search, batch_size=8),
    )


def batches_of(sizes):
    """A batch for one replica in each step."""
    generator = np.random.default_rng(0)
    for step in range(STEPS):
        if len(sizes) == 2:
            images = generator.normal(size=(16, *sizes[0])).astype(np.float32)
            yield images, generator.integers(0, sizes[1], 16).astype(np.int32)
        else:
            words = generator.integers(0, sizes[0], (4, 6)).astype(np.int32)
            yield words[:, :-1], words[:, 1:], np.bool_(step % 5 == 0)


def doubled(batch):
    """The batch of both replicas, of which each has the same half: batch norm then sees no more."""
    return tuple(tf.constant(np.concatenate([a, a]) if a.ndim else a) for a in batch)


def trained(strategy, recipe, settings, sizes, jit_compile=False, steps=STEPS):
    """The losses of all steps, and the weights before and behind them."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        supernet = recipe.domain.supernet(settings, sizes, StepRng(STEPS, 0))
        task = recipe.domain.search_task(settings, None)
        trainer = ChildTrainer(supernet, supernet, task, settings.child, jit_compile)
    controller = recipe.controller(settings.space, settings.controller)
    tokens = controller.sample(STEPS, tf.constant([0, 0])).tokens
    losses, before = [], [np.array(variable) for variable in trainer.trained]
    for step, batch in zip(range(steps), batches_of(sizes), strict=False):
        if strategy.num_replicas_in_sync == 1:
            given = doubled(batch)
        else:
            given = tuple(
                strategy.experimental_distribute_values_from_function(lambda _, a=a: tf.constant(a))
                for a in batch
            )
        losses.append(float(trainer.train_step(given, tokens[step])["loss"]))
    return losses, before, [np.array(variable) for variable in trainer.trained]


def largest(some, others):
    """The largest difference of any two weights in the same place."""
    return max(np.abs(a - b).max() for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_two_devices_train_shared_weights_like_one(name, record_property):
    recipe, space, child, sizes = CASES[name]
    settings = settings_of(recipe, space, child)
    one = trained(tf.distribute.OneDeviceStrategy("CPU:0"), recipe, settings, sizes)
    two = trained(tiny.two_devices(), recipe, settings, sizes)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-3)
    difference, moved = largest(one[2], two[2]), largest(one[1], one[2])
    of_largest = difference / max(np.abs(weights).max() for weights in one[2])
    record_property("largest difference", f"{of_largest:.1e}")
    print(
        f"\n  {name}: largest difference {of_largest:.1e} of the largest weight, "
        f"{difference / moved:.1e} of the largest change"
    )
    assert of_largest < 1e-3
    # Gradients that were summed and not averaged would be as far off as the weights have moved.
    assert difference < 0.3 * moved


@pytest.mark.parametrize("name", NAMES)
def test_one_program_serves_all_architectures(name):
    recipe, space, child, sizes = CASES[name]
    settings = settings_of(recipe, space, child)
    supernet = recipe.domain.supernet(settings, sizes, StepRng(STEPS, 0))
    task = recipe.domain.search_task(settings, None)
    trainer = ChildTrainer(supernet, supernet, task, settings.child, jit_compile=True)
    controller = recipe.controller(settings.space, settings.controller)
    inputs, targets, *extra = doubled(next(batches_of(sizes)))
    inputs, targets = task.padded(inputs, targets)
    programs = set()
    for tokens in controller.sample(3, tf.constant([0, 0])).tokens:
        compiler = trainer._backward.experimental_get_compiler_ir(inputs, targets, *extra, tokens)
        # What XLA needs to know of the architecture would be a constant.
        programs.add(compiler(stage="hlo"))
    assert len(programs) == 1


def test_compiled_steps_on_two_devices_are_those_of_one_that_is_not_compiled():
    # The rnn space alone, whose programs are small: compiling takes most of the time.
    recipe, _, child, sizes = CASES["rnn"]
    # XLA draws other masks.
    without = {field: 0.0 for field in vars(recipe.presets["tiny"].child) if field[:5] == "drop_"}
    settings = settings_of(recipe, {"num_nodes": 2}, child | without)
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    wanted = trained(one, recipe, settings, sizes, steps=3)
    compiled = trained(tiny.two_devices(), recipe, settings, sizes, jit_compile=True, steps=3)
    np.testing.assert_allclose(compiled[0], wanted[0], rtol=1e-4)
    assert largest(compiled[2], wanted[2]) < 1e-3 * largest(wanted[1], wanted[2])
