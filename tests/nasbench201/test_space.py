import csv
import json
from pathlib import Path

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Node
from enas_tf.nasbench201.space import Nasbench201Arc, Nasbench201Space

TABLE = Path(__file__).parents[2] / "../shared/reference/nasbench201.csv"
SPACE = Nasbench201Space(4)
# The best of the benchmark's table on cifar10-test.
BEST = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
OPS = "0 none, 1 skip_connect, 2 nor_conv_1x1, 3 nor_conv_3x3, 4 avg_pool_3x3"


def test_tokens_land_in_their_places():
    arc = Nasbench201Arc(nodes=((3,), (2, 3), (1, 0, 3)))
    assert Nasbench201Space.of("3  2 3  1 0 3") == (SPACE, arc)
    assert (arc.ops, arc.inputs) == ((3, 2, 3, 1, 0, 3), ())


@pytest.mark.parametrize(("num_nodes", "count"), [(2, 5), (3, 125), (4, 15_625), (5, 5**10)])
def test_counts(num_nodes, count):
    assert Nasbench201Space(num_nodes).count() == count
    assert Nasbench201Space(num_nodes).paper_count() is None


def test_the_benchmarks_text_is_read_and_printed():
    arc = SPACE.parse(BEST)
    assert str(arc) == "3 2 3 1 0 3" and arc.benchmark_text == BEST
    assert Nasbench201Space.of(BEST) == (SPACE, arc)
    assert SPACE.parse("\n " + BEST.replace("+", "\n+ ") + "\n") == arc
    assert Nasbench201Space.of("|avg_pool_3x3~0|")[0] == Nasbench201Space(2)


def test_every_architecture_of_the_benchmarks_table():
    if not TABLE.is_file():
        pytest.skip(f"{TABLE} is missing: it holds the benchmark's accuracies")
    with TABLE.open() as file:
        texts = [row["arch"] for row in csv.DictReader(file)]
    arcs = [SPACE.parse(text) for text in texts]
    assert len(set(arcs)) == SPACE.count() == 15_625
    assert [arc.benchmark_text for arc in arcs] == texts


def test_names_choose_ops_of_the_benchmark():
    space = Nasbench201Space(3, "nor_conv_3x3,none")
    assert space.ops == ("none", "nor_conv_3x3")
    arc = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|")
    assert arc.tokens == (1, 0, 1) and arc.benchmark_text.count("nor_conv_3x3") == 2
    assert Nasbench201Arc.from_json(arc.to_json()) == arc


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 2 5 1 0 3", f"token 3 (node 2, from node 1) must be an integer from 0 to 4 ({OPS})"),
        (
            BEST.replace("none", "zero"),
            f"token 5 (node 3, from node 1) must be .* ({OPS}), got zero",
        ),
        (
            BEST.removesuffix("nor_conv_3x3~2|"),
            "token 6 (node 3, from node 2) is missing: it must be",
        ),
        ("|none~0|+|none~1|", "token 2 (node 2, from node 0) is missing"),
        ("|none~0|+|none~0|none~0|", "has two ops for node 2, from node 0: |none~0|none~0|"),
        ("|none~0|none", "the benchmark's text must be |op~0|+|op~0|op~1|+..."),
        ("|none~0|+", "the benchmark's text must be .*; got 'nothing'"),
        ("3 2", "must be 1 (2 nodes) or 3 (3 nodes), got 2"),
        ("", "token 1 (node 1, from node 0) is missing"),
    ],
)
def test_mistakes_are_told_in_one_line(text, message):
    with pytest.raises(UserError) as error:
        Nasbench201Space.of(text)
    shown = str(error.value)
    assert all(part in shown for part in message.split(".*")) and "\n" not in shown


def test_an_input_alone_is_no_cell():
    with pytest.raises(
        UserError, match=r"space\.num_nodes must be an integer of at least 2, got 1"
    ):
        Nasbench201Space(1)


def test_json_speaks_in_words():
    names = json.loads(SPACE.parse(BEST).to_json())
    assert names["node 2"] == {"from node 0": "nor_conv_1x1", "from node 1": "nor_conv_3x3"}
    assert list(names) == ["space", "node 1", "node 2", "node 3"]


def test_explains_every_node():
    lines = SPACE.explain(SPACE.parse(BEST)).splitlines()
    assert f"in the benchmark's text: {BEST}" in lines
    assert lines[-4:] == [
        "node 0 = the cell's input",
        "node 1 = nor_conv_3x3 of node 0",
        "node 2 = nor_conv_1x1 of node 0 + nor_conv_3x3 of node 1",
        "node 3 = skip_connect of node 0 + nor_conv_3x3 of node 2 (the cell's output)",
    ]
    assert SPACE.explain(SPACE.parse("0 " * 6)).splitlines()[-1].startswith("node 3 = zeros (")


def test_the_drawing_has_every_edge():
    (graph,) = Nasbench201Space(3).graphs(Nasbench201Space(3).parse("3 0 1"))
    assert [node.label for node in graph.nodes] == [
        *("input (node 0)", "nor_conv_3x3", "node 1", "none", "skip_connect", "output (node 2)")
    ]
    assert Node("node 2, from node 1", "skip_connect", "op") in graph.nodes
    assert graph.edges[-2:] == (
        Edge("node 1", "node 2, from node 1"),
        Edge("node 2, from node 1", "output"),
    )
