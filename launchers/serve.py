"""Starts TensorFlow Serving on an exported model.

    python -m launchers.serve --export_dir=runs/.../export/NAME [flags]

It takes tensorflow_model_server where that is on the PATH, else the image tensorflow/serving by
docker or podman; waits until the model answers; prints where, with an example of a request; and
stays until Ctrl-C or SIGTERM, which stop the server too. A version exported in the meantime is
served as soon as it is there.

Examples:
  python -m launchers.serve --export_dir=runs/cifar_micro/export/cifar_micro
      gRPC on port 8500, REST on port 8501
  python -m launchers.serve --export_dir=runs/ptb_rnn/export/ptb_rnn --port=9500 --rest_port=9501
      another model beside it
  python -m launchers.serve --export_dir=gs://bucket/runs/mine/export/cifar_micro
      a model in a store (docs/remote.md)
"""

import signal
import sys
from collections.abc import Sequence

from enas_tf.core.errors import UserError
from enas_tf.serving.server import ServeConfig, serve
from launchers.cli import run_command
from launchers.flags import Flags
from launchers.start_up import import_tensorflow_quietly


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the program's name and its arguments; None takes `sys.argv`.

    Returns:
        The exit status: 0 after the server was stopped, or one of `run_command`'s.
    """
    return run_command(_run, argv)


def _run(argv: Sequence[str]) -> int:
    flags = Flags(__doc__)
    flags.add("", {"default": ServeConfig()})
    words = flags.parse(argv)
    if words:
        raise UserError(f"give the folder by --export_dir; got {' '.join(words)!r}")
    config = flags.config("")
    if config.export_dir and config.export_dir.startswith("gs://"):
        # It is TensorFlow that reads gs://; nothing else here needs it.
        import_tensorflow_quietly()
    # These raise KeyboardInterrupt, as Ctrl-C does, so that `serve` stops the server too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What nohup has a process ignore stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        serve(config)
    except KeyboardInterrupt:
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
