"""Which trackers follow a run, by the names of their flags."""

from enas_tf.training.mlflow_tracker import MlflowTracker
from enas_tf.training.trackers import KatibLines, MetricsFormat, Tracker, TrackerName, Trackers

_FORMATS: dict[MetricsFormat, type[Tracker]] = {"text": Tracker, "katib": KatibLines}
_TRACKERS: dict[TrackerName, type[Tracker]] = {"none": Tracker, "mlflow": MlflowTracker}


def make_tracker(metrics_format: MetricsFormat, track: TrackerName) -> Tracker:
    """Makes what follows a run.

    Raises:
        UserError: the package that it needs is not installed.
    """
    return Trackers(_FORMATS[metrics_format](), _TRACKERS[track]())
