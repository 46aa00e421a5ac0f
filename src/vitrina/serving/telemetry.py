"""What a service tells about itself: Prometheus metrics and logs in JSON lines."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger("vitrina.serving")

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

# Labels have few values: the path of a route as it is declared, never the path of a request.
REQUESTS = Counter("vitrina_requests", "Answered requests.", ["route", "status"])
SECONDS = Histogram(
    "vitrina_request_seconds",
    "From a request's headers to its answer.",
    ["route"],
    buckets=_BUCKETS,
)
TITLES = Counter("vitrina_titles", "Titles of answered requests.", ["route"])
IN_PROGRESS = Gauge(
    "vitrina_requests_in_progress", "Requests worked on.", multiprocess_mode="livesum"
)
RELOADS = Counter("vitrina_reloads", "Reloads of a worker.", ["outcome"])
ENCODER = Gauge(
    "vitrina_encoder", "1 for the encoder in use.", ["digest"], multiprocess_mode="livemax"
)


def metrics() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def set_up_logs(quiet: bool) -> None:
    """Log to stderr, one JSON object a line.

    Parameters
    ----------
    quiet : bool
        Log warnings only.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)  # those of Python would be no JSON


class JsonLines(logging.Formatter):
    """Formats a record with the fields that were given as ``extra={"fields": {...}}``.

    Of an exception, it keeps the type and the lines of code. The message could quote a title.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = time.gmtime(record.created)
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            "process": record.process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["at"] = [
                f"{frame.name} in {frame.filename}:{frame.lineno}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return orjson.dumps(line, default=str).decode()


def say(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    log.log(level, event, extra={"fields": fields})
