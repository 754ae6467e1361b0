import json
from pathlib import Path

import pytest

from enas_tf.core.errors import UserError
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.rnn.space import RnnSpace
from enas_tf.zoo import PUBLISHED, resolve

REFERENCE = Path(__file__).parents[1] / "../shared/reference/published_architectures.json"

SPACES = {
    "macro_enas": MacroSpace(24),
    "micro_enas": MicroSpace(5),
    "rnn_enas": RnnSpace(8),
    "rnn_darts": RnnSpace(8),
}


@pytest.mark.parametrize("name", SPACES)
def test_published_architectures_read_back_in_all_forms(name):
    published, space = PUBLISHED[name], SPACES[name]
    assert (published.name, published.space) == (name, space.name)
    assert published.source
    arc = space.parse(published.text)
    text, op_set = resolve(name, space.name)
    assert type(space).of(text, op_set=op_set) == (space, arc)
    assert op_set == str(space.table.default)
    assert space.parse(str(arc)) == space.parse(arc.to_json()) == space.parse(arc.tokens) == arc


def test_published_architectures_are_the_authors():
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is missing: it holds the authors' texts")
    reference = json.loads(REFERENCE.read_text())
    assert PUBLISHED.keys() == reference.keys()
    for name, theirs in reference.items():
        assert str(SPACES[name].parse(PUBLISHED[name].text)) == theirs["arc"]


def test_resolve_reads_files(tmp_path):
    path = tmp_path / "arc.txt"
    path.write_text("0 1\n1 2\n", encoding="utf-8-sig")
    assert resolve(str(path), "rnn") == ("0 1\n1 2\n", None)


@pytest.mark.parametrize(
    "text", ["0 1 2", "0,1,2", "5", "0,x", "{}", "|none~0|", "0 " * 5000, "", "a b"]
)
def test_resolve_leaves_text_alone(text):
    assert resolve(text, "rnn") == (text, None)


@pytest.mark.parametrize("word", ["enas", "no/such/arc.txt", "5.txt", "."])
def test_a_lone_unknown_word_is_refused(word):
    with pytest.raises(UserError) as error:
        resolve(word, "rnn")
    assert str(error.value) == (
        f"no published architecture and no file is called {word}: give one of macro_enas, "
        "micro_enas, rnn_enas, rnn_darts, an existing file, or the architecture's integers"
    )


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "arc.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"arc\.txt cannot be read: .*codec"):
        resolve(str(path), "rnn")


def test_an_architecture_of_another_space_says_so():
    with pytest.raises(UserError, match=r"of the macro space, which launchers\.cifar_macro takes"):
        resolve("macro_enas", "micro")
