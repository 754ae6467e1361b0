"""What a cell found in the rnn space has to beat: word frequencies, and an LSTM of its size.

    python -m benchmarks.language_baselines --arc="0 0 0 1 1 2 0 3" [--preset=tiny] \
        [--dataset=pydoc] [--data_dir=FOLDER] [--workdir=FOLDER]

Prints one JSON line with the test perplexity of the words' frequencies in the training split
(each counted once more, so that no word is impossible), and that of an LSTM with as many weights
as the network of the architecture given. The LSTM is trained as `launchers.ptb_rnn train` trains
that network with the same preset: the same batches, epochs, dropout and optimiser.
"""

import argparse
import json
import math
import tempfile
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from benchmarks.command import run
from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextData
from enas_tf.experiment.settings import Settings
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.language_model import CarriedState, SequenceDropout
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.rnn.space import RnnSpace
from enas_tf.tasks.language import RnnOutputs
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.final_training import Training
from enas_tf.training.run_folder import Run


class LstmNetwork(keras.Model):
    """A language model with an LSTM in place of a searched cell; called like an `RnnNetwork`."""

    def __init__(
        self, config: RnnChildConfig, vocab_size: int, batch_size: int, rng: StepRng
    ) -> None:
        super().__init__()
        size = config.hidden_size
        self.dropout = SequenceDropout(config, vocab_size, 0, rng)
        initializer = keras.initializers.RandomUniform(-config.init_range, config.init_range)
        self.embedding = self.add_weight(shape=(vocab_size, size), initializer=initializer)
        self.lstm = keras.layers.LSTM(size, return_sequences=True, return_state=True)
        self.lstm.build((None, None, size))
        # The LSTM has two states, which are carried side by side as one.
        self.carried = CarriedState(batch_size, 2 * size)
        self.carried.build()
        self.built = True

    def call(self, words: tf.Tensor, starts: tf.Tensor, training: bool = False) -> RnnOutputs:
        """Returns the outputs for a batch of words, with the sum of squares of all weights."""
        state = tf.split(self.carried.read(tf.shape(words)[0], starts, training), 2, axis=1)
        embedding = tf.convert_to_tensor(self.embedding)
        x = tf.gather(embedding, words)
        masks = self.dropout.draw(tf.shape(words)[0]) if training else None
        if masks:
            for mask in (masks.embedding, masks.input):
                x *= 1 if mask is None else mask[:, tf.newaxis]
            x *= 1 if masks.word is None else tf.gather(masks.word, words)
        states, *last = self.lstm(x, initial_state=state)
        self.carried.write(tf.concat(last, axis=1), training)
        features = states
        if masks and masks.output is not None:
            features *= masks.output[:, tf.newaxis]
        squares = [2 * tf.nn.l2_loss(weight) for weight in self.trainable_variables]
        return RnnOutputs(features, embedding, states, tf.add_n(squares))


def lstm_size(params: int, vocab_size: int) -> int:
    """Returns the hidden size at which an LSTM and its embedding have about `params` weights."""
    sizes = range(1, params)
    return min(sizes, key=lambda h: abs(h * vocab_size + 8 * h * h + 4 * h - params))


def unigram_perplexity(data: TextData) -> float:
    """Returns the test perplexity of the words' frequencies in the training split."""
    # Each word is counted once more, so that no test word is impossible.
    counts = 1 + np.bincount(data.splits["train"], minlength=data.vocab_size)
    log_probabilities = np.log(counts / counts.sum())
    return math.exp(-log_probabilities[data.splits["test"][1:]].mean())


def train_lstm(settings: Settings, data: TextData, params: int, workdir: str) -> dict:
    """Trains an LSTM of about `params` weights; returns what `train/result.json` holds."""
    task = PTB_RNN.domain.train_task(settings, data)
    config = settings.train.child(settings.child)
    config = replace(config, hidden_size=lstm_size(params, data.vocab_size))
    train = settings.train
    steps = task.steps_per_epoch(train.batch_size, train.max_steps) * train.num_epochs
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        rng = StepRng(steps, settings.common.seed)
        network = LstmNetwork(config, data.vocab_size, train.batch_size, rng)
        trainer = ChildTrainer(network, network, task, config)
    training = Training(trainer, task, train, rng, settings.common.seed)
    params = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    return training.run(Run(workdir), "LSTM", params)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arc", required=True)
    parser.add_argument("--preset", default="tiny", choices=list(PTB_RNN.presets))
    parser.add_argument("--dataset")
    parser.add_argument("--data_dir")
    parser.add_argument("--workdir", default=tempfile.mkdtemp())
    given = parser.parse_args()
    settings = PTB_RNN.presets[given.preset]
    dataset = given.dataset or settings.common.dataset
    common = replace(settings.common, dataset=dataset, data_dir=given.data_dir)
    settings = replace(settings, common=common)
    keras.utils.set_random_seed(common.seed)
    data = PTB_RNN.domain.load(settings)
    sizes = PTB_RNN.domain.sizes(data)
    params = PTB_RNN.domain.count_cost(RnnSpace.of(given.arc)[1], settings, sizes).params
    lstm = train_lstm(settings, data, params, given.workdir)
    print(json.dumps({"unigram": unigram_perplexity(data), "params": params, "lstm": lstm}))


if __name__ == "__main__":
    run(main)
