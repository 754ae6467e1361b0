"""Errors that a launcher reports in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """An error made by the user; the message says in one line what is wrong and what to do.

    Launchers print it as `error: ...` on stderr and exit with status 2, without a traceback.
    """


class NotFinite(UserError):
    """Raised for a loss or a weight that is infinite or not a number."""


class Preempted(Exception):
    """Raised after a signal asked the process to end; its work so far is in a checkpoint.

    Args:
        message: what was stopped, and where.
        signal: the signal's number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def one_line(error: Exception | str) -> str:
    """Returns the message of an error or a server as one line of at most 200 characters.

    The lines and the names of graph nodes that TensorFlow adds are left out.
    """
    text = re.sub(r"\{\{.*?\}\} ?", "", str(getattr(error, "message", error)))
    nothing = "it does not say why" if isinstance(error, str) else type(error).__name__
    return text.strip().split("\n")[0].strip()[:200] or nothing


@contextmanager
def raised_in_pipelines() -> Iterator[None]:
    """Raises anew a UserError that was raised inside a pipeline of `tf.data`.

    TensorFlow turns it into an error of its own, which holds its name and line among others.
    """
    try:
        yield
    except Exception as error:
        found = re.search(r"\bUserError: (.+)", str(error))
        if isinstance(error, UserError) or found is None:
            raise
        raise UserError(found[1]) from error
