import re
import subprocess
import sys

import pytest

from enas_tf.core.errors import UserError
from enas_tf.micro.space import MicroSpace
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.truth import Truth, read_truth
from tests.launching import ROOT

SPACE = Nasbench201Space(2)
HEADER = "arch,valid,test"
WHOLE = [f"|{op}~0|,{60 + number},{50 + number / 2}" for number, op in enumerate(SPACE.ops)]


@pytest.fixture
def table(tmp_path):
    """Writes a table's lines; returns its path."""

    def write(*lines):
        path = tmp_path / "table.csv"
        # Spreadsheets write a byte order mark.
        path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
        return str(path)

    return write


def test_reads_the_first_column_or_the_one_that_is_named(table):
    path = table(HEADER, *WHOLE)
    truth = read_truth(path, None, SPACE)
    assert truth.accuracies == {(op,): 60.0 + op for op in range(5)}
    assert (truth.best, truth.accuracy([3]), truth.source) == (64.0, 63.0, f"{path} (column valid)")
    assert read_truth(path, "test", SPACE).accuracies[(3,)] == 51.5
    truth.check_complete(SPACE)


@pytest.mark.parametrize(
    ("space", "texts"),
    [
        (MicroSpace(1), ["0 0 1 1 0 2 1 4", "0 0 1 1 0 2 1 3"]),
        (RnnSpace(2), ["0 0, 1 1", "0 1 1 2"]),
    ],
    ids=["micro", "rnn"],
)
def test_works_with_any_space_whose_architectures_it_names(table, space, texts):
    path = table("accuracy,arch", *(f'{50 + n},"{text}"' for n, text in enumerate(texts)), "")
    truth = read_truth(path, None, space)
    assert [truth.accuracy(space.parse(text).tokens) for text in texts] == [50, 51]


@pytest.mark.parametrize(
    ("lines", "column", "message"),
    [
        (["arch", "|none~0|"], None, "must have a column arch and one of accuracies; it has arch"),
        (["cell,valid"], None, "must have a column arch and one of accuracies; it has cell, valid"),
        ([], None, "must have a column arch .* it has none"),
        ([HEADER, WHOLE[0]], "tests", "has no column tests; give one of valid, test by"),
        ([HEADER, WHOLE[0], "|max_pool~0|,1,2"], None, ", line 3: token 1 .* got max_pool"),
        ([HEADER, "0 0 0,1,2"], None, r", line 2: .* must be 1 \(2 nodes\), got 3"),
        ([HEADER, WHOLE[0], "", "1,60"], None, "line 4: 3 values expected, got 2"),
        ([HEADER, "1,60,x"], "test", "line 2: test must be an accuracy in percent, .* got 'x'"),
        ([HEADER, "1,nan,1"], None, "line 2: valid must be an accuracy in percent, .* got 'nan'"),
        ([HEADER, "1,101,1"], None, "line 2: valid must be .* from 0 to 100, got '101'"),
        ([HEADER, "0,60,1", "1,5,5", "|none~0|,61,1"], None, "line 4: .* is in line 2 already"),
        ([HEADER, "0,0.61,1", "1,0.7,1"], None, "no architecture with valid over 1: .* in percent"),
        ([HEADER], None, "no architecture with valid over 1"),
        ([HEADER, '"0,1'], None, "cannot be read: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(table, lines, column, message):
    path = table(*lines)
    with pytest.raises(UserError, match=message) as error:
        read_truth(path, column, SPACE)
    assert path in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=f"true accuracies {re.escape(str(path))} cannot be"):
            read_truth(str(path), None, SPACE)


def test_what_the_table_lacks_is_told():
    truth = Truth("a.csv, valid,", {(0,): 60.0})
    with pytest.raises(UserError, match=r"^a\.csv, valid, does not have the architecture 4$"):
        truth.accuracy([4])
    with pytest.raises(UserError, match="valid, has 1 of the 5 architectures of the nasbench201"):
        truth.check_complete(SPACE)


def test_needs_no_tensorflow():
    code = "import sys, enas_tf.search.truth; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
