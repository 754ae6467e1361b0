from dataclasses import dataclass

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.op_table import OpTable
from enas_tf.macro.space import MacroArc, MacroSpace
from enas_tf.micro.space import MicroArc, MicroSpace
from enas_tf.rnn.space import RnnArc, RnnSpace


@dataclass(frozen=True)
class Named:
    name: str


TABLE = OpTable((Named("conv 3x3"), Named("max pool"), Named("identity"), Named("more")), default=2)


@pytest.mark.parametrize(
    ("op_set", "names", "canonical"),
    [
        ("2", ["conv 3x3", "max pool"], "2"),
        (3, ["conv 3x3", "max pool", "identity"], "3"),
        # In the table's order, whatever the order of the names.
        ("identity, conv_3x3", ["conv 3x3", "identity"], "conv 3x3,identity"),
        ("max  pool,conv 3x3", ["conv 3x3", "max pool"], "2"),
        ("more", ["more"], "more"),
    ],
)
def test_a_set_is_of_first_rows_or_of_names(op_set, names, canonical):
    assert [row.name for row in TABLE.choose(op_set)] == names
    assert TABLE.canonical(op_set) == canonical
    assert TABLE.choose(canonical) == TABLE.choose(op_set)


@pytest.mark.parametrize(
    ("op_set", "message"),
    [
        ("0", "space.ops must be from 1 to 4, so many of 0 conv 3x3, 1 max pool, 2 identity, "),
        ("5", "or names of these, got 5"),
        ("conv_3x3,conv_5x5", "no op is called 'conv 5x5'; give a number, or names of conv 3x3, "),
        ("", "no op is called ''"),
        ("more,more", "space.ops names more twice"),
    ],
)
def test_what_the_table_does_not_have_is_refused_in_one_line(op_set, message):
    with pytest.raises(UserError) as error:
        TABLE.choose(op_set)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_architecture_is_the_same_in_all_sets_of_first_rows():
    six, seven = (MacroSpace(2, op_set).parse("5 0 0") for op_set in (6, 7))
    assert six == seven and seven.op_set == "6"
    assert MacroSpace(2, 7).parse("6 0 0").op_set == "7"
    assert MacroArc(six.layers, "7") == six


# The same integers, of the usual numbering and of names.
PAIRS = [
    (MicroSpace(1), MicroSpace(1, "max_pool_3x3,identity"), "0 0 1 1 0 1 1 0", "max pool 3x3"),
    (MacroSpace(2), MacroSpace(2, "conv 5x5, average pool 3x3"), "0 1 0", "conv 5x5"),
    (RnnSpace(2), RnnSpace(2, "sigmoid,identity"), "0 0 1 1", "sigmoid"),
]


@pytest.mark.parametrize(("usual", "named", "text", "first"), PAIRS, ids=["micro", "macro", "rnn"])
def test_names_number_the_ops_anew(usual, named, text, first):
    arc = named.parse(text)
    assert arc != usual.parse(text) and arc.space == named
    assert named.ops[0] == first and first in named.explain(arc)
    # JSON says which set it is of, and any space with these ops reads it.
    assert type(arc).from_json(arc.to_json()) == arc
    assert type(named).of(arc.to_json()) == (named, arc)
    assert usual.parse(arc.to_json()).rows[usual.parse(arc.to_json()).ops[0]].name == first
    assert type(named).of(text, op_set=named.op_set) == (named, arc)
    assert named.count() < usual.count()


@pytest.mark.parametrize("arc_type", [MicroArc, MacroArc, RnnArc])
def test_usual_architectures_do_not_speak_of_their_ops_in_json(arc_type):
    space = {"MicroArc": MicroSpace, "MacroArc": MacroSpace, "RnnArc": RnnSpace}[arc_type.__name__]
    arc = space(1).parse([0] * space.num_tokens(1))
    assert '"ops"' not in arc.to_json() and arc_type.from_json(arc.to_json()) == arc


@pytest.mark.parametrize(("usual", "named", "text", "first"), PAIRS, ids=["micro", "macro", "rnn"])
def test_the_portable_text_is_read_as_the_same_architecture_anywhere(usual, named, text, first):
    for space in (usual, named):
        arc = space.parse(text)
        assert type(usual).of(arc.portable)[1] == arc
    assert usual.parse(text).portable == str(usual.parse(text))


def test_a_message_names_the_ops_by_their_numbers_and_what_else_there_is():
    text = MacroSpace(1).op_options
    assert text.startswith("0 conv 3x3, 1 separable conv 3x3, 2 conv 5x5, 3 separable conv 5x5, ")
    assert "5 max pool 3x3; --space.ops can add squeeze-and-excitation conv 3x3" in text
    assert MicroSpace(1, len(MicroSpace.table.rows)).op_options.count("--space.ops") == 0
