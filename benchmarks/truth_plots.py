"""Draws how far rewards rank architectures, and what a controller learns, by their true accuracies.

    python -m benchmarks.truth_plots runs/ranks --truth=nasbench201.csv --output=truth.svg

The folder is that of a run in NAS-Bench-201's space that was searched and derived with `--truth`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.command import run
from enas_tf.core.errors import UserError
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.truth import Truth, read_truth
from enas_tf.search.truth_report import uniform_draws

_SPACE = Nasbench201Space(4)


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the run")
    parser.add_argument("--truth", required=True, help="the table of true accuracies")
    parser.add_argument("--truth_column", help="its column; the first one if left out")
    parser.add_argument("--output", required=True, help="the picture's file, such as truth.svg")
    return parser.parse_args(arguments)


def picture(folder: Path, truth: Truth) -> Figure:
    """Draws rewards against true accuracies, and the mean truth of an epoch's draws.

    Raises:
        UserError: the run was not searched and derived with a table.
    """
    valid = [r for r in _lines(folder / "search/metrics.jsonl") if r.get("truth") is not None]
    # Of an architecture that was rewarded again, after the search had gone on, the last one counts.
    rewarded = {one["arc"]: one["reward"] for one in _lines(folder / "search/derived.jsonl")}
    drawn = [one["arc"] for one in json.loads((folder / "arcs.json").read_text())]
    seed = json.loads((folder / "config.json").read_text())["seed"]
    uniform = {arc: rewarded[arc] for arc in uniform_draws(_SPACE, seed) if arc in rewarded}
    if not valid or not uniform:
        raise UserError(f"{folder} was not both searched and derived with --truth")
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    ranks, learns = figure.subplots(1, 2)
    _scatter(ranks, truth, uniform, "uniform draws", color="0.65", s=10)
    controllers = {arc: rewarded[arc] for arc in drawn}
    _scatter(ranks, truth, controllers, "the controller's", color="0.3", s=14, marker="^")
    _scatter(ranks, truth, {drawn[0]: rewarded[drawn[0]]}, "derived", color="0", s=50, marker="*")
    ranks.set(xlabel="true accuracy, %", ylabel="reward by shared weights")
    ranks.legend(frameon=False, fontsize=8, loc="center left")
    epochs = [1 + record["epoch"] for record in valid]
    learns.plot(epochs, [r["truth"] for r in valid], color="0.1", label="the controller's draws")
    known = [r["uniform_truth"] for r in valid]
    learns.plot(epochs, known, color="0.5", ls="--", label="mean of all cells")
    learns.axhline(truth.best, color="0.5", ls=":", label="the best cell")
    learns.set(xlabel="epoch of the search", ylabel="mean true accuracy, %")
    learns.legend(frameon=False, fontsize=8)
    return figure


def _scatter(
    axes: Axes, truth: Truth, rewards: Mapping[str, float], label: str, **style: object
) -> None:
    accuracies = [truth.accuracy(arc.split()) for arc in rewards]
    axes.scatter(accuracies, list(rewards.values()), label=label, lw=0, **style)


def _lines(path: Path) -> list[dict]:
    if not path.exists():
        raise UserError(f"{path} is missing; search and derive with --truth first")
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    """Writes the picture."""
    given = read()
    figure = picture(given.folder, read_truth(given.truth, given.truth_column, _SPACE))
    with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
        figure.savefig(given.output, metadata={"Date": None})


if __name__ == "__main__":
    run(main)
