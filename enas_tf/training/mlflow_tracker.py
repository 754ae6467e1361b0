"""Follows a run in MLflow.

What a run's folder holds is what counts; MLflow gets a copy of it.
"""

import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from enas_tf.core.errors import Preempted, UserError, one_line
from enas_tf.training.metric_writer import read_metrics
from enas_tf.training.run_folder import MLFLOW, Run, dotted
from enas_tf.training.trackers import Tracker

# Kept as artifacts at the end of each command, as far as they are there.
_FILES = ("config.json", "flags.txt", "labels.txt", "arcs.json", "arc.txt", "truth.json")
_FILES += ("compare.json", "report.html", "train/result.json", "train/classes.json")

# MLflow takes so many parameters, and so many metrics, in a request.
_PARAMS, _METRICS = 100, 1000

# Seconds without another try after one that failed.
_PAUSE = 300

# Unless the user has set them. MLflow's own patience with a server that does not answer would hold
# a training up for minutes each time; and it would say at length that an image has no git.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}

# Beside the metrics in a record.
_PLACES = ("phase", "step", "epoch", "seconds")


class MlflowTracker(Tracker):
    """Keeps settings, metrics, result and export of a run as a run of MLflow.

    Where MLflow keeps them is said by MLflow's own environment variables, such as
    `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME`.

    Metrics are read from `metrics.jsonl` after each checkpoint, when no kill can undo them any
    more. `mlflow.json` in the run's folder holds the MLflow run's id and the number of records that
    have been sent of each phase, so that a resumed run sends each once. Only a kill in the moment
    between a request and the note of it leads to the same values twice.

    What MLflow does not take in the middle of a run is warned of once, and sent at the end. Metrics
    are tried every five minutes too, and again by the next command on the run.

    Raises:
        UserError: MLflow is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise UserError(
                "--track=mlflow needs MLflow, which is not installed: pip install 'enas_tf[mlflow]'"
            )
        self._run: Run | None = None
        self._id = ""
        self._sent: dict[str, int] = {}
        # What has failed and is done at the end, in order.
        self._owed: list[Callable[[], object]] = []
        self._next_try = 0.0
        self._has_warned = False

    def begin(self, run: Run) -> None:
        """Begins an MLflow run, or goes on with the one that `mlflow.json` names.

        Raises:
            UserError: MLflow cannot be reached, or does not know the run.
        """
        if self._run is not None:
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow  # takes more than a second

        known = run.read_json(MLFLOW) if run.path(MLFLOW).exists() else {"run_id": None, "sent": {}}
        try:
            active = mlflow.start_run(
                run_id=known["run_id"],
                run_name=None if known["run_id"] else str(run.folder),
                nested=mlflow.active_run() is not None,
                tags={"folder": str(run.folder.resolve())},
            )
        except Exception as error:
            raise UserError(_why_not(error, known["run_id"])) from error
        self._run, self._id, self._sent = run, active.info.run_id, known["sent"]
        self._write_state()
        print(f"mlflow: run {self._id} of experiment {active.info.experiment_id}")
        self._do(self._send_settings)
        self._try(self._send_done)

    def saved(self, folder: Path) -> None:
        """Sends the records that have been added since the last call."""
        self._try(lambda: self._send(folder))

    def architecture(self, arc: str) -> None:
        """Makes the architecture a tag."""
        self._do(lambda: self._client.set_tag(self._id, "architecture", arc))

    def result(self, result: Mapping[str, Any]) -> None:
        """Makes metrics of the numbers in the result that no record holds."""
        best = result.get("best_valid") or {}
        numbers = {f"best_valid/{name}": value for name, value in best.items()}
        numbers |= {name: v for name, v in result.items() if isinstance(v, int | float)}
        now = round(1000 * time.time())
        found = [_metric(f"result/{name}", v, now, 0) for name, v in numbers.items() if _is_fit(v)]
        self._do(lambda: self._client.log_batch(self._id, metrics=found))

    def exported(self, version: Path) -> None:
        """Keeps an exported version as an artifact."""
        place = f"export/{version.parent.name}/{version.name}"
        self._do(lambda: self._client.log_artifacts(self._id, str(version), place))

    def end(self, error: BaseException | None) -> None:
        """Sends what is left, and gives the MLflow run its status."""
        if self._run is None:
            return
        # The last chance of this process, so that no pause is made before it.
        self._next_try = 0.0
        if error is None:
            for work in (*self._owed, self._send_done, self._send_files):
                self._try(work)
        self._try(lambda: self._finish(error))
        self._run, self._owed = None, []

    @property
    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient()

    def _do(self, work: Callable[[], object]) -> None:
        """Does what needs MLflow, now or else at the end."""
        if self._run is not None and not self._try(work):
            self._owed.append(work)

    def _try(self, work: Callable[[], object]) -> bool:
        """Does what needs MLflow; returns whether it did. Warns once, pauses after a failure."""
        if self._run is None or time.monotonic() < self._next_try:
            return False
        try:
            work()
            return True
        # Whatever it is, it must not end a training of hours.
        except Exception as error:
            self._next_try = time.monotonic() + _PAUSE
            if not self._has_warned:
                self._has_warned = True
                print(
                    f"warning: MLflow does not take what this run sends: {one_line(error)}; the "
                    "run goes on, and what is missing is sent later",
                    file=sys.stderr,
                    flush=True,
                )
            return False

    def _send_settings(self) -> None:
        """Makes parameters of the settings with which the run began, so a resume may repeat it."""
        from mlflow.entities import Param

        config = dotted(self._run.read_json("config.json")["config"])
        values = {name: json.loads(text) for name, text in config.items()}
        params = [Param(name, str(value)) for name, value in values.items()]
        for some in _slices(params, _PARAMS):
            self._client.log_batch(self._id, params=some)

    def _send_done(self) -> None:
        """Sends what is missing of the phases that are done."""
        for phase in ("search", "train"):
            if self._run.is_done(phase):
                self._send(self._run.path(phase))

    def _send(self, folder: Path) -> None:
        records = read_metrics(folder)
        fresh = records[self._sent.get(folder.name, 0) :]
        if not fresh:
            return
        metrics = [metric for record in fresh for metric in _metrics_of(record, fresh[-1])]
        for some in _slices(metrics, _METRICS):
            self._client.log_batch(self._id, metrics=some)
        self._sent[folder.name] = len(records)
        self._write_state()

    def _send_files(self) -> None:
        for name in _FILES:
            path = self._run.path(name)
            if path.exists():
                parent = str(Path(name).parent)
                self._client.log_artifact(self._id, str(path), None if parent == "." else parent)

    def _finish(self, error: BaseException | None) -> None:
        import mlflow

        stopped = isinstance(error, KeyboardInterrupt | Preempted)
        mlflow.end_run("FINISHED" if error is None else "KILLED" if stopped else "FAILED")

    def _write_state(self) -> None:
        self._run.write_json(MLFLOW, {"run_id": self._id, "sent": self._sent})


def _metrics_of(record: Mapping[str, Any], last: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the metrics of a record; `last`, recorded just now, says when it was recorded."""
    when = round(1000 * (time.time() - (last["seconds"] - record["seconds"])))
    for name, value in record.items():
        if name not in _PLACES and _is_fit(value):
            yield _metric(f"{record['phase']}/{name}", value, when, record["step"])


def _metric(name: str, value: float, when: int, step: int) -> Any:
    from mlflow.entities import Metric

    return Metric(name, float(value), when, step)


def _is_fit(value: Any) -> bool:
    """Returns whether a value is a finite number; histograms and null are not."""
    return isinstance(value, int | float) and math.isfinite(value)


def _slices(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _why_not(error: Exception, run_id: str | None) -> str:
    """Returns why no MLflow run could be started, and what to do."""
    import mlflow

    scheme = mlflow.get_tracking_uri().partition(":")[0]
    if importlib.util.find_spec("sqlalchemy") is None and "sql" in scheme:
        return (
            "mlflow-skinny cannot write a database: pip install 'enas_tf[mlflow]', or name a "
            "server by MLFLOW_TRACKING_URI"
        )
    if "MLFLOW_ALLOW_FILE_STORE" in str(error):
        return (
            "MLflow writes plain files only where MLFLOW_ALLOW_FILE_STORE=true is set; set it, or "
            "name a database or a server by MLFLOW_TRACKING_URI"
        )
    known = f" or does not know run {run_id}, which {MLFLOW} names" if run_id else ""
    return (
        f"MLflow cannot be reached{known}: {one_line(error)}; check MLFLOW_TRACKING_URI, or leave "
        "out --track"
    )
