"""What a target for costs does to searches: their derived networks, as a table and a picture.

    python -m benchmarks.budget --target=80000 --output=budget.svg runs/free runs/soft ...

Each folder is that of whole runs with `--seeds`. Prints, for each of them, the parameters of the
architectures that its controllers draw after the search (mean), of those that were derived (each
seed), and the test accuracy of their networks (mean and standard deviation); draws rewards against
parameters of all draws.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.command import run
from enas_tf.core.errors import UserError

Runs = Mapping[str, Sequence[Path]]
"""The runs of each folder, by its name."""


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=int, required=True, help="the searches' cost_target")
    parser.add_argument("--output", required=True, help="the picture's file, such as budget.svg")
    parser.add_argument("folders", nargs="+", help="folders of runs with --seeds")
    return parser.parse_args(arguments)


def find_runs(folders: Sequence[str]) -> Runs:
    """Finds the runs in folders.

    Raises:
        UserError: there is none in one of them.
    """
    found = {Path(folder).name: sorted(Path(folder).glob("seed_*")) for folder in folders}
    for name, runs in found.items():
        if not runs:
            raise UserError(f"{name} holds no seed_0, seed_1 and so on; search with --seeds")
    return found


def table(runs: Runs) -> str:
    """Returns a table in Markdown, a row for each folder."""
    lines = ["| search | parameters: mean draw | derived | test accuracy |", "|---|---|---|---|"]
    for name, folders in runs.items():
        drawn = [arc["params"] for folder in folders for arc in _arcs(folder)]
        results = [json.loads((folder / "train/result.json").read_text()) for folder in folders]
        derived = ", ".join(f"{result['params']:,}" for result in results)
        accuracies = [100 * result["test"]["accuracy"] for result in results]
        spread = f", deviation {statistics.stdev(accuracies):.1f}" if len(results) > 1 else ""
        mean = f"{statistics.fmean(accuracies):.1f} %{spread}"
        lines.append(f"| {name} | {statistics.fmean(drawn):,.0f} | {derived} | {mean} |")
    return "\n".join(lines)


def picture(runs: Runs, target: int) -> Figure:
    """Draws rewards and parameters of all draws, the searches side by side."""
    figure = Figure(figsize=(3.2 * len(runs), 2.6), layout="constrained")
    plots = figure.subplots(1, len(runs), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, folders) in zip(plots, runs.items(), strict=True):
        for folder in folders:
            arcs = _arcs(folder)
            params, rewards = ([arc[field] for arc in arcs] for field in ("params", "reward"))
            axes.scatter(params, rewards, s=10, color="0.6")
            axes.scatter(params[:1], rewards[:1], s=30, color="0.1")
        axes.axvline(target, color="0.1", lw=0.8, ls=":")
        axes.set(title=name, xlabel="parameters")
    plots[0].set_ylabel("reward")
    return figure


def _arcs(folder: Path) -> list[dict]:
    return json.loads((folder / "arcs.json").read_text())


def main() -> None:
    """Prints the table and writes the picture."""
    options = read()
    runs = find_runs(options.folders)
    print(table(runs))
    with matplotlib.rc_context({"svg.hashsalt": "enas_tf"}):
        picture(runs, options.target).savefig(options.output)


if __name__ == "__main__":
    run(main)
