"""Measures how fast the parts of a run are, at the paper's sizes.

    python -m launchers.benchmark [flags]

Each case runs in a process of its own, on random data. docs/performance.md says what each is.

Examples:
  python -m launchers.benchmark --case=micro_search,micro_static --steps=5
      a step of the shared weights, and of one architecture's network alone, as a table
  python -m launchers.benchmark --case=rnn_static --jit_compile=true --precision=mixed_bfloat16
      a step whose gradients XLA compiles, in 16 bits, and how long the compiling takes
  python -m launchers.benchmark --json
      all cases; takes long and much memory on a CPU, the final networks above all
  python -m launchers.benchmark --case=serving --export_dir=runs/cifar_micro/export/cifar_micro/1
      how fast an export loads and answers
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from enas_tf.benchmark.base import SERVING, BenchmarkConfig, table
from enas_tf.core.errors import UserError
from launchers.cli import run_command
from launchers.flags import Flags
from launchers.start_up import import_tensorflow_quietly

# The environment variable that makes a process measure its one case; it holds the start time.
_STARTED = "ENAS_TF_BENCHMARK_STARTED"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the program's name and its arguments; None takes `sys.argv`.

    Returns:
        The exit status: 0, 1 if a case failed, or one of `run_command`'s.
    """
    return run_command(_run, argv)


def _run(argv: Sequence[str]) -> int:
    flags = Flags(__doc__)
    flags.add("", {"default": BenchmarkConfig()})
    words = flags.parse(argv)
    if words:
        raise UserError(f"give flags alone, such as --case={words[0]}; got {words[0]!r}")
    config = flags.config("")
    if _STARTED in os.environ:
        print(json.dumps(_measure(config, float(os.environ[_STARTED]))), flush=True)
        return 0
    return _run_cases(config)


def _measure(config: BenchmarkConfig, started: float) -> dict:
    """Measures the case that this process was started for."""
    import_tensorflow_quietly()
    if config.case == SERVING:
        from enas_tf.benchmark.serving import serving

        return serving(config.export_dir, config.steps)
    from enas_tf.benchmark.cases import run

    return run(config.case, config, started)


def _run_cases(config: BenchmarkConfig) -> int:
    """Runs each case in a process of its own, one after the other, up to the first failure."""
    results, status = [], 0
    for case in config.cases:
        if not config.json:
            print(f"measuring {case}", file=sys.stderr)
        arguments = [f"--case={case}", f"--batch={config.batch}", f"--steps={config.steps}"]
        arguments += [f"--jit_compile={config.jit_compile}", f"--precision={config.precision}"]
        arguments += [f"--export_dir={config.export_dir}"]
        done = subprocess.run(
            [sys.executable, "-m", "launchers.benchmark", *arguments],
            env={**os.environ, _STARTED: repr(time.time())},
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode == 2:  # a user's mistake, which the process has reported
            status = 2
            break
        if done.returncode:
            print(f"{case} ended with status {done.returncode}", file=sys.stderr)
            status = 1
            break
        results.append(json.loads(done.stdout))
        if config.json:
            print(json.dumps(results[-1]), flush=True)
    if results and not config.json:
        print(table(results))
    return status


if __name__ == "__main__":
    sys.exit(main())
