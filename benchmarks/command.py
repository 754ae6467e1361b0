"""How the scripts of this folder run as commands."""

import sys
from collections.abc import Callable
from typing import NoReturn

from launchers.cli import run_command


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a script and ends the process; a user's mistake is told in one line, as by launchers."""

    def command(argv: object) -> int:
        main()
        return 0

    sys.exit(run_command(command, None))
