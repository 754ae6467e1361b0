from types import SimpleNamespace

import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.layers.dropout import StepRng, retry_offset
from enas_tf.training.epochs import TrainingEpochs


class Recorder:
    """Stands in for trainer, task and session; lists what each is asked for."""

    def __init__(self):
        self.strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        self.config = ImageChildConfig(lr_max=0.4, lr_min=0.2, lr_period=2)
        self.optimizer = SimpleNamespace(learning_rate=None)
        self.rng = StepRng(20, seed=0)
        self.asked, self.traced, self.taken, self.counted = [], [], [], []

    def steps_per_epoch(self, batch_size, at_most):
        return {(6, 5): 5}[batch_size, at_most]

    def num_examples(self, batch_size):
        return 10 * batch_size

    def train_batches(self, batch_size, *, seed, steps, shard):
        self.asked.append((batch_size, seed, steps, shard))
        return tf.data.Dataset.from_tensor_slices(list(steps))

    def trace(self, batches, *extra):
        self.traced.append(extra)

    def train_step(self, batch, *extra):
        now = int(self.rng.step), int(self.rng.retry), self.optimizer.learning_rate
        self.taken.append((int(batch), *extra, *now))
        return {"loss": 0.5}

    def advance(self, *counted, **now):
        self.counted.append((*counted, now))


def epochs_of(recorder):
    config = SimpleNamespace(batch_size=6, max_steps=5)
    return TrainingEpochs(recorder, recorder, config, recorder.rng, seed=3)


def test_trains_the_steps_that_an_epoch_has_left():
    recorder, after = Recorder(), []
    epochs = epochs_of(recorder)
    assert (epochs.steps_per_epoch, epochs.seed) == (5, 3)
    epochs.run(recorder, "child", 1, range(3, 5), lambda step: (f"arc {step}",), after.append)
    # Steps 8 and 9 of all; the second epoch of a cosine of two is half way down.
    assert recorder.asked == [(6, 3, range(8, 10), (0, 1))]
    assert recorder.traced == [("arc 3",)]
    learning_rate = recorder.taken[0][-1]
    assert abs(learning_rate - 0.3) < 1e-9
    assert recorder.taken == [
        (8, "arc 3", 8, 0, learning_rate),
        (9, "arc 4", 9, 0, learning_rate),
    ]
    assert after == [3, 4]
    now = {"learning_rate": learning_rate}
    assert recorder.counted == [
        ("child", 1, 60, {"loss": 0.5}, False, now),
        ("child", 1, 60, {"loss": 0.5}, True, now),
    ]


def test_a_retry_draws_other_numbers():
    recorder = Recorder()
    epochs = epochs_of(recorder)
    epochs.start(2)
    epochs.run(recorder, "train", 0, range(5))
    assert epochs.seed == 3 + retry_offset(2) != 3
    [(_, seed, steps, _)] = recorder.asked
    assert (seed, steps) == (epochs.seed, range(5))
    assert [taken[:3] for taken in recorder.taken] == [(n, n, 2) for n in range(5)]
    assert recorder.traced == [()]
    epochs.start(0)
    assert epochs.seed == 3 and int(recorder.rng.retry) == 0
