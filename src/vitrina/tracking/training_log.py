"""The log of a training run, finished or not, replayed into MLflow."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrina.encoder.vector_file import ENCODER_METADATA
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError, MissingExtraError
from vitrina.pretraining.run_folder import LOG, RunFolder
from vitrina.pretraining.stored import load_json
from vitrina.progress import Progress
from vitrina.sealed import SealedFolder
from vitrina.untrusted import map_regular_file, parse_object

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Tags of a run of MLflow: which log it shows, and up to which step.
_LOG_TAG, _STEP_TAG = "vitrina_log", "vitrina_step"

_GROUPS = ("settings", "inputs", "versions", "catalogue", "sessions")
_SINGLE = ("data_digest", "device", "epochs", "steps", "threads")
_PARAMS_AT_ONCE = 100  # MLflow's limits: 100 parameters and 1,000 metrics a request
_METRICS_AT_ONCE = 1_000
_LONGEST_VALUE = 500
_LONGEST_NAME = 250


@dataclass(frozen=True)
class TrackedRun:
    """What `track_run` did.

    Attributes
    ----------
    run_id : str
        The run of MLflow.
    records : int
        Records of the log that were new.
    finished : bool
        Whether the training has finished.
    """

    run_id: str
    records: int
    finished: bool


@dataclass(frozen=True)
class _Training:
    """A training run as its folder tells it; `encoder` is the digest of a finished one."""

    name: str
    about: dict[str, Any]
    records: list[dict[str, float]]
    log_digest: str
    begun: float
    encoder: str | None


def track_run(
    folder: str | Path, mlflow_uri: str, *, experiment: str = "vitrina", quiet: bool = False
) -> TrackedRun:
    """Replay the log of a training run into MLflow.

    The settings become parameters. Each figure of the log becomes a metric, at its step and time.
    Call it again while the training goes on: the same run of MLflow gets the records that are new.

    Parameters
    ----------
    folder : str or Path
        Folder of the encoder: the one that training writes in the end.
    mlflow_uri : str
        Tracking server or database, such as "http://127.0.0.1:5000" or "sqlite:///mlflow.db".
    experiment : str, optional
        Experiment of MLflow. It is created if there is none.
    quiet : bool, optional
        Show no progress.

    Returns
    -------
    TrackedRun

    Raises
    ------
    InputError
        If there is no such training or it has no record yet, if its log is damaged, or if MLflow
        refuses.
    MissingExtraError
        If mlflow is not installed.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtraError("mlflow-skinny", "mlflow") from error

    training = _read(Path(folder))
    try:
        client = MlflowClient(tracking_uri=mlflow_uri)
        run = _run_of(client, training, experiment)
        records = _log_records(client, run, training, quiet)
        if training.encoder is not None and run.info.status != "FINISHED":
            client.set_tag(run.info.run_id, ENCODER_METADATA, training.encoder)
            end = _time(run, training.records[-1])
            client.set_terminated(run.info.run_id, "FINISHED", end)
    except MlflowException as error:
        raise InputError(f"`mlflow_uri`: MLflow refuses: {error}") from None
    return TrackedRun(run.info.run_id, records, training.encoder is not None)


def _read(folder: Path) -> _Training:
    """Read a training run: the unfinished one if there is one, else that of the encoder."""
    running = RunFolder.of(folder)
    if running.exists and not running.prepared and not folder.exists():
        raise InputError(f"{folder}: its training still prepares the data; wait until it has begun")
    if running.prepared:
        about, path, digest = load_json(running.plan), running.log, None
        advice = "wait until the training has begun"
        content = bytes(map_regular_file(path, ENCODER.files[LOG], advice))
    else:
        weights = EncoderWeights.load(folder)
        about, path, digest = dict(weights.training or {}), folder / LOG, weights.digest
        sealed = SealedFolder(folder, ENCODER)
        content = sealed.read(LOG) if LOG in sealed else b""
    lines = content.split(b"\n")[:-1]  # the last line may not be complete yet
    records = [_record(line, number, path) for number, line in enumerate(lines, 1)]
    if not records:
        raise InputError(f"{path}: has no record; wait for the first, or give another encoder")
    begun = path.stat().st_mtime - records[-1]["seconds"]
    log_digest = hashlib.sha256(lines[0]).hexdigest()
    return _Training(folder.resolve().name, about, records, log_digest, begun, digest)


def _record(line: bytes, number: int, path: Path) -> dict[str, float]:
    """The figures in a line of the log, without those that the run does not have."""
    content = parse_object(line) or {}
    record = {name: value for name, value in content.items() if value is not None}
    valid = type(record.get("step")) is int and "seconds" in record
    for value in record.values():
        valid = valid and type(value) in (int, float) and math.isfinite(value)
    if not valid:
        raise InputError(
            f"{path}: line {number} is damaged (no record of a step); copy the folder again"
        )
    return record


def _run_of(client: MlflowClient, training: _Training, experiment: str) -> Run:
    """The run of MLflow that shows this log, with its parameters; a new one if there is none."""
    known = client.get_experiment_by_name(experiment)
    number = client.create_experiment(experiment) if known is None else known.experiment_id
    found = client.search_runs([number], f"tags.{_LOG_TAG} = '{training.log_digest}'")
    if found:
        run = found[0]
    else:
        tags = {_LOG_TAG: training.log_digest, _STEP_TAG: "0"}
        run = client.create_run(number, round(1000 * training.begun), tags, training.name)
    from mlflow.entities import Param

    # a process that was stopped may have made the run only
    params = []
    for name, value in _params(training.about).items():
        if name not in run.data.params:
            params.append(Param(name, value))
    for start in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=params[start : start + _PARAMS_AT_ONCE])
    return run


def _params(about: dict[str, Any]) -> dict[str, str]:
    """Settings, inputs, versions and counts of a training run, by names that MLflow takes."""
    named = {name: about[name] for name in _SINGLE if name in about}
    for group in _GROUPS:
        values = about.get(group)
        if isinstance(values, dict):
            prefix = "" if group == "settings" else f"{group}."
            named |= {prefix + name: value for name, value in values.items()}
    params = {}
    for name, value in named.items():
        params[re.sub(r"[^\w. /-]", "_", name)[:_LONGEST_NAME]] = str(value)[:_LONGEST_VALUE]
    return params


def _log_records(client: MlflowClient, run: Run, training: _Training, quiet: bool) -> int:
    """Log the records after the last step that MLflow has; returns their number."""
    from mlflow.entities import Metric, RunTag

    last = int(run.data.tags.get(_STEP_TAG, "0"))
    new = [record for record in training.records if record["step"] > last]
    at_once = max(1, _METRICS_AT_ONCE // max((len(record) for record in new), default=1))
    with Progress("tracking", len(new), quiet=quiet) as progress:
        for start in range(0, len(new), at_once):
            part = new[start : start + at_once]
            metrics = []
            for record in part:
                step, time = int(record["step"]), _time(run, record)
                for name in record.keys() - {"step"}:
                    metrics.append(Metric(name, record[name], time, step))
            # if this is cut in two, the same records are logged again, which changes nothing
            tags = [RunTag(_STEP_TAG, str(int(part[-1]["step"])))]
            client.log_batch(run.info.run_id, metrics=metrics, tags=tags)
            progress.update(start + len(part))
    return len(new)


def _time(run: Run, record: dict[str, float]) -> int:
    """When a record was written, in milliseconds since 1970."""
    return int(run.info.start_time + 1000 * record["seconds"])
