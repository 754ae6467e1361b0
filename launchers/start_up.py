"""How the launchers start TensorFlow: without its messages, and with what makes it quick."""

import importlib
import os
from contextlib import suppress
from pathlib import Path

from enas_tf.core.quiet_imports import quiet_imports

_CACHE_FLAG = "--tf_xla_persistent_cache_directory"
_GEMM_FLAG = "--xla_gpu_enable_triton_gemm"


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up messages, which would bury a one-line error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _keep_compiled_programs()
    _compile_quickly()
    with quiet_imports():
        tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")


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
