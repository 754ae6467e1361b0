"""Readers of text: the Penn Treebank, the files of any other corpus, Python's own manual."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from enas_tf.core.errors import UserError
from enas_tf.core.store_copies import local_folder
from enas_tf.core.stores import is_remote
from enas_tf.data.text import END, SPACE, UNKNOWN, TextData, Tokens

SPLITS = ("train", "valid", "test")
OFFLINE = "--dataset=pydoc runs offline"

Sentences = list[list[str]]
"""The words of each sentence or line, without `<eos>`."""

# These apply to a paragraph of the manual. Examples, grammar, tables and headings are not prose.
# Prose ends like a sentence, or it begins like one and ends with a colon.
_NO_PROSE = re.compile(r">>>|::=|[=*~-]{4}|^\s*[+|]", re.MULTILINE)
_PROSE = re.compile(r".*(?<!\.\.)[.?!]\)?|[A-Z\"].*:")
_MARKS = re.compile(r"^(?:\*|\d+\.|\[\d+\]) | ?\[\d+\]")  # marks of list items and footnotes
_QUOTED = re.compile(r'"([^"]+)"')
_NAME = re.compile(r"[\w.]+(?:\(\))?")
_SENTENCE_END = re.compile(r"(?<=[.?!:]) (?=[\"“*(<]*[A-Z])")
_WORD = re.compile(r"<code>|\w+(?:[-'.]\w+)*|[.,;:?!()]")
_LEAST_WORDS = 4  # in a sentence; shorter ones are labels such as "Note:"
_LEAST_COUNT = 2  # of a word in the manual's training split; rarer words are unknown


def load_text(dataset: str, data_dir: str | Path | None, tokens: Tokens = "words") -> TextData:
    """Reads a text into memory.

    In files, white space separates words; where characters are wanted, it is a character. Each line
    that is not blank ends with the word `<eos>`, and another `<eos>` comes before the first line.
    The vocabulary is that of the training split, ordered by falling frequency and then
    alphabetically. Words of other splits that are not in the vocabulary become `<unk>`, which is
    added if the training split does not have it.

    Args:
        dataset: `"ptb"`; `"text:PATH"` with the files train.txt, valid.txt and test.txt in PATH,
            which may be the address of a store; or `"pydoc"`, the prose of Python's own manual.
        data_dir: the folder that holds ptb.train.txt, ptb.valid.txt and ptb.test.txt; only for
            `"ptb"`.
        tokens: what the vocabulary consists of.

    Raises:
        UserError: the data set is unknown, or a file is missing, unreadable or empty.
    """
    if dataset == "pydoc":
        return _data_of(dataset, _read_pydoc(), tokens, _LEAST_COUNT)
    if dataset.startswith("text:"):
        folder = dataset.removeprefix("text:")
        files = _read_files(folder, "", dataset, "put the three files there")
        return _data_of(dataset, files, tokens)
    if dataset != "ptb":
        raise UserError(
            f"data set {dataset!r} is unknown; text comes from ptb, from text:PATH with the files "
            f"train.txt, valid.txt and test.txt in PATH, or from pydoc; {OFFLINE}"
        )
    how = "they are in the folder data of Mikolov's archive simple-examples.tgz"
    if data_dir is None:
        raise UserError(
            f"data set 'ptb' needs --data_dir=FOLDER with the files ptb.train.txt, ptb.valid.txt "
            f"and ptb.test.txt; {how}, or {OFFLINE}"
        )
    files = _read_files(data_dir, "ptb.", dataset, how)
    return _data_of(dataset, files, tokens)


def text_to_ids(sentences: Iterable[list[str]], index: Mapping[str, int]) -> np.ndarray:
    """Returns the ids of the words in sentences, with `<eos>` after each sentence.

    Args:
        sentences: the words of each sentence.
        index: the id of each word, of `<eos>`, and of `<unk>`, which replaces all other words.

    Returns:
        int32 `(count,)`, where each `<eos>` counts as a word.
    """
    words = (word for sentence in sentences for word in [*sentence, END])
    return np.fromiter((index.get(word, index[UNKNOWN]) for word in words), np.int32)


def _data_of(
    name: str, texts: Mapping[str, Sentences], tokens: Tokens, least_count: int = 1
) -> TextData:
    """Makes the vocabulary from the training split, and the ids of all splits."""
    if tokens == "characters":
        texts = {split: list(map(_characters, text)) for split, text in texts.items()}
    counts = Counter(word for sentence in texts["train"] for word in [*sentence, END])
    kept = {word for word, count in counts.items() if count >= least_count} | {END, UNKNOWN}
    vocabulary = tuple(sorted(kept, key=lambda word: (-counts[word], word)))
    index = {word: place for place, word in enumerate(vocabulary)}
    # An empty sentence comes first, so that its `<eos>` is there to predict the first word from.
    splits = {split: text_to_ids([[], *text], index) for split, text in texts.items()}
    return TextData(name, splits, vocabulary, tokens)


def _characters(words: Sequence[str]) -> list[str]:
    return [SPACE if character == " " else character for character in " ".join(words)]


def _read_files(path: str | Path, prefix: str, dataset: str, how: str) -> dict[str, Sentences]:
    """Reads the words of each line in the three files of a corpus; errors say `how` to get them."""
    names = {split: f"{prefix}{split}.txt" for split in SPLITS}
    folder = local_folder(path, names.values())
    files = {split: folder / name for split, name in names.items()}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise UserError(
            f"data set {dataset!r} needs {', '.join(missing)}, not found in folder "
            f"{path if is_remote(path) else folder.absolute()}; {how}, or {OFFLINE}"
        )
    return {split: _read_lines(file) for split, file in files.items()}


def _read_lines(file: Path) -> Sentences:
    """Reads the words of each line that is not blank."""
    try:
        with file.open(encoding="utf-8-sig") as lines:  # some editors write a byte order mark
            sentences = [words for line in lines if (words := line.split())]
    except UnicodeDecodeError as error:
        raise UserError(f"file {file} is not UTF-8 text ({error.reason}); convert it") from error
    except OSError as error:
        raise UserError(f"file {file} cannot be read: {error.strerror}") from error
    if not sentences:
        raise UserError(f"file {file} has no words; put text into it, or {OFFLINE}")
    return sentences


def _read_pydoc() -> dict[str, Sentences]:
    """Reads the prose of Python's own manual, sentence by sentence.

    A tenth of the topics is for validation and a tenth for test. A checksum of a topic's name
    decides, so that a topic is in the same split in every version of Python. Some topics repeat
    others word for word, so only the first copy of a sentence is kept, and no two splits share one.
    """
    from pydoc_data.topics import topics  # half a megabyte, and needed for this data set only

    texts: dict[str, Sentences] = {split: [] for split in SPLITS}
    seen = set()
    for name in sorted(topics):
        split = {0: "valid", 1: "test"}.get(zlib.crc32(name.encode()) % 10, "train")
        for words in _prose(topics[name]):
            if len(words) >= _LEAST_WORDS and tuple(words) not in seen:
                seen.add(tuple(words))
                texts[split].append(words)
    return texts


def _prose(topic: str) -> Iterator[list[str]]:
    """Yields words and punctuation of each sentence; quoted code but plain names is `<code>`."""
    for lines in re.split(r"\n\s*\n", topic):
        paragraph = " ".join(re.sub(r"-\n\s*", "-", lines).split())  # joins divided words
        paragraph = _MARKS.sub("", paragraph).replace("’", "'")
        quotes_match = paragraph.count('"') % 2 == 0
        if _NO_PROSE.search(lines) or not _PROSE.fullmatch(paragraph) or not quotes_match:
            continue
        text = _QUOTED.sub(
            lambda code: code[1] if _NAME.fullmatch(code[1]) else "<code>", paragraph
        )
        for sentence in _SENTENCE_END.split(text):
            yield _WORD.findall(sentence.lower())
