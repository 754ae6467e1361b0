"""The error that a user's mistake raises."""


class UserError(ValueError):
    """A mistake of the user's, told in one line: what was wrong and what to do.

    The launchers print it as `error: ...` on stderr and exit with status 2, without a traceback.
    """


class Preempted(Exception):
    """The process was asked to end, by SIGTERM; what it did so far is in a checkpoint."""
