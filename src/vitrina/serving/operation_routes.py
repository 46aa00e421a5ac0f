"""The routes for those who run a service: its health, what it serves, metrics and documentation."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from vitrina._version import __version__
from vitrina.serving.reference_page import reference_page
from vitrina.serving.refusals import FOR_ALL, ErrorAnswer, Refusal, refused
from vitrina.serving.service import ServedModels
from vitrina.serving.telemetry import metrics

router = APIRouter(responses=refused(ErrorAnswer, *FOR_ALL), tags=["operation"])


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Return 200 while the worker runs."""
    return {"status": "ok", "encoder": request.state.models.digest}


@router.get("/ready", responses=refused(ErrorAnswer, 503))
async def ready(request: Request) -> dict[str, str]:
    """Return 200 if the worker can take requests, 503 if it is about to stop.

    A worker opens its port when everything is loaded and a first answer is computed.
    """
    if request.app.state.service.draining:
        raise Refusal(503, "the service is stopping")
    return {"status": "ready", "encoder": request.state.models.digest}


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """Return what is served, and the limits."""
    models: ServedModels = request.state.models
    options = request.app.state.service.options
    classifiers = []
    for name, classifier in models.classifiers.items():
        classifiers.append({"name": name, "classes": len(classifier.classes_)})
    index = None
    if models.index is not None:
        index = {
            "products": len(models.index),
            "columns": models.index.columns,
            "method": models.index.method,
            "recall_at_10": models.index.recall,
        }
    return {
        "vitrina": __version__,
        "encoder": models.digest,
        "dimensions": models.width,
        "classifiers": classifiers,
        "index": index,
        "limits": {
            "body_bytes": options.limits.body_bytes,
            "titles": options.limits.titles,
            "title_length": options.limits.title_length,
            "requests": options.limits.requests,
        },
    }


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def prometheus() -> Response:
    """Return the metrics of all workers in Prometheus' text format."""
    text = await asyncio.to_thread(metrics)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


@router.get("/docs", response_class=Response, include_in_schema=False)
async def docs(request: Request) -> Response:
    """Return a page that describes the routes; it loads nothing."""
    return Response(reference_page(request.app.openapi()), media_type="text/html")
