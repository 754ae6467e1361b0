"""The errors that a launcher reports in one line."""

import re


class UserError(ValueError):
    """A mistake of the user's, reported in one line: what was wrong and what to do.

    The launchers print it as `error: ...` on stderr and exit with status 2, without a traceback.
    """


class Preempted(Exception):
    """The process was asked to end, by SIGTERM; what it did so far is in a checkpoint."""


def one_line(error: Exception | str) -> str:
    """What an error or a server says, in a line of at most 200 characters.

    It leaves out the lines and the names of graph nodes that TensorFlow adds.
    """
    text = re.sub(r"\{\{.*?\}\} ?", "", str(getattr(error, "message", error)))
    nothing = "it does not say why" if isinstance(error, str) else type(error).__name__
    return text.strip().split("\n")[0].strip()[:200] or nothing
