import json

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.micro.space import MicroArc, MicroNode, MicroSpace

# Two nodes a cell. Normal: node 3 takes node 2, input 1 is unused. Reduction: both inputs used.
TEXT = """
0 0 0 4
2 1 0 3

0 2 1 4
1 1 1 0
"""
OPS = MicroSpace(1).op_options


def test_tokens_land_in_their_places():
    assert MicroSpace.of(TEXT) == (
        MicroSpace(2),
        MicroArc(
            normal=(MicroNode(0, 0, 0, 4), MicroNode(index_1=2, op_1=1, index_2=0, op_2=3)),
            reduction=(MicroNode(0, 2, 1, 4), MicroNode(1, 1, 1, 0)),
        ),
    )


def test_loose_ends_count_the_inputs():
    arc = MicroSpace(2).parse(TEXT)
    assert arc.loose_ends(arc.normal) == (1, 3)
    assert arc.loose_ends(arc.reduction) == (2, 3)


@pytest.mark.parametrize(
    ("num_nodes", "count", "paper_count"),
    [
        (1, 10_000, 625),  # ((2 * 5) ** 2) ** 2, 5 ** 4
        (2, 506_250_000, 10_000),  # ((2 * 5) ** 2 * (3 * 5) ** 2) ** 2, (5 * 2) ** 4
        (5, 25_628_906_250_000_000_000_000_000, 129_600_000_000),  # 2_250_000 ** 4, 600 ** 4
    ],
)
def test_counts(num_nodes, count, paper_count):
    space = MicroSpace(num_nodes)
    assert space.count() == count
    assert space.paper_count() == paper_count


def test_json_speaks_in_words():
    arc = MicroSpace(2).parse(TEXT)
    names = json.loads(arc.to_json())
    assert list(names) == ["space", "normal cell", "reduction cell"]
    assert names["space"] == "micro"
    assert names["normal cell"]["node 3"] == {
        "index 1": 2,
        "op 1": "separable conv 5x5",
        "index 2": 0,
        "op 2": "max pool 3x3",
    }


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            [0, 0, 0, 0, 0, 0, 5, 0, *[0] * 8],
            "token 7 (normal cell, node 3, index 2) must be an integer from 0 to 2 "
            "(an earlier node), got 5",
        ),
        (
            [*[0] * 15, 5],
            "token 16 (reduction cell, node 3, op 2) must be an integer from 0 to 4 "
            f"({OPS}), got 5",
        ),
        (
            [0] * 15,
            f"token 16 (reduction cell, node 3, op 2) is missing: it must be an integer from 0 "
            f"to 4 ({OPS}); the number of tokens in the micro space must be 8 (1 node) or "
            "16 (2 nodes), got 15",
        ),
        (
            [],
            "token 1 (normal cell, node 2, index 1) is missing: it must be an integer from 0 to 1 "
            "(an earlier node); the number of tokens in the micro space must be 8 (1 node), got 0",
        ),
    ],
)
def test_errors(tokens, message):
    with pytest.raises(UserError) as error:
        MicroSpace.of(" ".join(map(str, tokens)))
    assert str(error.value) == message


def test_another_size_is_refused():
    with pytest.raises(UserError) as error:
        MicroSpace(1).parse(MicroSpace(2).parse(TEXT))
    assert str(error.value) == (
        "token 5 (reduction cell, node 2, index 1) must be an integer from 0 to 1 "
        "(an earlier node), got 2; the number of tokens in the micro space must be 8 (1 node), "
        "got 16"
    )


def test_explain():
    space, arc = MicroSpace.of(TEXT)
    assert space.explain(arc).splitlines() == [
        "micro architecture, nodes in each cell: 2",
        "input 0 is the output of the cell before the previous one, input 1 that of the "
        "previous cell; a node adds its two parts",
        "",
        "normal cell",
        "  input 1 feeds no node (loose end: part of the output)",
        "  node 2 = separable conv 3x3 of input 0 + identity of input 0",
        "  node 3 = separable conv 5x5 of node 2 + max pool 3x3 of input 0 "
        "(loose end: part of the output)",
        "  output = the loose ends, joined along the channels: input 1, node 3",
        "",
        "reduction cell (in the derived network, ops on inputs 0 and 1 have stride 2 and so "
        "halve height and width)",
        "  node 2 = average pool 3x3 of input 0 + identity of input 1 "
        "(loose end: part of the output)",
        "  node 3 = separable conv 5x5 of input 1 + separable conv 3x3 of input 1 "
        "(loose end: part of the output)",
        "  output = the loose ends, joined along the channels: node 2, node 3",
    ]


def test_graphs():
    space, arc = MicroSpace.of("0 0 0 4 0 2 1 4")
    normal, reduction = space.graphs(arc)
    assert normal == Graph(
        "normal cell",
        nodes=(
            Node("input 0", "input 0", "input"),
            Node("input 1", "input 1", "input"),
            Node("node 2, op 1", "separable conv 3x3", "op"),
            Node("node 2, op 2", "identity", "op"),
            Node("node 2", "node 2", "node"),
            Node("output", "output", "output"),
        ),
        edges=(
            Edge("input 0", "node 2, op 1"),
            Edge("node 2, op 1", "node 2"),
            Edge("input 0", "node 2, op 2"),
            Edge("node 2, op 2", "node 2"),
            Edge("input 1", "output"),
            Edge("node 2", "output"),
        ),
    )
    assert reduction.title == "reduction cell"
    assert Edge("input 1", "node 2, op 2") in reduction.edges
    assert Edge("input 1", "output") not in reduction.edges
