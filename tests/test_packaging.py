"""What an installed package offers."""

import ast
import importlib
import inspect
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_launcher_has_a_command_that_the_readme_names():
    setup = (ROOT / "setup.py").read_text()
    (launchers,) = re.findall(r"^LAUNCHERS = (\(.*?\))$", setup, re.MULTILINE | re.DOTALL)
    files = {path.stem for path in (ROOT / "launchers").glob("*.py")}
    assert set(ast.literal_eval(launchers)) == files - {"__init__", "cli", "flags", "start_up"}
    readme = (ROOT / "README.md").read_text()
    for name in ast.literal_eval(launchers):
        assert f"`enas-{name.replace('_', '-')}`" in readme
        # A console script calls it without arguments.
        inspect.signature(importlib.import_module(f"launchers.{name}").main).bind()
