"""The project's own rules: which file may import which, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("enas_tf/**/*.py"), *ROOT.glob("launchers/**/*.py")])

# Rows of files and folders of enas_tf, the lowest first. A file imports from lower rows, and from
# the lists before its own in its row; in its own list from a base.py in its folder alone.
ROWS = [
    [["errors", "options", "schedules"], ["spaces.graphs"], ["spaces"]],
    [
        ["data.shards"],
        ["data.text"],
        ["child", "drawing", "data"],
        ["layers.form"],
        [
            "layers.graph",
            "layers.image_ops",
            "layers.initial",
            "layers.dropout",
            "layers.norm",
            "layers.softmax",
            "layers.tensor_lists",
        ],
        ["layers.choice", "layers.conv", "layers.entries", "layers.recurrence"],
        [
            "layers.banks",
            "layers.macro_ops",
            "layers.aux_head",
            "layers.language_model",
        ],
        ["layers.layer_banks", "layers.nodes"],
        ["layers.shared_cell"],
    ],
    [["supernets", "networks", "controllers", "tasks"]],
    [
        ["optimizers", "averaging", "runs", "checkpoints", "progress", "strategies"],
        ["reinforce", "learner", "metrics", "workers"],
        ["loop"],
        ["diagnostics"],
    ],
    [
        ["export.serving_files", "serving", "verdict"],
        ["arcs_log", "train", "export", "plots"],
        ["search"],
        ["derive"],
        ["compare", "report"],
    ],
    [["settings"], ["domains"], ["recipes"]],
    [
        ["preflight", "describe"],
        ["experiment"],
        ["seeds", "benchmark.base", "benchmark.measuring", "benchmark.static"],
        ["benchmark.subjects", "benchmark.serving"],
        ["benchmark"],
    ],
]
LAUNCHERS = ["flags", "cli"]

PLACES = {
    name: (row, place)
    for row, lists in enumerate(ROWS)
    for place, names in enumerate(lists)
    for name in names
}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def place_of(module):
    """Row and place in the row."""
    package, *rest = module.split(".")
    if package == "launchers":
        place = LAUNCHERS.index(rest[0]) if rest and rest[0] in LAUNCHERS else len(LAUNCHERS)
        return len(ROWS), place
    if not rest:
        return -1, 0
    # A package itself, such as enas_tf.layers, holds nothing and stands below its files.
    return PLACES.get(".".join(rest[:2])) or PLACES.get(rest[0], (-1, 0))


def imported_modules(path):
    """The project's modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from enas_tf.networks import micro` imports a module, not a name in one.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("enas_tf", "launchers"))


def allowed(importer, imported):
    """Whether a module may import another one of the project."""
    own_base = ".".join([*importer.split(".")[:-1], "base"])
    if imported == own_base and importer != own_base:
        return True
    return place_of(imported) < place_of(importer)


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_lower_rows(module):
    wrong = [name for name in imported_modules(MODULES[module]) if not allowed(module, name)]
    assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".")])
def test_every_file_has_a_row(module):
    assert module == "enas_tf.layers" or place_of(module)[0] >= 0


def test_every_entry_of_a_row_is_a_file_or_a_folder():
    entries = [*(f"enas_tf.{name}" for name in PLACES), *(f"launchers.{n}" for n in LAUNCHERS)]
    assert [entry for entry in entries if entry not in MODULES] == []


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("enas_tf.layers.norm", "enas_tf.errors", True),
        ("enas_tf.errors", "enas_tf.layers.norm", False),
        ("enas_tf.layers.conv", "enas_tf.layers.norm", True),
        ("enas_tf.layers.norm", "enas_tf.layers.conv", False),
        ("enas_tf.networks.micro", "enas_tf.supernets.micro", False),
        ("enas_tf.controllers.micro", "enas_tf.controllers.base", True),
        ("enas_tf.controllers.base", "enas_tf.controllers.micro", False),
        ("enas_tf.loop", "enas_tf.runs", True),
        ("enas_tf.runs", "enas_tf.loop", False),
        ("enas_tf.search", "enas_tf.recipes", False),
        ("enas_tf.experiment", "launchers.cli", False),
        ("launchers.cli", "launchers.flags", True),
        ("launchers.flags", "launchers.cli", False),
    ],
)
def test_the_rule_itself(importer, imported, is_allowed):
    assert allowed(importer, imported) is is_allowed


@pytest.mark.parametrize("statement", ["import enas_tf", "import enas_tf.spaces.zoo"])
def test_loads_without_tensorflow(statement):
    spaces = "; ".join(f"import {name}" for name in MODULES if name.startswith("enas_tf.spaces"))
    code = (
        f"import sys; {statement}; {spaces if 'spaces' in statement else 'pass'}; "
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 300
