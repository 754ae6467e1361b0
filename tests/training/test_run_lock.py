import os
import platform
import signal
import time

import pytest

from enas_tf.core.errors import UserError
from enas_tf.training.run_lock import RunLock, locked


@pytest.fixture
def other_process(tmp_path):
    """The number of a process that has locked a folder."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        lock = RunLock(tmp_path)
        with lock:
            lock.before_a_write()
            os.write(writer, b".")
            while True:
                time.sleep(1)
    assert os.read(reader, 1) == b"."
    yield process
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(reader)
    os.close(writer)


def test_one_process_writes_a_folder_and_a_dead_ones_lock_is_taken_over(tmp_path, other_process):
    mine, second = RunLock(tmp_path), RunLock(tmp_path)
    with mine:
        told = f"in use by process {other_process} on {platform.node()}, since 20.*--workdir"
        with pytest.raises(UserError, match=told):
            mine.before_a_write()
        os.kill(other_process, signal.SIGKILL)
        for _ in range(500):
            try:
                mine.before_a_write()
                break
            except UserError:
                time.sleep(0.01)
        with second, pytest.raises(UserError, match=f"process {os.getpid()} on"):
            second.before_a_write()


class Work:
    def __init__(self, folder):
        self.lock = RunLock(folder)

    @locked
    def outer(self, other):
        self.inner(other)
        assert not other.is_free()

    @locked
    def inner(self, other):
        assert other.is_free()
        self.lock.before_a_write()
        assert not other.is_free()

    @locked
    def is_free(self):
        try:
            self.lock.before_a_write()
        except UserError:
            return False
        return True


def test_a_folder_is_locked_from_the_first_write_to_the_end_of_the_outermost_method(tmp_path):
    work, other = Work(tmp_path / "a/b"), Work(tmp_path / "a/b")
    work.outer(other)
    assert other.is_free()
    # Reading takes no lock, nor makes a folder.
    reading = Work(tmp_path / "c")
    reading.lock.before_a_write()
    assert not (tmp_path / "c").exists()


def test_a_lock_of_no_known_owner(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    with first, second:
        first.before_a_write()
        (tmp_path / ".lock.json").write_text("")
        with pytest.raises(UserError, match="is in use by another process; wait"):
            second.before_a_write()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    lock = RunLock(tmp_path / "file/run")
    with lock, pytest.raises(UserError, match=r"^cannot write "):
        lock.before_a_write()
