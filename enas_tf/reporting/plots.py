"""The plots of a report, as HTML with embedded images, in grey so that they can be printed."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Numbers and names of more classes could not be read.
_NUMBERED_CLASSES = 20

# Lines differ in these styles, not in colours.
_STYLES = [
    {"color": "0.1", "ls": "-"},
    {"color": "0.45", "ls": "--"},
    {"color": "0.1", "ls": ":", "marker": "o", "ms": 3},
]

# The title of each plot; and the phase, metric and label of each of its lines. What a run has no
# metrics for is left out.
_SEARCH_CURVES = [
    ("Loss of the shared weights", [("child", "loss", "training")]),
    ("Accuracy of the shared weights", [("child", "accuracy", "training")]),
    ("Perplexity of the shared weights", [("child", "perplexity", "training")]),
    (
        "Reward of drawn architectures",
        [
            ("controller", "reward", "reward"),
            ("controller", "baseline", "baseline"),
            ("valid", "best_reward", "best of ten"),
        ],
    ),
    (
        "True accuracy of drawn architectures",
        [("valid", "truth", "controller"), ("valid", "uniform_truth", "mean of all known")],
    ),
    ("Entropy of the controller", [("controller", "entropy", "entropy")]),
    ("Divergence from the controller at the start", [("valid", "divergence", "nats")]),
]
_TRAINING_CURVES = [
    (name.capitalize(), [("train", name, "training"), ("valid", name, "validation")])
    for name in ("loss", "accuracy", "perplexity")
]


def search_plots(records: Sequence[Mapping]) -> str:
    """Returns plots of those metrics that a search has recorded, as HTML."""
    epochs = [record for record in records if record.get("gap") is not None]
    plots = _curves(records, _SEARCH_CURVES)
    if epochs:
        plots += [
            _plot("Controller's draws less uniform ones", "step", "reward", _draw_gap, epochs),
            _plot("Ops that the controller draws", "step", "", _draw_shares, epochs, "ops"),
        ]
        # A space may leave no choice of inputs.
        if epochs[-1]["inputs"]:
            plots.append(
                _plot("Inputs that it chooses", "step", "", _draw_shares, epochs, "inputs")
            )
    return _side_by_side(plots)


def training_plots(records: Sequence[Mapping]) -> str:
    """Returns plots of the metrics of a training from scratch, as HTML."""
    return _side_by_side(_curves(records, _TRAINING_CURVES))


def cost_plot(arcs: Sequence[Mapping]) -> str:
    """Returns a plot of costs and rewards in `arcs.json`, as HTML: of latencies, or parameters."""
    cost, axis, what = "params", "parameters", "parameters"
    if "latency_ms" in arcs[0]:
        cost, axis, what = "latency_ms", "latency, ms", "latencies"
    words = f"Rewards and {what} of derived architectures"
    return _side_by_side([_plot(words, axis, "reward", _draw_costs, arcs, cost)])


def confusion_plot(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Returns a plot of how many images of each class are taken for each, as HTML."""
    return _side_by_side(
        [_plot("What is taken for what", "taken for", "class", _draw_confusion, confusion, names)]
    )


def comparison_plots(result: Mapping) -> str:
    """Returns plots of the content of `compare.json`, as HTML."""
    x, y = "reward with shared weights", "reward trained alone"
    plots = [
        _plot("Rewards with shared weights", "reward", "architectures", _draw_rewards, result),
        _plot("Ops", "share of the set's ops", "", _draw_ops, result),
        _plot("Trained from scratch", x, y, _draw_trained, result["trained"]),
    ]
    return _side_by_side(plots)


def image(picture: Figure, words: str) -> str:
    """Returns HTML that embeds a figure as an SVG image.

    The SVG is a data URL, not part of the page's own markup, so that the ids in several images
    cannot clash.

    Args:
        picture: a figure of any size.
        words: the alternative text.
    """
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
        picture.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/svg+xml;base64,{data}">'


def _curves(records: Sequence[Mapping], wanted: Sequence) -> list[str]:
    """Returns a plot over the steps for each group of metrics that the records have."""
    images = []
    for caption, lines in wanted:
        found = [(_series(records, phase, name), label) for phase, name, label in lines]
        found = [(points, label) for points, label in found if points]
        if found:
            is_log = caption.startswith("Perplexity")
            images.append(_plot(caption, "step", "", _draw_lines, found, is_log))
    return images


def _series(records: Iterable[Mapping], phase: str, name: str) -> list[tuple[int, float]]:
    """Returns the steps and finite values of a phase's metric."""
    mine = (record for record in records if record["phase"] == phase)
    return [(r["step"], r[name]) for r in mine if r.get(name) is not None]


def _draw_lines(axes: Axes, lines: Sequence, is_log: bool) -> None:
    for (points, label), style in zip(lines, _STYLES, strict=False):
        axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set_yscale("log" if is_log else "linear")


def _draw_gap(axes: Axes, epochs: Sequence[Mapping]) -> None:
    """Draws the gap over the epochs, with its uncertainty."""
    steps, gaps, errors = (
        np.array([one[name] for one in epochs]) for name in ("step", "gap", "gap_error")
    )
    axes.axhline(0, color="0.1", lw=0.8, ls=":")
    low, high = gaps - 2 * errors, gaps + 2 * errors
    axes.fill_between(steps, low, high, color="0.85", label="within two standard errors")
    # With dots, since a single epoch draws no line.
    axes.plot(steps, gaps, color="0.1", marker=".", ms=4, label="mean of ten pairs")


def _draw_shares(axes: Axes, epochs: Sequence[Mapping], name: str) -> None:
    """Draws a strip for each op or input, as high as its share, with its name at the left."""
    steps, names = [one["step"] for one in epochs], list(epochs[-1][name])
    counts = np.array([[one[name][thing] for thing in names] for one in epochs], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    highest = max(shares.max(initial=0), 1e-9)
    for row, column in enumerate(shares.T):
        axes.fill_between(steps, row, row - 0.9 * column / highest, color="0.6")
        axes.axhline(row, color="0.1", lw=0.8)
        axes.annotate(f"{column[-1]:.0%}", (1.01, row), xycoords=("axes fraction", "data"))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _draw_rewards(axes: Axes, result: Mapping) -> None:
    sets = [
        [one["reward"] for one in result[name]["rewards"] for _ in range(one["draws"])]
        for name in ("controller", "uniform")
    ]
    edges = np.histogram_bin_edges(np.concatenate(sets), bins=15)
    axes.hist(sets[0], edges, color="0.7", label="controller, mean dashed")
    axes.hist(sets[1], edges, histtype="step", color="0.1", lw=1.5, label="uniform, mean dotted")
    axes.axvline(result["controller"]["mean"], color="0.4", ls="--")
    axes.axvline(result["uniform"]["mean"], color="0.1", ls=":")


def _draw_ops(axes: Axes, result: Mapping) -> None:
    for name, fill, shift in (("controller", "0.7", 0.0), ("uniform", "white", 0.4)):
        counts = result[name]["ops"]
        shares = np.array(list(counts.values())) / sum(counts.values())
        heights = np.arange(len(counts)) + shift
        axes.barh(heights, shares, 0.38, color=fill, edgecolor="0.1", label=name)
    axes.set_yticks(heights - 0.2, list(counts))
    axes.invert_yaxis()


def _draw_costs(axes: Axes, arcs: Sequence[Mapping], cost: str) -> None:
    """Draws all architectures, and as a line those that no other one beats."""
    axes.scatter([one[cost] for one in arcs], [one["reward"] for one in arcs], color="0.6", s=12)
    best = sorted((one[cost], one["reward"]) for one in arcs if one["front"])
    axes.plot(*zip(*best, strict=True), color="0.1", marker="o", ms=4, label="not beaten")


def _draw_confusion(axes: Axes, confusion: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Draws the shares of each class in grey, and in few classes the numbers."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    if len(names) > _NUMBERED_CLASSES:
        return
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.5 else "0.1"
        number = str(counts[row, column])
        axes.text(column, row, number, color=color, ha="center", va="center", fontsize=6)


def _draw_trained(axes: Axes, trained: Sequence[Mapping]) -> None:
    for name, fill, marker in (("controller", "0.1", "o"), ("uniform", "white", "s")):
        mine = [one for one in trained if one["from"] == name]
        x, y = ([one[n] for one in mine] for n in ("reward", "stand_alone_reward"))
        axes.scatter(x, y, color=fill, edgecolor="0.1", marker=marker, label=name)


def _plot(caption: str, x: str, y: str, draw: Callable[..., None], *data: object) -> str:
    picture = Figure(figsize=(4.6, 2.9), facecolor="white", layout="constrained")
    axes = picture.add_subplot(xlabel=x, ylabel=y)
    draw(axes, *data)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    shown = image(picture, f"plot: {caption}")
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{shown}</figure>"


def _side_by_side(plots: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(plots)}</div>'
