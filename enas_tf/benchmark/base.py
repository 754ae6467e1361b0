"""The benchmark's configuration, and a table of its results; does not import TensorFlow.

The process that starts a process for each case must stay small: on Linux, the peak memory of a
process includes the memory that its parent had when it was started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enas_tf.core.config import option
from enas_tf.core.errors import UserError

SPACES = ("micro", "macro", "rnn")
"""The names of the search spaces, with which the names of cases begin."""

KINDS = ("search", "held", "static", "reward", "controller", "sample", "final")
"""The kinds of cases that each space has; docs/performance.md describes them."""

CASES = (*(f"{space}_{kind}" for kind in KINDS for space in SPACES), "input_pipeline")
"""The cases that need nothing but this package."""

SERVING = "serving"
"""The name of the case that measures an export."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure, and for how long."""

    case: str = option(
        "all", f"cases, separated by commas: {', '.join(CASES)}; {SERVING}; or all but the last"
    )
    batch: int = option(0, "examples in a batch; 0: as many as the paper preset has")
    steps: int = option(10, "measured steps of each case; the median counts")
    jit_compile: Literal["auto", "true", "false"] = option(
        "auto", "whether XLA compiles the steps; auto: as a run would"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "of the networks' computations; weights are always float32"
    )
    json: bool = option(False, "print JSON alone, one case a line, as soon as it is measured")
    export_dir: str | None = option(None, f"the version's folder that {SERVING} loads")

    def __post_init__(self) -> None:
        """Raises UserError if a case or its export does not exist, or a number is out of range."""
        for case in self.cases:
            if case not in (*CASES, SERVING):
                known = ", ".join((*CASES, SERVING))
                raise UserError(f"no case is called {case!r}; give all, or some of {known}")
        if self.batch < 0:
            raise UserError(f"batch must be at least 1, or 0 for the preset's, got {self.batch}")
        if self.steps < 1:
            raise UserError(f"steps must be at least 1, got {self.steps}")
        if SERVING in self.cases:
            self._check_export()

    @property
    def cases(self) -> tuple[str, ...]:
        """The names of the cases to measure."""
        return CASES if self.case == "all" else tuple(self.case.split(","))

    def _check_export(self) -> None:
        hint = "give --export_dir=FOLDER, such as runs/cifar_micro/export/cifar_micro/1"
        if not self.export_dir:
            raise UserError(f"{SERVING} needs an export: {hint}")
        if not (Path(self.export_dir) / "saved_model.pb").exists():
            raise UserError(f"{self.export_dir} holds no saved_model.pb: {hint}")


def table(results: Sequence[Mapping]) -> str:
    """Formats results as a table: a line for each case, a column for each field that occurs."""
    columns = list(dict.fromkeys(name for result in results for name in result))
    rows = [columns, *([_shown(result.get(name)) for name in columns] for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    )


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
