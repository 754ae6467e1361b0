"""Jobs of several processes that run the same program, each on its own machine."""

import atexit
import shutil
import signal
import tempfile
import zlib
from pathlib import Path

import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.training.remote_folder import RemoteFolder, is_pushed
from enas_tf.training.run_folder import Run
from enas_tf.training.session import STOPPING

WORKER_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
"""The errors that a collective operation raises if another process has ended."""


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes the run's folder."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def scratch_copy(
    strategy: tf.distribute.Strategy, folder: Path, remote: RemoteFolder | None = None
) -> Run:
    """Copies the run's folder for a process that is not the chief to work in.

    With its own copy such a process resumes as the chief does, and only the chief writes the folder
    itself. All processes but the chief must call this at the same point; there the chief must call
    `wait_for_copies`.

    From here on the process ignores signals that ask it to stop, and ends when it loses the chief.
    A scheduler sends them to all processes of a job, and the chief could not finish its step and
    write a checkpoint if the others had left before it.

    Args:
        strategy: strategy of the job.
        folder: the chief's folder, on a file system that all machines see.
        remote: of a run in a store, this process' own copy of it, in place of the chief's folder.

    Raises:
        UserError: the folder does not exist, or is not the one that the chief sees.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    _meet(strategy, 0)
    if remote:
        remote.fetch()
        _meet(strategy, _checksum(remote.folder))
        return Run(remote.folder)
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is not the chief's folder; --workdir must be on a file system that all "
            "workers see"
        )
    scratch = Path(tempfile.mkdtemp(prefix="enas_tf_worker_"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    shutil.copytree(folder, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns("events.*"))
    _meet(strategy, _checksum(scratch))
    return Run(scratch)


def wait_for_copies(strategy: tf.distribute.Strategy, folder: Path) -> None:
    """Waits, as the chief, until the other processes have copied the folder by `scratch_copy`."""
    _meet(strategy, 0)
    _meet(strategy, _checksum(folder))


def _checksum(folder: Path) -> int:
    """Computes a checksum of the names of all checkpoints and of the configuration."""
    found = folder.glob("*/checkpoints/*")
    names = sorted(str(path.relative_to(folder)) for path in found if is_pushed(path.name))
    config = (folder / "config.json").read_bytes()
    # Below 2**24, so that float32, in which it is gathered, holds it exactly.
    return zlib.crc32("\n".join(names).encode() + config) % 2**24


def _meet(strategy: tf.distribute.Strategy, number: int) -> None:
    """Waits for all processes; raises UserError unless all pass the same number."""

    @tf.function(autograph=False)
    def gather() -> tf.Tensor:
        own = strategy.run(lambda: tf.constant([float(number)]))
        return strategy.gather(own, axis=0)

    numbers = gather().numpy()
    if len(set(numbers.tolist())) > 1:
        raise UserError(
            "the workers do not see the same run; --workdir must be one folder on a file system "
            "that all of them see"
        )
