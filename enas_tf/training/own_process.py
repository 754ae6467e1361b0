"""What a process of `enas_tf.training.processes` does; it imports TensorFlow for its work only."""

import importlib
import logging
import os
import pickle
import signal
import sys
import threading

from enas_tf.core.errors import NotFinite, Preempted, UserError
from enas_tf.core.quiet_imports import quiet_imports

NOT_FINITE = 3
"""The exit status after a loss or weight that was not finite."""


def main() -> int:
    """Does the work that standard input holds; ends when standard input does.

    Returns:
        The exit status, as of a launcher, and `NOT_FINITE`.
    """
    # Ctrl-C reaches the process that has started this one too, which decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So that each line reaches the log at once, and whole.
    sys.stdout.reconfigure(line_buffering=True)
    cores, module, pickled = pickle.load(sys.stdin.buffer)
    if cores:
        os.sched_setaffinity(0, cores)
    threading.Thread(target=_stop_at_the_end_of_input, daemon=True).start()
    with quiet_imports():
        importlib.import_module(module)
    logging.getLogger("tensorflow").setLevel("ERROR")
    make, work = pickle.loads(pickled)
    try:
        work(make())
    except UserError as error:
        print(f"error: {error}")
        return NOT_FINITE if isinstance(error, NotFinite) else 2
    except Preempted as stop:
        print(stop)
        return 128 + stop.signal
    return 0


def _stop_at_the_end_of_input() -> None:
    """Ends this process, with a checkpoint where it can, once the one that started it has ended."""
    # Not by sys.stdin, whose lock this thread would hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
