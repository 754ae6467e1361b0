"""Texts that the tests write, Python's manual, and a part of the Penn Treebank where it is."""

import pydoc_data.topics
from pathlib import Path

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.data import corpora
from enas_tf.data.corpora import load_text, text_to_ids

PTB = Path(__file__).parents[2] / "../shared/data/ptb-small"


def words_of(data, split):
    """A split's text, but for the end that all of them begin with."""
    first, *words = (data.vocabulary[word] for word in data.splits[split])
    assert first == "<eos>"
    return " ".join(words)


def write(folder, train="b a b\n", valid="a\n", test="b\n", prefix=""):
    for split, text in {"train": train, "valid": valid, "test": test}.items():
        (folder / f"{prefix}{split}.txt").write_text(text, encoding="utf-8")


def test_files_by_hand(tmp_path):
    write(
        tmp_path, train=" the cat sat \n\n  \nthe dog\tsat\nön it", valid="the bird\n\n", test="it"
    )
    data = load_text(f"text:{tmp_path}", None)
    # Three ends, two of "sat" and "the", and the others once; unknown words are not in the text.
    assert data.vocabulary == ("<eos>", "sat", "the", "cat", "dog", "it", "ön", "<unk>")
    assert data.name == f"text:{tmp_path}"
    assert {split: words.tolist() for split, words in data.splits.items()} == {
        "train": [0, 2, 3, 1, 0, 2, 4, 1, 0, 6, 5, 0],
        "valid": [0, 2, 7, 0],
        "test": [0, 5, 0],
    }
    assert all(words.dtype == np.int32 for words in data.splits.values())
    assert data.unknown == 7


def test_unknown_words_of_the_training_text_are_words_like_others(tmp_path):
    write(tmp_path, train="<unk> b <unk>\n<unk> a", valid="c b", prefix="ptb.")
    data = load_text("ptb", tmp_path)
    assert data.vocabulary == ("<unk>", "<eos>", "a", "b")
    assert words_of(data, "valid") == "<unk> b <eos>"


def test_a_byte_order_mark_is_no_word(tmp_path):
    write(tmp_path, train="\ufeffa b")
    assert load_text(f"text:{tmp_path}", None).vocabulary == ("<eos>", "a", "b", "<unk>")


def test_text_to_ids():
    index = {"<eos>": 4, "<unk>": 7, "a": 2}
    assert text_to_ids([["a", "b"], ["a"]], index).tolist() == [2, 7, 4, 2, 4]


def test_penn_treebank():
    if not PTB.is_dir():
        pytest.skip(f"the Penn Treebank is not in {PTB}")
    data = load_text("ptb", str(PTB))
    # Words of the files and their lines that are not blank, counted by wc and grep.
    counts = {split: len(words) - 1 for split, words in data.splits.items()}
    assert counts == {"train": 70_390 + 3_370, "valid": 39_676 + 1_881, "test": 17_865 + 940}
    assert data.vocab_size == len(set(data.vocabulary)) == 6_022 <= 10_000
    assert data.vocabulary[:5] == ("the", "<unk>", "<eos>", "N", "of")
    assert data.unknown == 1
    # Lines hold nothing but these words.
    ends = {split: int((words[1:] == 2).sum()) for split, words in data.splits.items()}
    assert ends == {"train": 3_370, "valid": 1_881, "test": 940}
    assert words_of(data, "valid").startswith("no it was n't black monday <eos> but while the new")
    assert words_of(data, "train").startswith("consumers may want to move their telephones")
    assert data.splits["train"].max() == 6_021


def test_manual():
    data = load_text("pydoc", None)
    counts = {split: len(words) for split, words in data.splits.items()}
    assert 35_000 < counts["train"] < 60_000
    assert 3_000 < counts["test"] < 7_000
    assert 3_000 < counts["valid"] < 7_000
    assert 1_500 < data.vocab_size < 2_500
    for word in ("the", "object", "__init__", "built-in", "object's", "<code>", "("):
        assert word in data.vocabulary
    unknown = {split: (words == data.unknown).mean() for split, words in data.splits.items()}
    assert unknown["train"] < 0.05
    assert max(unknown.values()) < 0.1


def test_no_sentence_of_the_manual_is_there_twice():
    data = load_text("pydoc", None)
    sentences = []
    for words in data.splits.values():
        words = words[1:]
        ends = np.flatnonzero(words == data.vocabulary.index("<eos>"))
        sentences += [tuple(part) for part in np.split(words, ends + 1)[:-1]]
    # Some differ in rare words alone, which are unknown.
    known = [s for s in sentences if data.unknown not in s]
    assert len(set(known)) == len(known) > 1000


# By the checksums of their names, "break" is for training, "attribute-access" for validation,
# "assert" for test.
TOPICS = {
    "break": """The "break" statement
*********************

   break_stmt ::= "break"

It ends the near-
est *loop* [1], as in "for x in y:".  This isn’t
the “end” of **all** loops; but the loop ends.

>>> break
Traceback (most recent call last):

* it also ends the loop of ten (10) loops. And the nearest loop ends.

   for x in range(10):
       print(x)

+-----------+----------+
| The loop. | The end. |
+-----------+----------+

Note:

This "quotes only the start.

[1] The loop "range()" is like "dict.items()":
""",
    "attribute-access": "The loop of attributes ends.\n\nAnd the nearest loop ends.",
    "assert": "The loop of attributes ends. Is it the end of all (10) loops?",
}


def test_prose_of_the_manual_by_hand(monkeypatch):
    monkeypatch.setattr(pydoc_data.topics, "topics", TOPICS)
    monkeypatch.setattr(corpora, "_LEAST_COUNT", 1)
    data = load_text("pydoc", None)
    # Topics come in the order of their names, and what one has said no other says again.
    assert words_of(data, "test") == (
        "the loop of <unk> ends . <eos> is it the end of all ( 10 ) loops <unk> <eos>"
    )
    assert words_of(data, "valid") == "<unk> the <unk> loop ends . <eos>"
    assert words_of(data, "train") == (
        "it ends the near-est loop , as in <code> . <eos> "
        "this isn't the end of all loops ; but the loop ends . <eos> "
        "it also ends the loop of ten ( 10 ) loops . <eos> "
        "the loop range ( ) is like dict.items ( ) : <eos>"
    )


def test_rare_words_of_the_manual_are_unknown(monkeypatch):
    topics = {"break": "One loop and two.\n\nTwo loops and one.", "assert": "One loop and two!"}
    monkeypatch.setattr(
        pydoc_data.topics, "topics", topics | {"attribute-access": "One and two loops."}
    )
    data = load_text("pydoc", None)
    assert words_of(data, "train") == "one <unk> and two . <eos> two <unk> and one . <eos>"
    assert data.vocabulary == (".", "<eos>", "and", "one", "two", "<unk>")
    assert words_of(data, "valid") == "one and two <unk> . <eos>"


@pytest.mark.parametrize(
    ("dataset", "data_dir", "message"),
    [
        ("wikitext", None, "data set 'wikitext' is unknown; text comes from ptb, from text:PATH"),
        ("ptb", None, "data set 'ptb' needs --data_dir=FOLDER with the files ptb.train.txt"),
        ("ptb", "{}", r"needs ptb.train.txt, ptb.valid.txt, ptb.test.txt, not found in folder /.*"),
        ("text:{}", None, r"needs valid.txt, not found in folder /.*; put the three files there"),
        ("text:{}/nowhere", None, r"needs train.txt, valid.txt, test.txt, .*/nowhere;"),
    ],
)
def test_missing_data_and_how_to_get_them(tmp_path, dataset, data_dir, message):
    write(tmp_path)
    (tmp_path / "valid.txt").unlink()
    data_dir = data_dir and data_dir.format(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load_text(dataset.format(tmp_path), data_dir)
    assert "--dataset=pydoc runs offline" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"file .*/test.txt has no words"),
        (b" \n\n", r"file .*/test.txt has no words"),
        (b"caf\xe9 noir\n", r"file .*/test.txt is not UTF-8 text \(.*\); convert it"),
    ],
)
def test_faults_of_files_are_named_in_one_line(tmp_path, content, message):
    write(tmp_path)
    (tmp_path / "test.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_text(f"text:{tmp_path}", None)
    assert "\n" not in str(caught.value)


def test_characters_of_text_without_spaces(tmp_path):
    for split, text in {
        "train": "你好 吗\n你 们\u3000好\n",
        "valid": "你坏\n",
        "test": "好\n",
    }.items():
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    data = load_text(f"text:{tmp_path}", None, "characters")
    assert set(data.vocabulary) == {"你", "好", "吗", "们", "<space>", "<eos>", "<unk>"}
    shown = ["".join(f"{data.vocabulary[w]}|" for w in data.splits[s]) for s in ("train", "valid")]
    assert shown == [
        "<eos>|你|好|<space>|吗|<eos>|你|<space>|们|<space>|好|<eos>|",
        "<eos>|你|<unk>|<eos>|",
    ]
    assert data.tokens == "characters"
    assert [data.unknown_share(split) for split in ("train", "valid")] == [0, 0.25]
    words = load_text(f"text:{tmp_path}", None)
    assert words.unknown_share("valid") == pytest.approx(1 / 3)
