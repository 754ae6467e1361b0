import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.corpora import load_text
from enas_tf.data.text import TextDataConfig
from enas_tf.export.text import _warmup, export_text, next_words
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.network import build, deployable
from enas_tf.rnn.space import RnnSpace
from enas_tf.tasks.language import LanguageTask
from enas_tf.training.child_trainer import ChildTrainer

# Every activation, and a loose end.
ARC = "0 0 1 1 1 2 3 3"
WORDS = ["the", "cat", "sat", "on", "a", "mat", "und", "fraß"]

# Runs an export where the project cannot be imported: by TensorFlow's C++ runtime, and by Keras.
FRESH = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

sys.modules["enas_tf"] = None
version, inputs, outputs = sys.argv[1:]
calls = np.load(inputs, allow_pickle=True)
results = {}
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], version)

    def call(signature, **fed):
        signature = graph.signature_def[signature]
        options = config_pb2.CallableOptions(
            feed=[signature.inputs[name].name for name in fed],
            fetch=[tensor.name for tensor in signature.outputs.values()],
        )
        # Like a server, and unlike `session.run`, this checks no shapes.
        values = session._make_callable_from_options(options)(*fed.values())
        return dict(zip(signature.outputs, values))

    def refused(tokens, state):
        try:
            return call("serving_default", tokens=tokens, state=state)
        except tf.errors.InvalidArgumentError as error:
            return error.message

    tokens, state = calls["tokens"], calls["state"]
    results["refused"] = [
        refused(tokens, state[:, :5]),
        refused(tokens, state[:1]),
        refused(tokens[0], state),
        refused(tokens + 1000, state),
        refused(tokens - 1000, state),
    ]
    whole = call("serving_default", tokens=tokens, state=state)
    results |= {f"whole/{name}": value for name, value in whole.items()}
    first = call("serving_default", tokens=tokens[:, :3], state=state)
    second = call("serving_default", tokens=tokens[:, 3:], state=first["state"])
    results["in two"] = np.concatenate([first["log_probabilities"], second["log_probabilities"]], 1)
    results |= {f"score/{n}": v for n, v in call("score_text", text=calls["text"]).items()}
np.savez(outputs, **results)
"""


def write_corpus(folder, lines=100):
    generator = np.random.default_rng(0)

    def text(count):
        sizes = generator.integers(1, 9, count)
        return "".join(" ".join(generator.choice(WORDS, size)) + "\n" for size in sizes)

    texts = {"train": text(60), "valid": text(20), "test": text(lines) + "a word unheard of\n"}
    for split, written in texts.items():
        (folder / f"{split}.txt").write_text(written, encoding="utf-8")
    return texts["test"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network, its data, its export's folder, and what a fresh process got from it."""
    folder = tmp_path_factory.mktemp("exported")
    text = write_corpus(folder)
    data = load_text(f"text:{folder}", None)
    keras.utils.set_random_seed(3)
    config = RnnChildConfig(hidden_size=6, init_range=1.5)
    network = build(RnnSpace.of(ARC)[1], config, data.vocab_size, 4, StepRng(10, 0))
    version = export_text(deployable(network), data, folder / "model", ARC, {"loss": 0.5})
    generator = np.random.default_rng(1)
    calls = {
        "tokens": generator.integers(0, data.vocab_size, (2, 7)).astype(np.int32),
        "state": generator.normal(size=(2, 6)).astype(np.float32),
        "text": np.array([text, "the cat", "  fraß \n\n the cat\n", "unheard of"], object),
    }
    np.savez(folder / "inputs.npz", **calls)
    arguments = [version, folder / "inputs.npz", folder / "outputs.npz"]
    (folder / "elsewhere").mkdir()
    command = [sys.executable, "-c", FRESH, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = dict(np.load(folder / "outputs.npz"))
    return network, data, version, calls, results


def log_probabilities(network, tokens, state):
    logits, last = network.advance(tf.constant(tokens), tf.constant(state))
    return tf.nn.log_softmax(logits).numpy(), last.numpy()


def test_words_and_state_in_the_c_runtime(exported):
    network, _, _, calls, results = exported
    wanted, state = log_probabilities(network, calls["tokens"], calls["state"])
    np.testing.assert_allclose(results["whole/log_probabilities"], wanted, atol=1e-5)
    np.testing.assert_allclose(results["whole/state"], state, atol=1e-5)
    assert np.ptp(wanted) > 0.5


def test_a_wrong_request_is_told_what_is_wanted(exported):
    _, data, *_, results = exported
    told = (
        "state must be of shape Nx6, not 2x5",
        "tokens and state must have as many rows, not 2 and 1",
        "tokens must be of shape NxN, not 7",
        *2 * [f"tokens must be ids of words, from 0 to {data.vocab_size - 1}"],
    )
    for line, message in zip(told, results["refused"], strict=True):
        assert line in message


def test_the_state_goes_on_from_call_to_call(exported):
    *_, results = exported
    np.testing.assert_allclose(results["in two"], results["whole/log_probabilities"], atol=1e-5)


def test_the_score_of_a_text_is_the_evaluations(exported):
    network, data, _, _, results = exported
    config = RnnChildConfig(hidden_size=6)
    task = LanguageTask(data, TextDataConfig(sequence_length=5), config)
    trainer = ChildTrainer(network, network, task, config)
    metrics = trainer.evaluate(task.eval_batches("test", 4, (0, 1)))
    assert results["score/perplexity"][0] == pytest.approx(metrics["perplexity"], rel=1e-5)
    assert results["score/num_tokens"][0] == len(data.splits["test"]) - 1 > 400


def test_scores_by_hand(exported):
    network, data, _, _, results = exported
    index = {word: place for place, word in enumerate(data.vocabulary)}
    texts = {
        1: ["the", "cat", "<eos>"],
        2: ["fraß", "<eos>", "the", "cat", "<eos>"],
        3: ["<unk>", "<unk>", "<eos>"],
    }
    for place, words in texts.items():
        ids = np.array([[index["<eos>"], *(index[word] for word in words)]], np.int32)
        scores, _ = log_probabilities(network, ids[:, :-1], np.zeros((1, 6), np.float32))
        wanted = sum(scores[0, n, word] for n, word in enumerate(ids[0, 1:]))
        assert results["score/num_tokens"][place] == len(words)
        assert results["score/log_probability"][place] == pytest.approx(wanted, rel=1e-5)
        perplexity = np.exp(-wanted / len(words))
        assert results["score/perplexity"][place] == pytest.approx(perplexity, rel=1e-5)
    assert results["score/num_tokens"].dtype == np.int32


@pytest.mark.parametrize("word", ["<eos>", "<unk>"])
def test_a_vocabulary_without_the_words_that_scores_need_is_refused(exported, tmp_path, word):
    network, data, *_ = exported
    words = tuple("other" if known == word else known for known in data.vocabulary)
    with pytest.raises(UserError, match=f"must hold <eos> and <unk>, .*; {word} is missing"):
        export_text(deployable(network), replace(data, vocabulary=words), tmp_path, ARC, {})
    assert not list(tmp_path.iterdir())


def test_what_lies_beside_the_model(exported):
    _, data, version, _, _ = exported
    extra = version / "assets.extra"
    assert (extra / "labels.txt").read_text(encoding="utf-8").splitlines() == [*data.vocabulary]
    assert (extra / "arc.txt").read_text() == ARC + "\n"
    assert json.loads((extra / "model.json").read_text()) == {"loss": 0.5}


@pytest.mark.parametrize("modules", ["keras, enas_tf", "enas_tf.layers.dropout"])
def test_keras_loads_the_model_in_a_fresh_process(exported, modules):
    network, _, version, calls, _ = exported
    script = (
        f"import {modules}, sys, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "calls = np.load(sys.argv[2], allow_pickle=True)\n"
        "outputs = model({n: calls[n] for n in ('tokens', 'state')})\n"
        "np.savez(sys.argv[3], **{n: np.array(v) for n, v in outputs.items()})\n"
    )
    root = version.parents[1]
    arguments = [root / "model/model.keras", root / "inputs.npz", root / "keras.npz"]
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True)
    outputs = np.load(root / "keras.npz")
    wanted, state = log_probabilities(network, calls["tokens"], calls["state"])
    np.testing.assert_allclose(outputs["log_probabilities"], wanted, atol=1e-5)
    np.testing.assert_allclose(outputs["state"], state, atol=1e-5)


def test_the_likeliest_next_words(exported):
    network, _, version, calls, _ = exported
    words = calls["tokens"][0]
    wanted, _ = log_probabilities(network, words[np.newaxis], np.zeros((1, 6), np.float32))
    shown = next_words(version, words, 3)
    assert [word for word, _ in shown] == wanted[0, -3:].argmax(axis=-1).tolist()
    assert [p for _, p in shown] == pytest.approx(np.exp(wanted[0, -3:].max(axis=-1)), rel=1e-4)


def test_characters_are_scored_as_they_were_trained_on(tmp_path):
    lines = {"train": "你好 吗\n你们 好\n" * 30, "valid": "你好\n" * 9, "test": "你们 吗\n好\n" * 9}
    for split, text in lines.items():
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    data = load_text(f"text:{tmp_path}", None, "characters")
    keras.utils.set_random_seed(3)
    config = RnnChildConfig(hidden_size=6, init_range=1.5)
    network = build(RnnSpace.of(ARC)[1], config, data.vocab_size, 4, StepRng(10, 0))
    version = export_text(deployable(network), data, tmp_path / "model", ARC, {})
    score = tf.saved_model.load(str(version)).signatures["score_text"]
    texts = ["你们 吗\n好", " 你们\u3000\u2028吗 \x85\x1f \n\n好 ", "你x"]
    found = score(text=tf.constant(texts))
    assert found["num_tokens"].numpy().tolist() == [7, 7, 3]
    # From the end of a line on: four characters, an end, one character, an end.
    ids = data.splits["test"][np.newaxis, :8]
    scores, _ = log_probabilities(network, ids[:, :-1], np.zeros((1, 6), np.float32))
    wanted = sum(scores[0, n, word] for n, word in enumerate(ids[0, 1:]))
    np.testing.assert_allclose(found["log_probability"][:2], [wanted, wanted], rtol=1e-5)
    warmup = _warmup(deployable(network), data)["score_text"]["text"]
    assert warmup == ["\n" + "你们 吗\n好\n" * 2 + "你们 吗\n"]
