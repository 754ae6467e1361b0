"""A run in one page: `report.html`, a file that needs no other one, and no network."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from string import Template

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from enas_tf.derive import NOTE
from enas_tf.drawing import figure
from enas_tf.runs import Run
from enas_tf.spaces.base import Arc, Space

_SHOWN_ARCS = 10

# Lines are told apart by these, not by colours.
_STYLES = [
    {"color": "0.1", "ls": "-"},
    {"color": "0.45", "ls": "--"},
    {"color": "0.1", "ls": ":", "marker": "o", "ms": 3},
]

# Title, and phase, number and label of each line; left out where the run has no such numbers.
_SEARCH_PLOTS = [
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
    ("Entropy of the controller", [("controller", "entropy", "entropy")]),
]
_TRAIN_PLOTS = [
    (name.capitalize(), [("train", name, "training"), ("valid", name, "validation")])
    for name in ("loss", "accuracy", "perplexity")
]

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-top: 1px solid #999; padding-top: 1rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ccc; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
pre, code { font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre { background: #f2f2f2; padding: .8rem; }
img { max-width: 100%; height: auto; }
figure { margin: 0; }
.plots { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.drawing { overflow-x: auto; }
.drawing img { max-width: none; }
.verdict { border-left: .4rem solid #1a1a1a; padding-left: 1rem; font-size: 1.1rem; }
</style>
</head>
<body>
<h1>$title</h1>
$sections
</body>
</html>
""")


def write_report(
    run: Run, launcher: str, flags: str, read: Callable[[str], tuple[Space, Arc]]
) -> None:
    """Writes `report.html`, of what a run's folder holds.

    Args:
        run: of any verbs; what it does not hold is left out.
        launcher: its name.
        flags: those that go on with this run, as a command line has them.
        read: an architecture, and a space that holds it, from its text.
    """
    stored = {name: _stored(run, name) for name in ("arcs", "compare", "train/result")}
    stored["config"] = run.read_json("config.json")
    metrics = {phase: _metrics(run, phase) for phase in ("search", "train")}
    text, searched = _architecture(run, stored), metrics["search"]
    title = f"{launcher} on {stored['config']['config']['dataset']}"
    sections = [
        _setting(launcher, stored["config"]),
        _section("The search", _curves(searched, _SEARCH_PLOTS)) if searched else "",
        _best(*read(text)) if text else "",
        _ranking(stored["arcs"]),
        _comparison(stored["compare"]),
        _trained(metrics["train"], stored["train/result"]),
        _costs(metrics, stored),
        _commands(run, launcher, flags, text),
    ]
    page = _PAGE.substitute(title=html.escape(title), sections="\n".join(filter(None, sections)))
    run.write_text("report.html", page)


def _stored(run: Run, name: str) -> object:
    return run.read_json(f"{name}.json") if run.path(f"{name}.json").exists() else None


def _metrics(run: Run, phase: str) -> list[dict]:
    """The records of a phase, without the half line that a killed process may have left."""
    path = run.path(phase, "metrics.jsonl")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def _architecture(run: Run, stored: Mapping) -> str | None:
    """The text of the architecture to show: the trained, else the derived, else the best drawn."""
    if stored["train/result"]:
        return stored["train/result"]["arc"]
    if run.path("arc.txt").exists():
        return run.path("arc.txt").read_text(encoding="utf-8").strip()
    return stored["compare"]["controller"]["rewards"][0]["arc"] if stored["compare"] else None


def _setting(launcher: str, record: Mapping) -> str:
    config = record["config"]
    names = ("dataset", "preset", "seed", "deterministic", "precision")
    size = ", ".join(f"{name} {value}" for name, value in config["space"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = [("launcher", launcher), *((name, config[name]) for name in names)]
    rows += [("space", size), ("devices", ", ".join(record["devices"])), ("versions", versions)]
    whole = html.escape(json.dumps(config, indent=2))
    details = f"<details><summary>All settings</summary><pre>{whole}</pre></details>"
    return _section("What was run", _table([], rows), details)


def _trained(records: Sequence[Mapping], result: Mapping | None) -> str:
    if not records or not result:
        return ""
    rows = [
        (f"on the test split: {name}", f"{value:.4f}") for name, value in result["test"].items()
    ]
    best = result["best_valid"] or {}
    rows += [(f"best on validation: {name}", f"{value:.4g}") for name, value in best.items()]
    rows += [("parameters", f"{result['params']:,}"), ("epochs", result["epochs"])]
    return _section("Training from scratch", _table([], rows), _curves(records, _TRAIN_PLOTS))


def _best(space: Space, arc: Arc) -> str:
    drawing = _image(figure(space.graphs(arc)), "drawing of the architecture; words follow below")
    return _section(
        "The architecture",
        f"<p><code>{html.escape(str(arc))}</code></p>",
        f'<figure class="drawing" tabindex="0">{drawing}</figure>',
        f"<pre>{html.escape(space.explain(arc))}</pre>",
    )


def _ranking(arcs: Sequence[Mapping] | None) -> str:
    if not arcs:
        return ""
    shown = arcs[:_SHOWN_ARCS]
    rows = [(n, f"{a['reward']:.4f}", f"{a['params']:,}", a["arc"]) for n, a in enumerate(shown, 1)]
    return _section(
        f"The best {len(shown)} of {len(arcs)} derived architectures",
        f"<p>{html.escape(NOTE)}</p>",
        _table(["", "reward", "parameters", "architecture"], rows),
    )


def _comparison(result: Mapping | None) -> str:
    if not result:
        return ""
    columns, draws = ("controller", "uniform"), result["draws"]
    rows = [(n, *(f"{result[c][n]:.4f}" for c in columns)) for n in ("mean", "deviation", "best")]
    rows.insert(0, ("distinct architectures", *(result[c]["count"] for c in columns)))
    rows.append(("entropy in nats", f"{draws['entropy']:.2f}", f"{draws['uniform_entropy']:.2f}"))
    rows.append(("distinct among as many draws", f"{draws['distinct']} of {draws['count']}", ""))
    x, y = "reward with shared weights", "reward trained alone"
    plots = [
        _plot("Rewards with shared weights", "reward", "architectures", _draw_rewards, result),
        _plot("Ops", "share of the set's ops", "", _draw_ops, result),
        _plot("Trained from scratch", x, y, _draw_trained, result["trained"]),
    ]
    return _section(
        "Is the search better than chance?",
        f'<p class="verdict">{html.escape(result["verdict"])}</p>',
        _table(["", "the controller's", "uniform draws"], rows),
        f'<div class="plots">{"".join(plots)}</div>',
    )


def _draw_rewards(axes: Axes, result: Mapping) -> None:
    sets = [[one["reward"] for one in result[n]["rewards"]] for n in ("controller", "uniform")]
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


def _draw_trained(axes: Axes, trained: Sequence[Mapping]) -> None:
    for name, fill, marker in (("controller", "0.1", "o"), ("uniform", "white", "s")):
        mine = [one for one in trained if one["from"] == name]
        x, y = ([one[n] for one in mine] for n in ("reward", "stand_alone_reward"))
        axes.scatter(x, y, color=fill, edgecolor="0.1", marker=marker, label=name)


def _curves(records: Sequence[Mapping], wanted: Sequence) -> str:
    """Plots by the step, of all numbers that the records have."""
    images = []
    for caption, lines in wanted:
        found = [(_series(records, phase, name), label) for phase, name, label in lines]
        found = [(points, label) for points, label in found if points]
        if found:
            is_log = caption.startswith("Perplexity")
            images.append(_plot(caption, "step", "", _draw_lines, found, is_log))
    return f'<div class="plots">{"".join(images)}</div>'


def _series(records: Iterable[Mapping], phase: str, name: str) -> list[tuple[int, float]]:
    """Steps and finite values of one number of a phase."""
    mine = (record for record in records if record["phase"] == phase)
    return [(r["step"], r[name]) for r in mine if r.get(name) is not None]


def _draw_lines(axes: Axes, lines: Sequence, is_log: bool) -> None:
    for (points, label), style in zip(lines, _STYLES, strict=False):
        axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set_yscale("log" if is_log else "linear")


def _plot(caption: str, x: str, y: str, draw: Callable[..., None], *data: object) -> str:
    picture = Figure(figsize=(4.6, 2.9), facecolor="white", layout="constrained")
    axes = picture.add_subplot(xlabel=x, ylabel=y)
    draw(axes, *data)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    image = _image(picture, f"plot: {caption}")
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{image}</figure>"


def _image(picture: Figure, words: str) -> str:
    """An SVG image within the page; as a picture of its own, its names meet no others."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
        picture.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/svg+xml;base64,{data}">'


def _costs(metrics: Mapping[str, Sequence[Mapping]], stored: Mapping) -> str:
    seconds = {phase: records[-1]["seconds"] for phase, records in metrics.items() if records}
    if stored["compare"]:
        seconds["compare's trainings"] = sum(o["seconds"] for o in stored["compare"]["trained"])
    # The CPU beside GPUs draws architectures only.
    devices = stored["config"]["devices"]
    number = sum(name.startswith("GPU") for name in devices) or 1
    rows = [(n, f"{s:,.0f}", f"{s / 3600 * number:,.3f}") for n, s in seconds.items()]
    return _section("Costs", _table(["", "seconds", f"device hours (devices: {number})"], rows))


def _commands(run: Run, launcher: str, flags: str, text: str | None) -> str:
    path = run.path("arc.txt")
    is_derived = path.exists() and path.read_text(encoding="utf-8").strip() == text
    arc = f" --arc='{text}'" if text and not is_derived else ""
    command = f"python -m launchers.{launcher}"
    lines = [f"{command} train {flags}{arc}", f"{command} export {flags}"]
    words = "<p>These train the architecture (going on where it stands) and export it.</p>"
    return _section("Commands", words, *(f"<pre>{html.escape(line)}</pre>" for line in lines))


def _section(title: str, *parts: str) -> str:
    return "\n".join([f"<section><h2>{html.escape(title)}</h2>", *parts, "</section>"])


def _table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Escapes all cells."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)] if head else []
    lines += ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
