import json

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.macro.space import MacroArc, MacroLayer, MacroSpace

# Layer 1 skips nothing, layer 2 has the stem joined, layer 3 the stem and layer 1.
TEXT = """
0
5 0
3 1 0
1 1 0 1
"""
SIX, SEVEN = (MacroSpace(1, op_set).op_options for op_set in (6, 7))


def test_tokens_land_in_their_places():
    assert MacroSpace.of(TEXT) == (
        MacroSpace(4),
        MacroArc(
            (
                MacroLayer(op=0, skips=()),
                MacroLayer(5, (0,)),
                MacroLayer(3, (1, 0)),
                MacroLayer(1, (1, 0, 1)),
            )
        ),
    )


@pytest.mark.parametrize(
    ("space", "count"),
    [
        (MacroSpace(1), 6),
        (MacroSpace(3), 1728),  # 6 ** 3 * 2 ** 3
        (MacroSpace(3, op_set=7), 2744),  # 7 ** 3 * 2 ** 3
        (MacroSpace(12), 2_176_782_336 * 73_786_976_294_838_206_464),  # 6 ** 12 * 2 ** 66
    ],
    ids=repr,
)
def test_counts(space, count):
    assert space.count() == count
    assert space.paper_count() is None


def test_the_seventh_op_is_there_on_request():
    space, arc = MacroSpace.of("6 0 0", op_set=7)
    assert space == MacroSpace(2, op_set=7)
    assert arc.space == space
    assert space.ops[6] == "squeeze-and-excitation conv 3x3"
    assert MacroArc.from_json(arc.to_json()) == arc
    assert "layer 0 = squeeze-and-excitation conv 3x3 of stem" in space.explain(arc)
    assert space.parse("5 0 0").space == MacroSpace(2, op_set=6)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "0 6 0",
            {},
            f"token 2 (layer 1, op) must be an integer from 0 to 5 ({SIX}), got 6",
        ),
        (
            "0 7 0",
            {"op_set": 7},
            f"token 2 (layer 1, op) must be an integer from 0 to 6 ({SEVEN}), got 7",
        ),
        (
            "0 1 0 1 0 2",
            {},
            "token 6 (layer 2, skip from layer 0) must be an integer from 0 to 1 "
            "(1 joins the output of layer 0 to that of layer 2, 0 does not), got 2",
        ),
        (
            "0 1 0 1 0",
            {},
            "token 6 (layer 2, skip from layer 0) is missing: it must be an integer from 0 to 1 "
            "(1 joins the output of layer 0 to that of layer 2, 0 does not); "
            "the number of tokens in the macro space must be 3 (2 layers) or 6 (3 layers), got 5",
        ),
        (
            "0 1 7",
            {},
            "token 3 (layer 1, skip from stem) must be an integer from 0 to 1 "
            "(1 joins the output of stem to that of layer 1, 0 does not), got 7",
        ),
    ],
)
def test_errors(text, options, message):
    with pytest.raises(UserError) as error:
        MacroSpace.of(text, **options)
    assert str(error.value) == message


def test_json_speaks_in_words():
    assert json.loads(MacroSpace(4).parse(TEXT).to_json()) == {
        "space": "macro",
        "layer 0": {"op": "conv 3x3"},
        "layer 1": {"op": "max pool 3x3", "skip from stem": False},
        "layer 2": {
            "op": "separable conv 5x5",
            "skip from stem": True,
            "skip from layer 0": False,
        },
        "layer 3": {
            "op": "separable conv 3x3",
            "skip from stem": True,
            "skip from layer 0": False,
            "skip from layer 1": True,
        },
    }


def test_explain():
    space, arc = MacroSpace.of(TEXT)
    assert space.explain(arc).splitlines() == [
        "macro architecture, layers: 4",
        "stem is the network's first convolution; a layer works on the one before it, "
        "and skip connections join earlier outputs to its own",
        "",
        "layer 0 = conv 3x3 of stem",
        "layer 1 = max pool 3x3 of layer 0",
        "layer 2 = separable conv 5x5 of layer 1, joined with stem",
        "layer 3 = separable conv 3x3 of layer 2, joined with stem, layer 1",
        "output = layer 3, the only loose end: each other layer feeds the next one",
    ]


def test_graphs():
    space, arc = MacroSpace.of("0 5 0 3 1 0")
    assert space.graphs(arc) == (
        Graph(
            "network",
            nodes=(
                Node("stem", "stem", "input"),
                Node("layer 0", "layer 0: conv 3x3", "node"),
                Node("layer 1", "layer 1: max pool 3x3", "node"),
                Node("layer 2", "layer 2: separable conv 5x5", "node"),
                Node("output", "output", "output"),
            ),
            edges=(
                Edge("stem", "layer 0"),
                Edge("layer 0", "layer 1"),
                Edge("layer 1", "layer 2"),
                Edge("stem", "layer 2", "skip"),
                Edge("layer 2", "output"),
            ),
        ),
    )
