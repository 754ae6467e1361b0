"""What `import enas_tf` offers."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import enas_tf

ROOT = Path(__file__).parents[1]
NAMES = [name for name in enas_tf.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_its_module_holds(name):
    module = importlib.import_module(enas_tf._MODULES[name])
    assert getattr(enas_tf, name) is getattr(module, name)
    assert name in dir(enas_tf)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "enas_tf/__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == enas_tf._MODULES
    assert (ROOT / "enas_tf/py.typed").exists()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'enas_tf' has no attribute 'Nothing'"):
        enas_tf.Nothing  # noqa: B018


def test_spaces_and_errors_load_no_tensorflow():
    code = (
        "import sys; from enas_tf import PUBLISHED, MicroSpace, UserError; "
        "space, arc = MicroSpace.of(PUBLISHED['micro_enas'].text); "
        "assert arc.to_json() and space.explain(arc) and space.count(); "
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
