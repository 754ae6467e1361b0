"""Exports of the smallest networks, made in a second each."""

import keras
import numpy as np

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.corpora import load_text
from enas_tf.export.images import export_images
from enas_tf.export.text import export_text
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.network import build, deployable
from enas_tf.rnn.space import RnnSpace
from tests import tiny

RNN_ARC = "0 0 1 1"


def image_network():
    """A linear classifier of the tiny images, whose classes are told apart by three pixels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(image))
    return keras.Model(image, [logits])


def export_small_images(folder):
    """Exports it; returns the version and its data."""
    data = tiny.data()
    return export_images(image_network(), data, folder, "0 0", {}), data


def export_small_text(folder):
    """Exports a language model of a corpus that it writes beside it; returns version and data."""
    corpus = folder.parent / "corpus"
    corpus.mkdir(parents=True)
    words = np.random.default_rng(0).choice(["the", "cat", "sat", "fraß"], (3, 40, 5))
    for split, lines in zip(("train", "valid", "test"), words, strict=True):
        text = "".join(" ".join(line) + "\n" for line in lines)
        (corpus / f"{split}.txt").write_text(text, encoding="utf-8")
    data = load_text(f"text:{corpus}", None)
    keras.utils.set_random_seed(3)
    config = RnnChildConfig(hidden_size=6, init_range=1.5)
    network = build(RnnSpace.of(RNN_ARC)[1], config, data.vocab_size, 4, StepRng(10, 0))
    return export_text(deployable(network), data, folder, RNN_ARC, {}), data
