"""Where a run is: in a local folder, or in a store with a local copy of it."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import tensorflow as tf

from enas_tf.core.stores import is_remote
from enas_tf.experiment.settings import (
    CommonConfig,
    Settings,
    default_config,
    free_settings,
    run_config,
)
from enas_tf.export.serving_files import server_configs
from enas_tf.training.remote_folder import RemoteFolder
from enas_tf.training.run_folder import Run
from enas_tf.training.run_lock import RunLock
from enas_tf.training.trackers import Tracker, Trackers
from enas_tf.training.workers import is_chief, scratch_copy, wait_for_copies


class Workdir:
    """What `--workdir` names.

    Args:
        address: a path, or the address of a store.
        strategy: of the job; workers other than the chief read the run and never write it.
        common: the settings, which say whether there are workers, and whether to remove a run that
            is there.
        tracker: what follows the run elsewhere.

    Raises:
        UserError: it is the address of a store that is not known.
    """

    def __init__(
        self,
        address: str,
        strategy: tf.distribute.Strategy,
        common: CommonConfig,
        tracker: Tracker,
    ) -> None:
        self.address = address
        self._strategy = strategy
        self._overwrite = common.overwrite
        self._has_workers = common.strategy == "multiworker"
        self._is_chief = is_chief(strategy)
        self._remote = self._remote_folder() if is_remote(address) else None
        self._tracker = tracker
        if not self._remote:
            self.lock = RunLock(Path(address), at_end=tracker.end)
            return
        # Last, so that the files of the others are pushed with what they belong to.
        self._tracker = Trackers(tracker, self._remote)
        self.lock = RunLock(self._remote.folder, self._remote.claim, self._tracker.end)

    def _remote_folder(self) -> RemoteFolder:
        if self._is_chief:
            return RemoteFolder(self.address, afresh=self._overwrite)
        # Never the chief's, which may be on the same machine.
        scratch = Path(tempfile.mkdtemp(prefix="enas_tf_worker_"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        return RemoteFolder(self.address, scratch)

    @cached_property
    def folder(self) -> Path:
        """The local folder; what is in a store is copied there at first use.

        Raises:
            UserError: the store cannot be read, or it and the local copy have both gone on.
        """
        if not self._remote:
            return Path(self.address)
        self._remote.fetch()
        return self._remote.folder

    def shown(self, path: Path) -> str:
        """Returns a path in the folder as users find it, in the store if the run is in one."""
        if not self._remote:
            return str(path)
        return f"{self._remote.url}/{path.relative_to(self._remote.folder).as_posix()}"

    def write_server_configs(self, model: Path) -> None:
        """Writes what a server of a model in the store reads; the export then keeps these files."""
        if not self._remote:
            return
        run = Run(self._remote.folder)
        for name, text in server_configs(self.shown(model)).items():
            path = model / name
            if not path.exists():
                run.write_text(str(path.relative_to(run.folder)), text)

    def open(self, settings: Settings, flags: Sequence[str]) -> Run:
        """Opens the run as `Run.open` does; workers other than the chief get a copy to work in.

        Raises:
            UserError: as of `Run.open` and `scratch_copy`.
        """
        if not self._is_chief:
            return scratch_copy(self._strategy, self.folder, self._remote)
        if self._remote and self._overwrite:
            self._remote.clear()
        run = Run.open(
            self.folder,
            run_config(settings),
            flags,
            self._overwrite,
            free_settings(settings),
            default_config(settings),
        )
        run.tracker = self._tracker
        if self._has_workers:
            # What only reads the run, such as an evaluation, leaves the store as it is.
            if self.lock.is_held:
                self.publish()
            wait_for_copies(self._strategy, self.folder)
        return run

    def publish(self) -> None:
        """Copies what has changed to the store, if the run is in one.

        Raises:
            UserError: the store fails.
        """
        if self._remote:
            self._remote.push_or_fail()
