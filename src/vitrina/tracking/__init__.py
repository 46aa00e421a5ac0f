"""vitrina and MLflow: saved folders as models of a registry, and training logs as runs."""

from vitrina.tracking.registered_model import log_model as log_model
from vitrina.tracking.training_log import TrackedRun as TrackedRun
from vitrina.tracking.training_log import track_run as track_run

__all__ = ["TrackedRun", "log_model", "track_run"]
