"""The export of language models."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.data.text import END, SPACE, UNKNOWN, TextData, Tokens
from enas_tf.export.base import extra_texts, write_version
from enas_tf.export.checks import checked, of_shape
from enas_tf.export.exporters import ExportedModel, Signatures
from enas_tf.export.serving_files import Requests

_WARMUP_WORDS = 20

# What separates words for Python, but for the line break.
_SPACES = r"[\p{Zs}\t\r\f\v\x{1c}-\x{1f}\x{85}\x{2028}\x{2029}]+"


def export_text(model: keras.Model, data: TextData, folder: Path, arc: str, card: dict) -> Path:
    """Writes the next version of a language model; see `enas_tf.export.base.write_version`.

    Args:
        model: the trained model, as `enas_tf.rnn.network.deployable` makes it.
        data: the text that it was trained on.
        folder: the model's folder; its versions are folders named by integers.
        arc: the architecture's text.
        card: the content of `assets.extra/model.json`.

    Returns:
        The version's folder.

    Raises:
        UserError: if the folder cannot be written, or the vocabulary lacks the words for the end
            of a line and for unknown words, which scoring needs.
    """
    for word in (END, UNKNOWN):
        if word not in data.vocabulary:
            raise UserError(
                f"the vocabulary of data set {data.name!r} must hold {END} and {UNKNOWN}, by which "
                f"an export scores the ends of lines and unknown words; {word} is missing"
            )
    table = _table(data)
    extra = extra_texts(arc, card, {"labels.txt": data.vocabulary})
    signatures = _signatures(model, data, table)
    warmup = _warmup(model, data)
    return write_version(ExportedModel(folder, model, signatures, extra, warmup, [table]))


def next_words(version: Path, words: np.ndarray, count: int) -> list[tuple[int, float]]:
    """Predicts the word after each of the last `count` words, by an export alone.

    Args:
        version: the version's folder.
        words: ids of words, int32, `(time,)`.
        count: the number of predictions, at most `time`.

    Returns:
        For each of these words, the id of the most likely next word and its probability.
    """
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    hidden = signature.structured_input_signature[1]["state"].shape[1]
    outputs = signature(tokens=tf.constant(words[np.newaxis]), state=tf.zeros([1, hidden]))
    log_probabilities = outputs["log_probabilities"].numpy()[0, -count:]
    best = log_probabilities.argmax(axis=-1)
    return [(int(w), float(np.exp(p[w]))) for w, p in zip(best, log_probabilities, strict=True)]


def _warmup(model: keras.Model, data: TextData) -> Requests:
    """Returns a request for each signature, with the first test words in the form it takes."""
    words = data.splits["test"][:_WARMUP_WORDS]
    text = _joined([data.vocabulary[word] for word in words], data.tokens)
    state = np.zeros((1, model.input["state"].shape[1]), np.float32)
    return {
        "serving_default": {"tokens": words[np.newaxis], "state": state},
        "score_text": {"text": [text]},
    }


def _table(data: TextData) -> tf.lookup.StaticVocabularyTable | tf.lookup.StaticHashTable:
    """Returns a table from words to ids; words outside the vocabulary map to the unknown word."""
    ids = tf.range(len(data.vocabulary), dtype=tf.int32)
    keys = [_written(word, data.tokens) for word in data.vocabulary]
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), ids)
    return tf.lookup.StaticHashTable(pairs, default_value=data.unknown)


def _signatures(model: keras.Model, data: TextData, table: tf.lookup.StaticHashTable) -> Signatures:
    hidden, vocabulary = model.input["state"].shape[1], data.vocab_size
    end = data.vocabulary.index(END)

    def serve(tokens: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = of_shape(tokens, (None, None), "tokens")
        is_known = tf.reduce_all((tokens >= 0) & (tokens < vocabulary))
        tokens = checked(
            tokens, is_known, f"tokens must be ids of words, from 0 to {vocabulary - 1}"
        )
        state = of_shape(state, (None, hidden), "state")
        rows, states = tf.shape(tokens)[0], tf.shape(state)[0]
        numbers = tf.strings.as_string(rows), " and ", tf.strings.as_string(states)
        state = checked(
            state, tf.equal(rows, states), "tokens and state must have as many rows, not ", *numbers
        )
        return model({"tokens": tokens, "state": state}, training=False)

    def score_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = table.lookup(_split(text, data.tokens))
        num_tokens = tf.cast(words.row_lengths(), tf.int32)
        targets = words.to_tensor()
        # The first word is predicted as if it followed the end of a line.
        inputs = tf.pad(targets, [[0, 0], [1, 0]], constant_values=end)[:, :-1]
        state = tf.zeros([tf.shape(targets)[0], hidden])
        scores = serve(inputs, state)["log_probabilities"]
        scores = tf.gather(scores, targets, batch_dims=2)
        scores *= tf.sequence_mask(num_tokens, tf.shape(targets)[1], scores.dtype)
        log_probability = tf.reduce_sum(scores, axis=1)
        return {
            "log_probability": log_probability,
            "perplexity": tf.exp(-log_probability / tf.cast(num_tokens, tf.float32)),
            "num_tokens": num_tokens,
        }

    tokens = tf.TensorSpec((None, None), tf.int32, name="tokens")
    state = tf.TensorSpec((None, hidden), tf.float32, name="state")
    text = tf.TensorSpec((None,), tf.string, name="text")
    return {
        "serving_default": tf.function(serve).get_concrete_function(tokens, state),
        "score_text": tf.function(score_text).get_concrete_function(text),
    }


def _split(text: tf.Tensor, tokens: Tokens) -> tf.RaggedTensor:
    """Splits texts as the training data: in words or characters, with an end after each line."""
    # As Python does, which reads the training data.
    text = tf.strings.strip(tf.strings.regex_replace(text, _SPACES, " "))
    if tokens == "characters":
        lines = tf.strings.regex_replace(text, r"\s*\n\s*", "\n")
        return tf.strings.unicode_split(tf.strings.join([lines, "\n"]), "UTF-8")
    lines = tf.strings.regex_replace(text, r"\s*\n\s*", f" {END} ")
    return tf.strings.split(tf.strings.join([lines, END], " "))


def _written(word: str, tokens: Tokens) -> str:
    """Returns a word of the vocabulary as `_split` finds it in a text."""
    return {END: "\n", SPACE: " "}.get(word, word) if tokens == "characters" else word


def _joined(words: Sequence[str], tokens: Tokens) -> str:
    """Returns a text of these words, with line breaks for the ends of lines."""
    between = "" if tokens == "characters" else " "
    text = between.join(_written(word, tokens) for word in words)
    return text.replace(f" {END} ", "\n")
