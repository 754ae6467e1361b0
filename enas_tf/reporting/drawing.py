"""Drawings of architectures: graphs as boxes and arrows, in SVG or PNG. Lengths are in inches.

A graph is drawn in ranks: each box comes after all boxes that feed it. A line that passes a rank
runs between its boxes. Lines from the same box run together, and so do lines to the output. A chain
of boxes is a straight column, with arcs at its side for the edges that skip boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from enas_tf.core.errors import UserError
from enas_tf.core.graphs import Edge, Graph

BOX_HEIGHT = 0.28
PADDING = 0.14  # on both sides of a box's text
GAP = 0.12  # the least distance between boxes and lines of a rank
RANK_GAP = {"down": 0.32, "right": 0.5}
STUB = 0.04  # how far a line runs straight before and after a rank
CHAIN_PITCH = 0.52  # the distance from one box of a chain to the next
LANE_GAP = 0.11  # the distance between arcs, and the radius of their corners
MARGIN = 0.15
TEXT_HEIGHT = 0.35  # of a title, and of the legend
SWEEPS = 6
INK = "0.15"
FONT = FontProperties(family="DejaVu Sans", size=9)
TITLE_FONT = FontProperties(family="DejaVu Sans", size=11, weight="bold")
# Roles differ in shape, so that a drawing can be read without colours.
BOX_STYLES = {
    "input": {"boxstyle": f"round,pad=0,rounding_size={BOX_HEIGHT / 2}", "facecolor": "0.93"},
    "op": {"boxstyle": "square,pad=0", "facecolor": "white"},
    "node": {"boxstyle": "round,pad=0,rounding_size=0.07", "facecolor": "0.82"},
    "output": {"boxstyle": "square,pad=0", "facecolor": "0.25"},
}
LABELLED_DASHES = (0, (4, 1.5))
POOLING_DASHES = (0, (2, 1))
POOLING = "pool"  # ops with this word in their names have no weights; their boxes are dashed
MOVE, STRAIGHT, BEND, CURVE = Outline.MOVETO, Outline.LINETO, Outline.CURVE3, Outline.CURVE4
# A box, by its key; or a place where lines pass a rank, as the box that these lines share, their
# label, and the rank.
Stop = str | tuple[str, str, int]
Steps = dict[tuple[Stop, Stop], str]


@dataclass(frozen=True)
class Line:
    """A line in the plane, with the label of its edge; `arrow` says whether it ends at a box."""

    outline: Outline
    label: str
    arrow: bool


@dataclass(frozen=True)
class Layout:
    """The places of a graph's boxes, by key, and lines, and the page that encloses them all."""

    boxes: Mapping[str, Bbox]
    lines: Sequence[Line]
    page: Bbox


def draw(graphs: Sequence[Graph], path: Path) -> None:
    """Writes a drawing of graphs, with a panel for each; the same graphs give the same bytes.

    Args:
        graphs: the graphs, at least one.
        path: the file to write. Its suffix sets the format: `.svg`, in which text can be searched
            and copied, or `.png`.

    Raises:
        UserError: if the suffix is another one, or the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise UserError(f"a drawing's file name must end in .svg or .png, got {path}")
    picture = figure(graphs)
    try:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "enas_tf"}):
            picture.savefig(path, format=kind[1:], dpi=150, metadata={"Date": None})
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): name another file") from error


def figure(graphs: Sequence[Graph]) -> Figure:
    """Draws graphs (at least one), with a panel for each; returns a figure as large as it needs.

    Either all panels run downwards and are placed side by side, or all run to the right and are
    placed one below the other, whichever makes the figure's longer side shorter.
    """
    ways = {way: [layout(graph, way) for graph in graphs] for way in RANK_GAP}
    way = min(ways, key=lambda way: max(_size(way, ways[way])))
    width, height = _size(way, ways[way])
    legend = _legend(graphs)
    height += TEXT_HEIGHT if legend else 0
    picture = Figure(figsize=(width, height), facecolor="white")
    left, top = 0.0, height
    for graph, panel in zip(graphs, ways[way], strict=True):
        area = np.array([left, top - panel.page.height, panel.page.width, panel.page.height])
        _draw_panel(picture.add_axes(tuple(area / [width, height, width, height])), graph, panel)
        left += panel.page.width if way == "down" else 0
        top -= panel.page.height if way == "right" else 0
    if legend:
        place = {"loc": "lower left", "borderpad": 0, "borderaxespad": MARGIN * 72 / 9}
        picture.legend(handles=legend, ncols=len(legend), prop=FONT, frameon=False, **place)
    return picture


def layout(graph: Graph, way: str) -> Layout:
    """Computes the places of boxes and lines of a graph that runs `"down"` or to the `"right"`.

    A chain, in which every box depends on the one before, always runs down.
    """
    ranks = _ranks(graph)
    is_chain = len(set(ranks.values())) == len(ranks)
    boxes, lines = _chain(graph, ranks) if is_chain else _layers(graph, ranks, way)
    drawn = Bbox.union([*boxes.values(), *(line.outline.get_extents() for line in lines)])
    width = max(drawn.width, _text_width(graph.title, TITLE_FONT)) + 2 * MARGIN
    height = drawn.height + 2 * MARGIN + TEXT_HEIGHT
    return Layout(boxes, lines, Bbox.from_bounds(*(drawn.min - MARGIN), width, height))


def _ranks(graph: Graph) -> dict[str, int]:
    """Returns each node's rank by its key: one more than the highest rank that feeds it.

    An op is moved right before the node that takes it, so that the ops of a node stay together.
    """
    roles = {node.key: node.role for node in graph.nodes}
    before = {key: [edge.source for edge in graph.edges if edge.target == key] for key in roles}
    after = {key: [edge.target for edge in graph.edges if edge.source == key] for key in roles}
    ranks: dict[str, int] = {}
    order = list(TopologicalSorter(before).static_order())
    for key in order:
        ranks[key] = max((ranks[source] + 1 for source in before[key]), default=0)
    for key in reversed(order):
        if roles[key] == "op" and after[key]:
            ranks[key] = min(ranks[target] for target in after[key]) - 1
    return ranks


def _chain(graph: Graph, ranks: dict[str, int]) -> tuple[dict[str, Bbox], list[Line]]:
    """Lays out a column of boxes of one width, with arcs on its right side."""
    width = max(_text_width(node.label) for node in graph.nodes) + 2 * PADDING
    bottoms = {key: -rank * CHAIN_PITCH for key, rank in ranks.items()}
    boxes = {key: Bbox.from_bounds(-width, y, width, BOX_HEIGHT) for key, y in bottoms.items()}
    arcs = [edge for edge in graph.edges if ranks[edge.target] - ranks[edge.source] > 1]
    lines = _arcs(arcs, boxes)
    for edge in (edge for edge in graph.edges if edge not in arcs):
        ends = [(-width / 2, boxes[edge.source].y0), (-width / 2, boxes[edge.target].y1)]
        lines.append(Line(Outline(ends), edge.label, arrow=True))
    return boxes, lines


def _arcs(arcs: Sequence[Edge], boxes: Mapping[str, Bbox]) -> list[Line]:
    """Lays out arcs beside a column with its right side at x = 0; longer arcs lie further out.

    Arcs from the same box share a lane, which lies outside the lanes of arcs that begin within its
    length; arcs to the same box share their ends. A shared part is drawn as one line, since two
    dashed lines would fill each other's gaps.
    """
    starts = {arc.source: boxes[arc.source].y0 + BOX_HEIGHT * 0.3 for arc in arcs}
    ends = {arc.target: boxes[arc.target].y1 - BOX_HEIGHT * 0.3 for arc in arcs}
    lasts = {a.source: min(ends[b.target] for b in arcs if b.source == a.source) for a in arcs}
    lanes: dict[str, float] = {}
    for source in sorted(starts, key=starts.__getitem__):
        passed = [lane for other, lane in lanes.items() if starts[other] > lasts[source]]
        lanes[source] = max(passed, default=LANE_GAP) + LANE_GAP
    lines: dict[object, Line] = {}
    for arc in arcs:
        lane, start, end = lanes[arc.source], starts[arc.source], ends[arc.target]
        corner = [(lane - LANE_GAP, start), (lane, start), (lane, start - LANE_GAP)]
        out = [(0, start), *corner, (lane, lasts[arc.source] + LANE_GAP)]
        turn = [(lane, end + LANE_GAP), (lane, end), (lane - LANE_GAP, end)]
        furthest = max(lanes[other.source] for other in arcs if other.target == arc.target)
        into = Outline([(furthest - LANE_GAP, end), (0, end)])
        outline = Outline(out, [MOVE, STRAIGHT, BEND, BEND, STRAIGHT])
        lines["out", arc.source] = Line(outline, arc.label, arrow=False)
        lines[arc] = Line(Outline(turn, [MOVE, BEND, BEND]), arc.label, arrow=False)
        lines["into", arc.target] = Line(into, arc.label, arrow=True)
    return list(lines.values())


def _layers(graph: Graph, ranks: dict[str, int], way: str) -> tuple[dict[str, Bbox], list[Line]]:
    """Lays out boxes in ranks and lines from rank to rank, downwards, then turns them."""
    sizes = {node.key: (_text_width(node.label) + 2 * PADDING, BOX_HEIGHT) for node in graph.nodes}
    flat = {key: size if way == "down" else size[::-1] for key, size in sizes.items()}
    steps, stop_ranks = _steps(graph, ranks)
    across = _across(steps, stop_ranks, {key: breadth for key, (breadth, _) in flat.items()})
    depths = np.zeros(max(ranks.values()) + 1)
    np.maximum.at(depths, list(ranks.values()), [flat[key][1] + 2 * STUB for key in ranks])
    bottoms = -np.cumsum(depths + RANK_GAP[way])
    tops = bottoms + depths

    def turned(xs: Sequence[float], ys: Sequence[float]) -> np.ndarray:
        return np.transpose([xs, ys] if way == "down" else np.negative([ys, xs]))

    boxes, lines, spans = {}, [], {}
    for stop, rank in stop_ranks.items():
        spare = (depths[rank] - flat[stop][1]) / 2 if stop in flat else 0.0
        spans[stop] = tops[rank] - spare, bottoms[rank] + spare
        through = turned([across[stop]] * 2, spans[stop])
        if stop in flat:
            centre, half = through.mean(axis=0), np.divide(sizes[stop], 2)
            boxes[stop] = Bbox([centre - half, centre + half])
        else:
            lines.append(Line(Outline(through), stop[1], arrow=False))
    for (start, end), label in steps.items():
        bottom, top = bottoms[stop_ranks[start]], tops[stop_ranks[end]]
        middle = (bottom + top) / 2
        ys = [spans[start][1], bottom, middle, middle, top, spans[end][0]]
        places = turned([across[start]] * 3 + [across[end]] * 3, ys)
        outline = Outline(places, [MOVE, STRAIGHT, CURVE, CURVE, CURVE, STRAIGHT])
        lines.append(Line(outline, label, arrow=end in boxes))
    return boxes, lines


def _steps(graph: Graph, ranks: dict[str, int]) -> tuple[Steps, dict[Stop, int]]:
    """Cuts edges into steps of one rank; returns each step's label, and the rank of each stop."""
    outputs = {node.key for node in graph.nodes if node.role == "output"}
    steps: Steps = {}
    stop_ranks: dict[Stop, int] = dict(ranks)
    for edge in graph.edges:
        shared = edge.target if edge.target in outputs else edge.source
        between = range(ranks[edge.source] + 1, ranks[edge.target])
        passed = {(shared, edge.label, rank): rank for rank in between}
        stop_ranks |= passed
        steps |= dict.fromkeys(pairwise([edge.source, *passed, edge.target]), edge.label)
    return steps, stop_ranks


def _across(steps: Steps, ranks: dict[Stop, int], breadths: dict[str, float]) -> dict[Stop, float]:
    """Computes each stop's place across: near its neighbours, clear of others in its rank.

    Sweeps over the ranks several times, alternately placing stops near what feeds them and near
    what they feed. Returns the places of the sweep with the straightest lines.
    """
    rows = [[stop for stop in ranks if ranks[stop] == rank] for rank in sorted(set(ranks.values()))]
    before = {stop: [start for start, end in steps if end == stop] for stop in ranks}
    after = {stop: [end for start, end in steps if start == stop] for stop in ranks}
    at: dict[Stop, float] = dict.fromkeys(ranks, 0.0)
    found = []
    for joined, order in [(before, rows), (after, rows[::-1])] * SWEEPS:
        for row in order:
            at |= {stop: np.mean([at[other] for other in joined[stop] or [stop]]) for stop in row}
            row.sort(key=at.__getitem__)
            # The places without overlap that are nearest to the wanted ones, by least squares: less
            # the stops' own sizes, such places only have to increase.
            halves = np.array([breadths.get(stop, 0.0) / 2 for stop in row])
            offsets = np.cumsum(2 * halves + GAP) - halves
            places = isotonic_regression([at[stop] for stop in row] - offsets).x + offsets
            at |= zip(row, places.tolist(), strict=True)
        found.append(dict(at))
    return min(found, key=lambda at: sum(abs(at[start] - at[end]) for start, end in steps))


def _size(way: str, panels: Sequence[Layout]) -> tuple[float, float]:
    """Returns the width and height of all panels together."""
    widths, heights = zip(*(panel.page.size for panel in panels), strict=True)
    return (sum(widths), max(heights)) if way == "down" else (max(widths), sum(heights))


def _text_width(text: str, font: FontProperties = FONT) -> float:
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def _legend(graphs: Sequence[Graph]) -> list[Line2D | Patch]:
    """Returns legend entries for the kinds of dashed lines and boxes in the graphs."""
    labels = dict.fromkeys(edge.label for graph in graphs for edge in graph.edges if edge.label)
    legend = [Line2D([], [], c=INK, lw=0.9, ls=LABELLED_DASHES, label=label) for label in labels]
    if any(POOLING in node.label for graph in graphs for node in graph.nodes):
        legend.append(Patch(facecolor="white", edgecolor=INK, ls=POOLING_DASHES, label="pooling"))
    return legend


def _draw_panel(axes: Axes, graph: Graph, panel: Layout) -> None:
    (left, right), (bottom, top) = panel.page.intervalx, panel.page.intervaly
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
    axes.text(left + MARGIN, top - MARGIN, graph.title, va="top", c=INK, font=TITLE_FONT)
    for line in panel.lines:
        head = "-|>,head_length=4,head_width=2" if line.arrow else "-"
        style = {"arrowstyle": head, "ls": LABELLED_DASHES if line.label else "solid"}
        axes.add_patch(FancyArrowPatch(path=line.outline, color=INK, lw=0.9, **style))
    for node in graph.nodes:
        box = panel.boxes[node.key]
        border = POOLING_DASHES if POOLING in node.label else "solid"
        style = {"edgecolor": INK, "ls": border, **BOX_STYLES[node.role]}
        axes.add_patch(FancyBboxPatch(box.min, box.width, box.height, **style))
        ink = "white" if node.role == "output" else INK
        x, y = box.min + box.size / 2
        axes.text(x, y, node.label, ha="center", va="center_baseline", c=ink, font=FONT)
