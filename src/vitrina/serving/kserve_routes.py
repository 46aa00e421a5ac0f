"""The routes below /v2: KServe's open inference protocol over HTTP.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from vitrina._version import __version__
from vitrina.serving.answers import checked_titles
from vitrina.serving.refusals import FOR_ALL, FOR_TITLES, InferError, Refusal, refused
from vitrina.serving.request_bodies import (
    InferAnswer,
    InferInput,
    InferRequest,
    JsonRoute,
)
from vitrina.serving.service import ServedModels
from vitrina.serving.service_options import ENCODER_NAME, Limits

_BINARY_TENSORS = "inference-header-content-length"
"""The header of a body with the protocol's extension of binary tensors."""

_MOST_PROBABILITIES = 2**20
"""Numbers in the answer of a classifier: 20 MB as JSON."""


class InferRoute(JsonRoute):
    """A route that reads what clients of the protocol send."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handler = super().get_route_handler()

        async def lenient(request: Request) -> Response:
            if _BINARY_TENSORS in request.headers:
                raise Refusal(
                    400,
                    "the body has binary tensors, which this service can't read; send them as JSON "
                    "(in tritonclient: binary_data=False)",
                )
            if "content-type" not in request.headers:  # as from tritonclient
                request.scope["headers"].append((b"content-type", b"application/json"))
                request = Request(request.scope, request.receive)
            return await handler(request)

        return lenient


router = APIRouter(route_class=InferRoute, responses=refused(InferError, *FOR_ALL), tags=["KServe"])


@router.get("/v2")
async def server() -> dict[str, Any]:
    """Return the name and version of the server."""
    return {"name": "vitrina", "version": __version__, "extensions": []}


@router.get("/v2/health/live")
async def live() -> dict[str, bool]:
    """Return 200 while the service runs."""
    return {"live": True}


@router.get("/v2/health/ready", responses=refused(InferError, 503))
async def ready(request: Request) -> dict[str, bool]:
    """Return 200 if the service can take requests."""
    if request.app.state.service.draining:
        raise Refusal(503, "the service is stopping")
    return {"ready": True}


@router.get("/v2/models/{name}", responses=refused(InferError, 404))
async def metadata(name: str, request: Request) -> dict[str, Any]:
    """Return the inputs and outputs of a model."""
    models: ServedModels = request.state.models
    _require_model(models, name)
    if name == ENCODER_NAME:
        outputs = [{"name": "vectors", "datatype": "FP32", "shape": [-1, models.width]}]
    else:
        count = len(models.classifiers[name].classes_)
        outputs = [
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, count]},
        ]
    return {
        "name": name,
        "versions": [models.digest],
        "platform": "vitrina",
        "inputs": [{"name": "titles", "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    }


@router.get("/v2/models/{name}/ready", responses=refused(InferError, 404))
async def model_ready(name: str, request: Request) -> dict[str, bool]:
    """Return 200 if the model is loaded."""
    _require_model(request.state.models, name)
    return {"ready": True}


@router.post(
    "/v2/models/{name}/infer",
    response_model=InferAnswer,
    responses=refused(InferError, *FOR_TITLES),
)
async def infer(name: str, body: InferRequest, request: Request) -> Response:
    """Return the vectors of titles, or their classes if the model is a classifier."""
    models: ServedModels = request.state.models
    service = request.app.state.service
    _require_model(models, name)
    titles = _titles(body.inputs[0], service.options.limits)
    request.state.titles = len(titles)
    outputs: Callable[[ServedModels, str, list[str]], list[dict[str, Any]]] = (
        _vectors if name == ENCODER_NAME else _classes
    )

    def work() -> bytes:
        answer = {
            "model_name": name,
            "model_version": models.digest,
            "outputs": outputs(models, name, titles),
        }
        if body.id is not None:
            answer["id"] = body.id
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    return Response(await service.compute(len(titles), work), media_type="application/json")


def _require_model(models: ServedModels, name: str) -> None:
    if name != ENCODER_NAME and name not in models.classifiers:
        known = ", ".join([ENCODER_NAME, *models.classifiers])
        raise Refusal(404, f"there is no such model; the service has: {known}")


def _titles(given: InferInput, limits: Limits) -> list[str]:
    if not isinstance(given.data, list):
        raise Refusal(422, "inputs[0].data: must be a list of titles")
    titles = checked_titles(given.data, limits, "inputs[0].data")
    if given.shape not in ([len(titles)], [len(titles), 1]):
        raise Refusal(422, f"inputs[0].shape: must be [{len(titles)}], one title each")
    return titles


def _vectors(models: ServedModels, name: str, titles: list[str]) -> list[dict[str, Any]]:
    vectors = models.encode(titles)
    return [_tensor("vectors", "FP32", vectors.shape, vectors.ravel())]


def _classes(models: ServedModels, name: str, titles: list[str]) -> list[dict[str, Any]]:
    classifier = models.classifiers[name]
    numbers = len(titles) * len(classifier.classes_)
    if numbers > _MOST_PROBABILITIES:
        raise Refusal(
            413,
            f"inputs[0].data: {len(titles):,} titles have {numbers:,} probabilities, more than "
            f"{_MOST_PROBABILITIES:,}; send fewer titles, or ask /v1/classify for the best classes",
        )
    probabilities = classifier.predict_proba(titles)
    labels = classifier.classes_[probabilities.argmax(axis=1)].astype(str).tolist()
    return [
        _tensor("labels", "BYTES", (len(labels),), labels),
        _tensor("probabilities", "FP64", probabilities.shape, probabilities.ravel()),
    ]


def _tensor(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}
