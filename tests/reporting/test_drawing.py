import os
import random
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.transforms import Bbox
from PIL import Image

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph, Node
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.reporting.drawing import draw, figure, layout
from enas_tf.rnn.space import RnnSpace
from enas_tf.zoo import PUBLISHED

ROOT = Path(__file__).parents[2]
KINDS = {space.name: space for space in (MacroSpace, MicroSpace, RnnSpace)}
CHAIN = "0 5 0 2 1 1 3 1 0 1"  # four layers with skips, layer 1 a max pool


def graphs_of(kind, text):
    space, arc = KINDS[kind].of(text)
    return space.graphs(arc)


def random_graphs(space, seed):
    return space.graphs(space.random(random.Random(seed)))


def chain(*skips):
    """Boxes a to e in a chain, with skips such as `"ac"`."""
    nodes = tuple(Node(key, key, "node") for key in "abcde")
    steps = [Edge(*pair) for pair in ("ab", "bc", "cd", "de")]
    return Graph("chain", nodes, (*steps, *(Edge(*pair, "skip") for pair in skips)))


PICTURES = {
    **{name: graphs_of(known.space, known.text) for name, known in PUBLISHED.items()},
    "micro, one node": random_graphs(MicroSpace(1), 0),
    "micro, seven nodes": random_graphs(MicroSpace(7), 1),
    "micro, an unused input": graphs_of("micro", "0 0 0 1 2 2 0 3  0 4 0 4 0 1 2 2"),
    "macro, twelve layers": random_graphs(MacroSpace(12), 2),
    "rnn, twelve nodes": random_graphs(RnnSpace(12), 3),
}
each_picture = pytest.mark.parametrize("graphs", PICTURES.values(), ids=PICTURES.keys())
each_way = pytest.mark.parametrize("way", ["down", "right"])


@each_way
@each_picture
def test_boxes_and_lines_stay_clear_of_boxes(graphs, way):
    for graph in graphs:
        found = layout(graph, way)
        assert found.boxes.keys() == {node.key for node in graph.nodes}
        for one, other in combinations(found.boxes.values(), 2):
            assert Bbox.intersection(one.padded(0.05), other.padded(0.05)) is None
        for line in found.lines:
            for points in line.outline.to_polygons(closed_only=False):
                crossed = [box for box in found.boxes.values() if inside(points, box).any()]
                assert not crossed


def inside(points, box):
    """Which of the points lie inside the box, borders aside."""
    return ((points > box.min + 0.01) & (points < box.max - 0.01)).all(axis=1)


@each_way
@pytest.mark.parametrize("name", ["micro, seven nodes", "micro, an unused input", "rnn_enas"])
def test_following_the_lines_from_a_box_leads_to_its_targets(name, way):
    for graph in PICTURES[name]:
        found = layout(graph, way)
        starts = [(touched(found, line.outline.vertices[0]), line) for line in found.lines]

        def reached(place, starts=starts, found=found):
            for start, line in starts:
                if start == place:
                    end = touched(found, line.outline.vertices[-1])
                    yield from [end] if line.arrow else reached(end)

        for key in found.boxes:
            targets = {edge.target for edge in graph.edges if edge.source == key}
            assert set(reached(key)) == targets


def touched(found, point):
    """The key of the box whose border the point touches, else the point."""
    for key, box in found.boxes.items():
        if box.padded(1e-6).contains(*point):
            return key
    return tuple(point.round(6))


@each_picture
def test_every_edge_runs_the_way_of_the_drawing(graphs):
    for graph in graphs:
        down = layout(graph, "down").boxes
        assert all(down[edge.source].y0 > down[edge.target].y1 for edge in graph.edges)
    for graph in PICTURES["micro_enas"]:
        right = layout(graph, "right").boxes
        assert all(right[edge.source].x1 < right[edge.target].x0 for edge in graph.edges)


def test_ops_stand_right_before_their_node():
    # Node 3 takes an op of node 2 and an op of input 1, which could stand three ranks earlier.
    (cell, _) = graphs_of("micro", "0 0 1 0 2 1 1 3 0 0 1 0 2 1 1 3")
    down = layout(cell, "down").boxes
    height = {key: round(box.y0, 6) for key, box in down.items()}
    assert height["node 3, op 1"] == height["node 3, op 2"] < height["node 2"]
    assert height["node 2, op 1"] == height["node 2, op 2"] < height["input 0"]
    assert len(set(height.values())) == 6


@pytest.mark.parametrize(
    ("skips", "reach"),
    [
        ([], 0.0),
        (["ac"], 0.22),
        (["ac", "ce"], 0.22),  # one after the other
        (["ac", "bd"], 0.33),  # b's lane begins beside a's
        (["ac", "ad", "ae"], 0.22),  # one lane
        (["ae", "bd", "ce"], 0.44),
    ],
)
def test_arcs_of_a_chain(skips, reach):
    graph = chain(*skips)
    found = layout(graph, "right")
    tops = [round(found.boxes[key].y1, 6) for key in "abcde"]
    assert tops == [0.28, -0.24, -0.76, -1.28, -1.8]
    assert {box.x1 for box in found.boxes.values()} == {0.0}
    furthest = max(line.outline.vertices[:, 0].max() for line in found.lines)
    assert max(furthest, 0.0) == pytest.approx(reach)
    arrows = sum(line.arrow for line in found.lines)
    assert arrows == 4 + len({skip[1] for skip in skips})


@each_picture
def test_labels_fit_their_boxes(graphs):
    picture = figure(graphs)
    picture.draw_without_rendering()
    for axes, graph in zip(picture.axes, graphs, strict=True):
        title, *labels = axes.texts
        assert title.get_text() == graph.title
        boxes = [patch for patch in axes.patches if hasattr(patch, "get_boxstyle")]
        for node, label, box in zip(graph.nodes, labels, boxes, strict=True):
            assert label.get_text() == node.label
            text, border = label.get_window_extent(), box.get_window_extent()
            assert border.x0 < text.x0 < text.x1 < border.x1
            assert border.y0 < text.y0 < text.y1 < border.y1
            assert not text.overlaps(title.get_window_extent())


@each_picture
def test_panels_share_the_figure(graphs):
    areas = [axes.get_position() for axes in figure(graphs).axes]
    assert len(areas) == len(graphs)
    for area in areas:
        assert -1e-9 < area.x0 < area.x1 < 1 + 1e-9
        assert -1e-9 < area.y0 < area.y1 < 1 + 1e-9
    for one, other in combinations(areas, 2):
        shared = Bbox.intersection(one, other)
        assert shared is None or shared.width * shared.height < 1e-9


@each_picture
def test_svg_holds_every_label_as_text(graphs, tmp_path):
    draw(graphs, tmp_path / "arc.svg")
    root = ElementTree.parse(tmp_path / "arc.svg").getroot()
    texts = Counter("".join(t.itertext()).strip() for t in root.findall(".//{*}text"))
    wanted = Counter(node.label for graph in graphs for node in graph.nodes)
    wanted.update(graph.title for graph in graphs)
    wanted.update({edge.label for graph in graphs for edge in graph.edges} - {""})
    if any("pool" in label for label in wanted):
        wanted["pooling"] += 1
    assert texts == wanted


def test_dashes_mark_pools_and_skips(tmp_path):
    def dashed(graphs):
        draw(graphs, tmp_path / "arc.svg")
        return (tmp_path / "arc.svg").read_text().count("stroke-dasharray")

    assert dashed([chain()]) == 0
    # What leaves a, the turn, what arrives at c and its arrowhead, and the legend.
    assert dashed([chain("ac")]) == 5
    pool = Graph("pool", (Node("a", "max pool 3x3", "op"),), ())
    assert dashed([pool]) == 2


@pytest.mark.parametrize("name", ["micro_enas", "macro_enas", "rnn_enas"])
def test_png_has_the_size_of_the_figure(name, tmp_path):
    draw(PICTURES[name], tmp_path / "arc.PNG")
    with Image.open(tmp_path / "arc.PNG") as image:
        inches = figure(PICTURES[name]).get_size_inches()
        assert image.size == tuple(int(side * 150) for side in inches)
        assert all(400 < side < 2400 for side in image.size)
        assert image.convert("L").getextrema() == (pytest.approx(40, abs=40), 255)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_same_graphs_give_the_same_bytes_in_another_process(suffix, tmp_path):
    graphs = graphs_of("macro", CHAIN)
    draw(graphs, tmp_path / f"one.{suffix}")
    program = (
        "import sys; from pathlib import Path; from enas_tf.reporting.drawing import draw;"
        "from enas_tf.macro.space import MacroSpace;"
        "space, arc = MacroSpace.of(sys.argv[1]); draw(space.graphs(arc), Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, CHAIN, tmp_path / f"other.{suffix}"],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"},
    )
    written = [(tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "other")]
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["arc.pdf", "arc"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(UserError) as caught:
        draw([chain()], tmp_path / name)
    line = f"a drawing's file name must end in .svg or .png, got {tmp_path / name}"
    assert str(caught.value) == line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["svg", "png"])
@pytest.mark.parametrize(
    ("place", "reason"), [("missing/arc", "No such file or directory"), ("taken", "Is a directory")]
)
def test_a_file_that_cannot_be_written(place, reason, suffix, tmp_path):
    path = tmp_path / f"{place}.{suffix}"
    (tmp_path / f"taken.{suffix}").mkdir()
    with pytest.raises(UserError) as caught:
        draw([chain()], path)
    assert str(caught.value) == f"cannot write {path} ({reason}): name another file"
