"""The progress line of long work."""

import shutil
import sys
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any, TextIO

from enas_tf.core.duration import format_duration

# Seconds between two updates on the screen: a live line may change often, a log must stay short.
_LIVE_INTERVAL = 0.5
_PLAIN_INTERVAL = 10.0

# The speed is measured over this many updates on the screen.
_SPEED_SHOWINGS = 10


class Progress:
    """Shows epoch, step, metrics, examples per second and the time left.

    On a terminal this is one live line, elsewhere a plain line every ten seconds at most. The time
    left is computed from the steps of this process only, so that a resumed run does not count what
    an earlier process did; the first step, which includes tracing, is left out too.

    Args:
        total_steps: number of the step at which the work is done.
        examples: what the speed counts, such as `images` or `tokens`.
        label: first word of the line.
        stream: stream to write to; None is standard output.

    All methods but `close` raise OSError once the stream's other end is gone, such as a terminal or
    the reader of a pipe.

    Example:

    ```python
    with Progress(total_steps=1000, examples="images", label="train") as progress:
        for step in range(1, 1001):
            progress.update(step, epoch=0, num_examples=128, loss=train_step())
    ```
    """

    def __init__(
        self,
        total_steps: int,
        examples: str = "images",
        label: str = "search",
        stream: TextIO | None = None,
    ) -> None:
        self._total_steps = total_steps
        self._examples = examples
        self._label = label
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._interval = _LIVE_INTERVAL if self._live else _PLAIN_INTERVAL
        self._done_examples = 0
        self._metrics: dict[str, Any] = {}
        self._last_line = ""
        # (time, step, examples so far) of the first call of `update`, and of the latest lines.
        self._first: tuple[float, int, int] | None = None
        self._showings: deque[tuple[float, int, int]] = deque(maxlen=_SPEED_SHOWINGS)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, step: int, *, epoch: int, num_examples: float, **metrics: Any) -> None:
        """Notes what has been done, and shows it if the last line is long enough ago.

        Args:
            step: number of steps done so far, including those of earlier processes.
            epoch: epoch of that step.
            num_examples: number of examples since the last update.
            **metrics: metrics such as `loss` and `reward`, anything that `float` accepts. The
                latest value of each is shown. It is converted only then, so that no step waits for
                a tensor that is not shown.
        """
        self._done_examples += num_examples
        self._metrics |= metrics
        now = (monotonic(), step, self._done_examples)
        self._first = self._first or now
        done = step >= self._total_steps
        if self._showings and not done and now[0] - self._showings[-1][0] < self._interval:
            return
        self._showings.append(now)
        parts = [f"epoch {epoch}", f"step {step:,}/{self._total_steps:,}"]
        parts += [f"{name} {float(value):.4g}" for name, value in self._metrics.items()]
        self._show(f"{self._label}: " + ", ".join(parts + self._speed(now)))

    def note(self, text: str) -> None:
        """Writes a line that stays on the screen, such as the result of an epoch."""
        if self._live:
            self._stream.write("\r" + " " * len(self._last_line) + "\r")
        self._stream.write(text + "\n")
        if self._live:
            self._stream.write(self._last_line)
        self._stream.flush()

    def close(self) -> None:
        """Ends the live line, so that later output starts on a new line."""
        if self._live and self._last_line:
            with suppress(OSError):
                self._stream.write("\n")
                self._stream.flush()
            self._last_line = ""

    def _speed(self, now: tuple[float, int, int]) -> list[str]:
        """Returns examples per second and time left; nothing after the first update only."""
        time, step, num_examples = now
        first_time, first_step, _ = self._first
        if time == first_time or step == first_step:
            return []
        since_time, _, since_examples = self._showings[0]
        speed = (num_examples - since_examples) / (time - since_time)
        left = (time - first_time) / (step - first_step) * (self._total_steps - step)
        return [f"{speed:,.0f} {self._examples}/s", f"{format_duration(left)} left"]

    def _show(self, line: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            line = line[:width]
            self._stream.write("\r" + line.ljust(len(self._last_line)))
            self._last_line = line
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
