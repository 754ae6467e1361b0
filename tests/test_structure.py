"""The project's own rules: which folder may import which, and how long a file may be."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("enas_tf/**/*.py"), *ROOT.glob("launchers/**/*.py")])

# A file imports from its own folder, and from folders in lines above its own.
ORDER = [
    ["enas_tf.core"],
    ["enas_tf.zoo", "enas_tf.data"],
    ["enas_tf.layers"],
    ["enas_tf.tasks"],
    ["enas_tf.training"],
    ["enas_tf.reporting", "enas_tf.export", "enas_tf.serving"],
    ["enas_tf.search"],
    ["enas_tf.experiment"],
    ["enas_tf.micro", "enas_tf.macro", "enas_tf.rnn", "enas_tf.nasbench201"],
    ["enas_tf.benchmark"],
    ["enas_tf.keras_hook"],
    ["enas_tf"],
    ["launchers"],
]
LINES = {folder: line for line, folders in enumerate(ORDER) for folder in folders}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def folder_of(module):
    """The folder of a file of `enas_tf`, or the loose file itself; `launchers` is one folder."""
    package, *rest = module.split(".")
    return f"{package}.{rest[0]}" if package == "enas_tf" and rest else package


def imported_modules(path):
    """The project's modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from enas_tf.search import arcs_log` imports a module, not a name in one.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("enas_tf", "launchers"))


def allowed(importer, imported):
    """Whether a module may import another one of the project."""
    if folder_of(importer) == folder_of(imported) or imported == "enas_tf":
        # The package itself imports nothing but when it is asked for one of its names.
        return folder_of(importer) != "enas_tf" or imported != "enas_tf"
    return LINES[folder_of(imported)] < LINES[folder_of(importer)]


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_lines_above(module):
    wrong = [name for name in imported_modules(MODULES[module]) if not allowed(module, name)]
    assert not wrong, f"{module} imports {wrong}"


def test_no_files_import_each_other():
    graph = {
        module: {name for name in imported_modules(path) if name != "enas_tf"}
        for module, path in MODULES.items()
        if module != "enas_tf"
    }
    # Raises CycleError, which names the files.
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_every_folder_has_its_line():
    assert {folder_of(module) for module in MODULES} == LINES.keys()


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("enas_tf.layers.norm", "enas_tf.core.errors", True),
        ("enas_tf.core.errors", "enas_tf.layers.norm", False),
        ("enas_tf.layers.conv", "enas_tf.layers.norm", True),
        ("enas_tf.micro.network", "enas_tf.macro.network", False),
        ("enas_tf.micro.controller", "enas_tf.search.controller", True),
        ("enas_tf.search.controller", "enas_tf.micro.controller", False),
        ("enas_tf.search.search", "enas_tf.micro.recipe", False),
        ("enas_tf.training.run_folder", "enas_tf", True),
        ("enas_tf.experiment.experiment", "launchers.cli", False),
        ("launchers.cli", "enas_tf.experiment.experiment", True),
    ],
)
def test_the_rule_itself(importer, imported, is_allowed):
    assert allowed(importer, imported) is is_allowed


SPACES = [f"enas_tf.{space}.space" for space in ("micro", "macro", "rnn", "nasbench201")]


@pytest.mark.parametrize(
    "modules",
    [["enas_tf"], ["enas_tf.zoo", *SPACES], [m for m in MODULES if m.startswith("enas_tf.core")]],
    ids=["the package", "spaces", "core"],
)
def test_loads_without_tensorflow(modules):
    code = (
        f"import sys; import {', '.join(modules)}; "
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 400
