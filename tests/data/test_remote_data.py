import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store
from enas_tf.data.corpora import load_text
from enas_tf.data.images import _tfds_folder
from enas_tf.micro.space import MicroSpace
from enas_tf.search.truth import read_truth
from enas_tf.zoo import resolve
from tests.stand_in_store import store

__all__ = ["store"]


@pytest.mark.parametrize("dataset, prefix", [("text:s3://bucket/corpus", ""), ("ptb", "ptb.")])
def test_text_is_read_from_a_store(store, dataset, prefix):
    corpus = Store("s3://bucket/corpus")
    for split in ("train", "valid"):
        corpus.write(f"{prefix}{split}.txt", f"a word of {split}\n".encode())
    with pytest.raises(UserError, match=rf"{prefix}test\.txt, not found in folder s3://bucket/cor"):
        load_text(dataset, "s3://bucket/corpus")
    corpus.write(f"{prefix}test.txt", b"a word\n")
    data = load_text(dataset, "s3://bucket/corpus")
    assert {"a", "word", "train"} <= set(data.vocabulary)


def test_tfds_gets_a_copy_of_one_data_set(store):
    data = Store("s3://bucket/tfds")
    data.write("mnist/3.0.1/info.json", b"{}")
    data.write("cifar10/1.0/info.json", b"{}")
    folder = _tfds_folder("mnist:3.*.*", "s3://bucket/tfds")
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == ["mnist"]
    assert (folder / "mnist/3.0.1/info.json").read_text() == "{}"


def test_an_architecture_and_a_table_are_read_from_a_store(store):
    store().pipe_file("/b/arc.txt", b"0 0 1 0\n")
    store().pipe_file("/b/truth.csv", b"arch,accuracy\r\n0 0 0 0 0 0 0 0,91.5\r\n")
    assert resolve("s3://b/arc.txt", "micro") == ("0 0 1 0\n", None)
    truth = read_truth("s3://b/truth.csv", None, MicroSpace(1))
    assert truth.accuracy([0] * 8) == 91.5 and truth.source == "s3://b/truth.csv (column accuracy)"
