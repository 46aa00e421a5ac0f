"""The routes below /v1: titles to vectors, classes and similar products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from vitrina.serving.answers import (
    ARROW,
    arrow_stream,
    checked_titles,
    embeddings_json,
    titles_from_arrow,
)
from vitrina.serving.refusals import FOR_TITLES, ErrorAnswer, Refusal, refused
from vitrina.serving.request_bodies import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    JsonRoute,
    SimilarAnswer,
    SimilarRequest,
)
from vitrina.serving.service import ServedModels
from vitrina.serving.service_options import ENCODER_NAME

if TYPE_CHECKING:
    from vitrina.classification.classifier import TitleClassifier

_MOST_QUERIES = 64
"""Titles of one search: each is compared with the whole catalogue."""

_PROBABILITIES_AT_ONCE = 2**20
"""A classifier can have 10,000 classes, and the probabilities of 4,096 titles take 300 MB."""

_ARROW_BODY = {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}

router = APIRouter(route_class=JsonRoute, responses=refused(ErrorAnswer, *FOR_TITLES))


@router.post("/v1/embeddings", response_model=EmbeddingsAnswer, tags=["titles"])
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Return the vectors of titles, in OpenAI's form."""
    models: ServedModels = request.state.models
    if body.model not in (None, ENCODER_NAME, models.digest):
        raise Refusal(
            404,
            f"model: is neither '{ENCODER_NAME}' nor the digest of the encoder, {models.digest}",
        )
    if body.dimensions not in (None, models.width):
        raise Refusal(
            400, f"dimensions: the vectors have {models.width} and can't be cut; leave it out"
        )
    service = request.app.state.service
    titles = checked_titles(body.input, service.options.limits)
    request.state.titles = len(titles)

    def work() -> bytes:
        vectors = models.encode(titles)
        return embeddings_json(vectors, body.encoding_format == "base64", models.digest)

    return Response(await service.compute(len(titles), work), media_type="application/json")


@router.post(
    "/v1/embeddings/arrow",
    response_class=Response,
    responses={200: {"description": "A stream with one column, vector.", **_ARROW_BODY}},
    openapi_extra={"requestBody": {"required": True, **_ARROW_BODY}},
    tags=["titles"],
)
async def embeddings_arrow(request: Request) -> Response:
    """Return the vectors of an Arrow IPC stream with one column of strings."""
    models: ServedModels = request.state.models
    service = request.app.state.service
    if request.headers.get("content-type", "").partition(";")[0].strip() != ARROW:
        raise Refusal(422, f"the body must have the content type {ARROW}")
    body = await request.body()

    def work() -> memoryview:
        titles = titles_from_arrow(body, service.options.limits)
        request.state.titles = len(titles)
        return arrow_stream(models.encode(titles), models.digest)

    return Response(await service.compute(None, work), media_type=ARROW)


@router.post("/v1/classify", response_model=ClassifyAnswer, tags=["titles"])
async def classify(body: ClassifyRequest, request: Request) -> Response:
    """Return the most probable classes of titles."""
    models: ServedModels = request.state.models
    service = request.app.state.service
    name = body.classifier
    if name is None and len(models.classifiers) == 1:
        (name,) = models.classifiers
    if name is None or name not in models.classifiers:
        known = ", ".join(models.classifiers) or "none"
        raise Refusal(404, f"classifier: give the name of one; the service has: {known}")
    classifier = models.classifiers[name]
    titles = checked_titles(body.input, service.options.limits)
    request.state.titles = len(titles)

    def work() -> bytes:
        data = _classified(classifier, titles, body.top_k)
        return orjson.dumps({"classifier": name, "data": data, "encoder": models.digest})

    return Response(await service.compute(len(titles), work), media_type="application/json")


@router.post("/v1/similar", response_model=SimilarAnswer, tags=["titles"])
async def similar(body: SimilarRequest, request: Request) -> Response:
    """Return the products of the index that are most similar to titles."""
    models: ServedModels = request.state.models
    service = request.app.state.service
    if models.index is None:
        raise Refusal(404, "the service has no index; start it with --index or --catalogue")
    titles = checked_titles(body.input, service.options.limits)
    if len(titles) > _MOST_QUERIES:
        raise Refusal(
            413, f"input: has more than {_MOST_QUERIES} titles; send them in several requests"
        )
    request.state.titles = len(titles)

    def work() -> bytes:
        data = _similar(models, titles, body)
        return orjson.dumps({"data": data, "encoder": models.digest})

    return Response(await service.compute(None, work), media_type="application/json")


def _classified(classifier: TitleClassifier, titles: list[str], top_k: int) -> list[dict[str, Any]]:
    """The most probable classes of each title."""
    labels = classifier.classes_.tolist()
    data: list[dict[str, Any]] = []
    step = max(1, _PROBABILITIES_AT_ONCE // len(labels))
    for start in range(0, len(titles), step):
        probabilities = classifier.predict_proba(titles[start : start + step])
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        for numbers, row in zip(best.tolist(), probabilities, strict=True):
            classes = [{"label": labels[n], "probability": float(row[n])} for n in numbers]
            data.append({"index": len(data), "classes": classes})
    return data


def _similar(models: ServedModels, titles: list[str], body: SimilarRequest) -> list[dict[str, Any]]:
    """The products found for each title."""
    unknown, found = models.neighbours(titles, body.k, body.where)
    data: list[dict[str, Any]] = [
        {"index": row, "known": row not in unknown, "products": []} for row in range(len(titles))
    ]
    for product in found.iter_rows(named=True):
        data[product.pop("query")]["products"].append(product)
    return data
