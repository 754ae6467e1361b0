"""How the launchers start TensorFlow: without its messages, and with what makes it quick."""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CACHE_FLAG = "--tf_xla_persistent_cache_directory"
_GEMM_FLAG = "--xla_gpu_enable_triton_gemm"


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up messages, which would bury a one-line error.

    It also hides scikit-learn and matplotlib, which Keras would import for helpers that are not
    used here, and which would take a third of the import's time.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _keep_compiled_programs()
    _compile_quickly()
    # Some messages ignore the log level and come from C++, which writes to the file descriptor
    # itself; so that is what is redirected, not `sys.stderr`.
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with _hidden("sklearn", "matplotlib"), _without_garbage_collection():
            tensorflow = importlib.import_module("tensorflow")
        tensorflow.get_logger().setLevel("ERROR")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _keep_compiled_programs() -> None:
    """Makes TensorFlow cache the programs that XLA compiles, for later processes.

    `ENAS_TF_XLA_CACHE` names the cache folder; if it is empty, nothing is cached. A folder that
    cannot be written is not used. If `TF_XLA_FLAGS`, which TensorFlow reads when it is imported,
    names another folder already, that one is used.
    """
    default = Path.home() / ".cache/enas_tf/xla"
    folder = os.environ.get("ENAS_TF_XLA_CACHE", str(default))
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if not folder or _CACHE_FLAG in flags:
        return
    with suppress(OSError):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        os.environ["TF_XLA_FLAGS"] = f"{flags} {_CACHE_FLAG}={folder}".strip()


def _compile_quickly() -> None:
    """Makes XLA use cuBLAS for matrix products on GPUs.

    Otherwise it would compile dozens of programs for each size, to choose the fastest one. If
    `XLA_FLAGS` sets this option already, it is left as it is.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _GEMM_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_GEMM_FLAG}=false".strip()


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
