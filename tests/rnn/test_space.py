import json

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.rnn.space import RnnArc, RnnNode, RnnSpace

TEXT = "0 2, 1 0, 1 3"


ACTIVATIONS = RnnSpace(1).op_options


def test_tokens_land_in_their_places():
    arc = RnnArc((RnnNode(index=0, op=2), RnnNode(1, 0), RnnNode(1, 3)))
    assert RnnSpace.of(TEXT) == (RnnSpace(3), arc)


def test_loose_ends():
    assert RnnSpace(3).parse(TEXT).loose_ends == (2, 3)
    assert RnnSpace(3).parse("0 0 1 0 2 0").loose_ends == (3,)
    assert RnnSpace(3).parse("0 0 0 0 0 0").loose_ends == (1, 2, 3)


@pytest.mark.parametrize(
    ("num_nodes", "count"),
    [
        (1, 4),
        (3, 384),  # 4 ** 3 * 3!
        (8, 2_642_411_520),  # 65_536 * 40_320
        (12, 8_036_313_307_545_600),  # 16_777_216 * 479_001_600
    ],
)
def test_counts(num_nodes, count):
    assert RnnSpace(num_nodes).count() == count
    assert RnnSpace(num_nodes).paper_count() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0", "token 1 (node 1, index) must be 0 (an earlier node), got 1"),
        (
            "0 0 2 0",
            "token 3 (node 2, index) must be an integer from 0 to 1 (an earlier node), got 2",
        ),
        (
            "0 4",
            f"token 2 (node 1, activation) must be an integer from 0 to 3 ({ACTIVATIONS}), got 4",
        ),
        (
            "0 0 1",
            "token 4 (node 2, activation) is missing: it must be an integer from 0 to 3 "
            f"({ACTIVATIONS}); the number of tokens in the rnn space "
            "must be 2 (1 node) or 4 (2 nodes), got 3",
        ),
    ],
)
def test_errors(text, message):
    with pytest.raises(UserError) as error:
        RnnSpace.of(text)
    assert str(error.value) == message


def test_json_speaks_in_words():
    assert json.loads(RnnSpace(3).parse(TEXT).to_json()) == {
        "space": "rnn",
        "node 1": {"index": 0, "activation": "sigmoid"},
        "node 2": {"index": 1, "activation": "tanh"},
        "node 3": {"index": 1, "activation": "identity"},
    }


def test_explain():
    space, arc = RnnSpace.of(TEXT)
    assert space.explain(arc).splitlines() == [
        "rnn cell, nodes: 3",
        "a node with activation f on the output s of an earlier node gives "
        "s + sigmoid(s V) * (f(s W) - s), with weights V and W of its own",
        "",
        "node 0 = tanh on the previous state, with weights on the word as well",
        "node 1 = sigmoid on node 0",
        "node 2 = tanh on node 1 (loose end: feeds no other node)",
        "node 3 = identity on node 1 (loose end: feeds no other node)",
        "output = next state = mean of all nodes from 1 to 3, as in the authors' code "
        "(in the paper: of the loose ends, node 2, node 3)",
    ]


def test_graphs():
    space, arc = RnnSpace.of("0 2 0 3")
    assert space.graphs(arc) == (
        Graph(
            "recurrent cell",
            nodes=(
                Node("word", "word", "input"),
                Node("state", "previous state", "input"),
                Node("node 0", "node 0: tanh", "node"),
                Node("node 1", "node 1: sigmoid", "node"),
                Node("node 2", "node 2: identity", "node"),
                Node("output", "output: mean", "output"),
            ),
            edges=(
                Edge("word", "node 0"),
                Edge("state", "node 0"),
                Edge("node 0", "node 1"),
                Edge("node 1", "output"),
                Edge("node 0", "node 2"),
                Edge("node 2", "output"),
            ),
        ),
    )
