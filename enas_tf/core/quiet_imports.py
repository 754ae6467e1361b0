"""Imports of TensorFlow without its messages and without what takes it long."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Imports TensorFlow and Keras quickly within the context, and writes nothing to stderr.

    Hides scikit-learn and matplotlib, which Keras would import for helpers that are not used here,
    and which would take a third of the import's time.
    """
    # Some messages ignore the log level and come from C++, which writes to the file descriptor
    # itself; so that is what is redirected, not `sys.stderr`.
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with _hidden("sklearn", "matplotlib"), _without_garbage_collection():
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Makes packages look uninstalled within the context, unless they are imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    # An import of a module whose entry is None raises ModuleNotFoundError.
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turns garbage collection off within the context.

    For code that creates many lasting objects, such as an import: scanning them again and again
    takes a second. Later collections leave these objects out as well.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
