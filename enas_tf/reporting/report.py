"""The report of a run: `report.html`, one file that needs no other files and no network."""

import html
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from string import Template

from enas_tf.core.space import Arc, Space
from enas_tf.reporting.drawing import figure
from enas_tf.reporting.plots import (
    comparison_plots,
    confusion_plot,
    cost_plot,
    image,
    search_plots,
    training_plots,
)
from enas_tf.tasks.base import REWARD_NOTE
from enas_tf.training.metric_writer import metric_text, read_metrics
from enas_tf.training.run_folder import Run

_RESULTS = ("arcs", "truth", "compare", "train/result", "train/classes")

_SHOWN_ARCS = 10

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
  vertical-align: top; }
td:last-child { overflow-wrap: anywhere; }
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
    run: Run, launcher: str, flags: Sequence[str], read: Callable[[str], tuple[Space, Arc]]
) -> None:
    """Writes `report.html` from what a run's folder holds.

    Args:
        run: the run; results of verbs that it has not run are left out.
        launcher: the name of the launcher.
        flags: the flags that resume the run.
        read: a callable that returns an architecture, and a space that holds it, from its text.
    """
    stored = {name: _stored(run, name) for name in _RESULTS}
    stored["config"] = run.read_json("config.json")
    metrics = {phase: read_metrics(run.path(phase)) for phase in ("search", "train")}
    text, searched = _architecture(run, stored), metrics["search"]
    title = f"{launcher} on {stored['config']['config']['dataset']}"
    sections = [
        _setting(launcher, stored["config"]),
        _section("The search", search_plots(searched)) if searched else "",
        _best(*read(text)) if text else "",
        _ranking(stored["arcs"], _reward_note(stored["config"]["config"])),
        _truth(stored["truth"]),
        _comparison(stored["compare"]),
        _trained(metrics["train"], stored["train/result"]),
        _classes(stored["train/classes"]),
        _costs(metrics, stored),
        _commands(run, launcher, shlex.join(flags), text),
    ]
    page = _PAGE.substitute(title=html.escape(title), sections="\n".join(filter(None, sections)))
    run.write_text("report.html", page)


def _stored(run: Run, name: str) -> object:
    return run.read_json(f"{name}.json") if run.path(f"{name}.json").exists() else None


def _architecture(run: Run, stored: Mapping) -> str | None:
    """Returns the architecture to show: the trained one, else the derived, else the best drawn."""
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
    rows = [(f"on the test split: {name}", metric_text(v)) for name, v in result["test"].items()]
    best = result["best_valid"] or {}
    rows += [
        (f"best on validation: {name}", metric_text(value, ".4g")) for name, value in best.items()
    ]
    rows += [("parameters", f"{result['params']:,}"), ("epochs", result["epochs"])]
    init = result.get("init")
    if init:
        taken = f"{init['taken_weights']:,} of {init['weights']:,} weights"
        rows.append(("started from", f"{init['from']}: {taken}"))
    title = "Training from given weights" if init else "Training from scratch"
    return _section(title, _table([], rows), training_plots(records))


def _classes(details: Mapping | None) -> str:
    """Returns the accuracy of each class, the worst first, and what was taken for what."""
    if not details:
        return ""
    found = {name: value for name, value in details["class_accuracy"].items() if value is not None}
    rows = [(name, f"{found[name]:.4f}") for name in sorted(found, key=found.get)]
    confusion, names = details.get("confusion"), list(details["class_accuracy"])
    picture = confusion_plot(confusion, names) if confusion else ""
    return _section("Test images by class", _table(["class", "accuracy"], rows), picture)


def _best(space: Space, arc: Arc) -> str:
    drawing = image(figure(space.graphs(arc)), "drawing of the architecture; words follow below")
    return _section(
        "The architecture",
        f"<p><code>{html.escape(str(arc))}</code></p>",
        f'<figure class="drawing" tabindex="0">{drawing}</figure>',
        f"<pre>{html.escape(space.explain(arc))}</pre>",
    )


def _reward_note(config: Mapping) -> str:
    """Returns what the run's rewards are, in words."""
    if config["search"]["reward"] == "truth":
        return f"These rewards are true accuracies, of {config['truth']}."
    return REWARD_NOTE


def _ranking(arcs: Sequence[Mapping] | None, note: str) -> str:
    if not arcs:
        return ""
    shown, has_latency = arcs[:_SHOWN_ARCS], "latency_ms" in arcs[0]
    rows = [
        (
            n,
            f"{a['reward']:.4f}",
            f"{a['params']:,}",
            f"{a['madds']:,}",
            *([f"{a['latency_ms']:,.2f}"] if has_latency else []),
            a["arc"],
        )
        for n, a in enumerate(shown, 1)
    ]
    costs = ["parameters", "multiply-adds", *(["latency, ms"] if has_latency else [])]
    return _section(
        f"The best {len(shown)} of {len(arcs)} derived architectures",
        f"<p>{html.escape(note)}</p>",
        _table(["", "reward", *costs, "architecture"], rows),
        cost_plot(arcs),
    )


def _truth(result: Mapping | None) -> str:
    if not result:
        return ""
    rows = []
    names = {"derived": "derived", "random_search": "best of as many uniform draws"}
    for name, found in ((names[name], result[name]) for name in names):
        if found:
            rank = f"{found['rank']:,} of {found['of']:,}"
            numbers = (found["accuracy"], found["percentile"], found["regret"])
            rows.append((name, rank, *(f"{number:.2f}" for number in numbers)))
    head = ["", "rank", "accuracy", "percentile", "points below the best"]
    measures = [
        (name, *(f"{one[end]:.2f}" for end in ("value", "low", "high")))
        for name, one in (result["agreement"] or {}).items()
    ]
    draws = f"rewards against the truth, {result['draws']} uniform draws"
    return _section(
        "Held against the truth",
        f"<p>{html.escape(result['source'].rstrip(','))}</p>",
        _table(head, rows),
        _table([draws, "", "from", "to (95 %)"], measures) if measures else "",
    )


def _comparison(result: Mapping | None) -> str:
    if not result:
        return ""
    columns = ("controller", "uniform")
    rows = [("architectures drawn", *(result[c]["count"] for c in columns))]
    rows.append(("distinct ones among them", *(result[c]["distinct"] for c in columns)))
    for name in ("mean", "deviation", "best"):
        rows.append((f"{name} reward", *(f"{result[c][name]:.4f}" for c in columns)))
    rows.append(("entropy in nats", *(f"{result['entropy'][c]:.2f}" for c in columns)))
    return _section(
        "Is the search better than chance?",
        f'<p class="verdict">{html.escape(result["verdict"])}</p>',
        _table(["", "the controller's", "uniform draws"], rows),
        comparison_plots(result),
    )


def _costs(metrics: Mapping[str, Sequence[Mapping]], stored: Mapping) -> str:
    seconds = {phase: records[-1]["seconds"] for phase, records in metrics.items() if records}
    if stored["compare"]:
        seconds["compare's trainings"] = sum(o["seconds"] for o in stored["compare"]["trained"])
    # Beside GPUs, the CPU only draws architectures, so it does not count.
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
    """Returns an HTML table; escapes the text of all cells."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)] if head else []
    lines += ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
