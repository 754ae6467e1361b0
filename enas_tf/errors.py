"""The errors that a launcher tells in one line.

TensorFlow is imported where it is used: plain Python imports this file too.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A mistake of the user's, told in one line: what was wrong and what to do.

    The launchers print it as `error: ...` on stderr and exit with status 2, without a traceback.
    """


class Preempted(Exception):
    """The process was asked to end, by SIGTERM; what it did so far is in a checkpoint."""


@contextmanager
def write_errors_told(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into the user's one line."""
    import tensorflow as tf

    full = (errno.ENOSPC, errno.EDQUOT)
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if not isinstance(error, OSError) or error.errno in full:
            raise UserError(
                f"the disk is full: cannot write {path}; free some space and give the same "
                "command again: it goes on from the last checkpoint"
            ) from error
        raise UserError(
            f"cannot write {path} ({error.strerror}: {error.filename or path}); "
            "use a --workdir that can be written"
        ) from error


def one_line(error: Exception | str) -> str:
    """What an error or a server says, in a line of at most 200 characters.

    It leaves out the lines and the names of graph nodes that TensorFlow adds.
    """
    text = re.sub(r"\{\{.*?\}\} ?", "", str(getattr(error, "message", error)))
    nothing = "it does not say why" if isinstance(error, str) else type(error).__name__
    return text.strip().split("\n")[0].strip()[:200] or nothing
