import numpy as np
import pytest

from enas_tf.layers.dropout import Dropout, DropPath, StepRng
from tests import tiny

ONES = np.ones((4000, 2, 2, 1), np.float32)


def test_dropout_keeps_its_share_and_the_mean():
    y = np.array(Dropout(0.8, StepRng(10, seed=0))(ONES, training=True))
    assert set(np.unique(y)) == {0.0, np.float32(1 / np.float32(0.8))}
    assert abs(y.mean() - 1) < 0.02


def test_nothing_is_dropped_outside_training():
    rng = StepRng(10, seed=0)
    for layer in (Dropout(0.5, rng), DropPath(0.5, 1.0, rng)):
        np.testing.assert_array_equal(layer(ONES, training=False), ONES)


@pytest.mark.parametrize(("step", "depth"), [(0, 1.0), (4, 1.0), (9, 1.0), (9, 0.5), (99, 1.0)])
def test_drop_path_grows_with_depth_and_step(step, depth):
    rng = StepRng(num_steps=10, seed=1)
    rng.step.assign(step)
    y = np.array(DropPath(0.6, depth, rng)(ONES, training=True))
    by_example = y.reshape(len(y), -1)
    assert np.all(by_example == by_example[:, :1])
    keep = 1 - min(1, (step + 1) / 10) * (1 - (1 - depth * 0.4))
    assert abs(np.mean(by_example[:, 0] > 0) - keep) < 0.03
    np.testing.assert_allclose(y[y > 0], 1 / keep, rtol=1e-5)


def test_masks_follow_from_seed_step_and_layer():
    def mask(seed, step, layer):
        rng = StepRng(10, seed)
        rng.step.assign(step)
        layers = [Dropout(0.5, rng) for _ in range(layer + 1)]
        return np.array(layers[layer](ONES, training=True)).tobytes()

    assert mask(0, 3, 1) == mask(0, 3, 1)
    assert len({mask(0, 3, 1), mask(1, 3, 1), mask(0, 4, 1), mask(0, 3, 0)}) == 4


def test_replicas_join_to_the_masks_of_one_device():
    strategy = tiny.two_devices()
    with strategy.scope():
        rng = StepRng(10, seed=0)
        layers = Dropout(0.5, rng), DropPath(0.5, 1.0, rng)
    rng.step.assign(9)
    for layer in layers:
        whole = np.array(layer(ONES, training=True))
        of_replicas = strategy.experimental_local_results(
            strategy.run(lambda layer=layer: layer(ONES[:2000], training=True))
        )
        np.testing.assert_array_equal(np.concatenate(of_replicas), whole)
        assert np.any(whole[:2000] != whole[2000:])
