"""How the launchers start TensorFlow."""

import os
import subprocess
import sys

import pytest

from launchers import start_up


def test_importing_tensorflow_leaves_garbage_collection_on_but_for_what_was_imported():
    code = """
import gc
from launchers.start_up import import_tensorflow_quietly
import_tensorflow_quietly()
print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("flags", ["", "--tf_xla_auto_jit=2"])
def test_compiled_programs_are_kept_in_the_folder_that_is_named(tmp_path, monkeypatch, flags):
    monkeypatch.setenv("ENAS_TF_XLA_CACHE", str(tmp_path / "new/xla"))
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    start_up._keep_compiled_programs()
    wanted = f"{flags} --tf_xla_persistent_cache_directory={tmp_path}/new/xla".strip()
    assert os.environ["TF_XLA_FLAGS"] == wanted
    assert (tmp_path / "new/xla").is_dir()


@pytest.mark.parametrize(
    ("folder", "flags"),
    [("", ""), ("/proc/none/xla", ""), ("/tmp", "--tf_xla_persistent_cache_directory=/mine")],
)
def test_no_folder_for_compiled_programs(monkeypatch, folder, flags):
    monkeypatch.setenv("ENAS_TF_XLA_CACHE", folder)
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    start_up._keep_compiled_programs()
    assert os.environ["TF_XLA_FLAGS"] == flags
