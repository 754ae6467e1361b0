"""What all tests share: TensorFlow on one thread with two devices, and a finished run."""

import os
import sys

import pytest
from filelock import FileLock

from tests.launching import launch

# What the runtime says of the machine is no word of the project's; some tests read its stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs that XLA compiled in other runs are no part of a test.
os.environ["ENAS_TF_XLA_CACHE"] = ""


def pytest_xdist_auto_num_workers(config):
    """Has a process more than there are cores: many tests wait for what they have started."""
    return (os.cpu_count() or 1) + 1


def pytest_addoption(parser):
    """Adds `--long`."""
    text = "run the tests marked `long` too, which show for more cases what the others show for one"
    parser.addoption("--long", action="store_true", help=text)


def pytest_configure(config):
    """Keeps the order below, which xdist would change to that of the numbers of tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """Leaves out long tests, and has the files that take longest begin first.

    So processes end together.
    """
    if not config.option.long:
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    slow = ("launchers", "reference", "docs", "experiment")
    items.sort(key=lambda item: not any(f"tests/{name}/" in item.nodeid for name in slow))


@pytest.fixture(scope="session", autouse=True)
def one_thread_and_two_logical_devices():
    """Has each op use one thread, and splits the CPU in two, for tests of distribution.

    How many threads share an op decides in which order it sums, and so how it rounds; the numbers
    of the reference tests were made on one. Different ops may still run at once, as collective
    ones must.

    TensorFlow takes this only before it makes its first tensor, so test modules must make none
    when they are imported. Runs that need no TensorFlow do not load it.
    """
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a run of the whole pipeline, and what the launcher printed.

    All processes of the tests share it, so it must not be changed.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, shown = shared / "finished", shared / "finished.txt"
    with FileLock(shared / "finished.lock"):
        if not shown.exists():
            done = launch(f"--workdir={folder}")
            assert done.status == 0, done.stderr
            shown.write_text(done.stdout)
    return folder, shown.read_text()
