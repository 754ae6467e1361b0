"""The file `search/arcs.jsonl`: some of the controller's architectures, with rewards, by epoch."""

import json
from collections.abc import Sequence

from enas_tf.core.space import Arc
from enas_tf.training.run_folder import Run, json_line

_FILE = "search/arcs.jsonl"


def write_epoch(run: Run, epoch: int, arcs: Sequence[Arc], rewards: Sequence[float]) -> None:
    """Adds the rewarded architectures of an epoch.

    Lines of this or later epochs, from before a kill or a return to a checkpoint, are removed.
    """
    lines = [line for line in _lines(run) if json.loads(line)["epoch"] < epoch]
    for arc, reward in zip(arcs, rewards, strict=False):
        lines.append(json_line({"epoch": epoch, "arc": str(arc), "reward": reward}))
    run.write_text(_FILE, "\n".join(lines) + "\n")


def _lines(run: Run) -> list[str]:
    path = run.path(_FILE)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
