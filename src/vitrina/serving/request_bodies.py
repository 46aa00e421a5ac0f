"""The JSON bodies of requests and answers: how they are read, and how OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, WithJsonSchema

# `checked_titles` reads titles: it has one clear message where pydantic has one for each type.
Titles = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "description": "A title, or a list of titles.",
        }
    ),
]


class EmbeddingsRequest(BaseModel):
    """OpenAI's request for embeddings."""

    input: Titles
    model: str | None = Field(None, description="'vitrina', or the digest of the encoder.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Only the encoder's own number is possible.")


class ClassifyRequest(BaseModel):
    """Titles to classify."""

    input: Titles
    classifier: str | None = Field(None, description="Its name; needed if there are several.")
    top_k: int = Field(5, ge=1, le=100, description="Classes to return for each title.")


class SimilarRequest(BaseModel):
    """Titles to search for."""

    input: Titles
    k: int = Field(10, ge=1, le=100, description="Products to return for each title.")
    where: dict[str, str | int | float | bool] | None = Field(
        None, description="Values that columns of the products must have."
    )


class InferInput(BaseModel):
    """An input tensor of KServe's protocol: titles as BYTES."""

    name: str
    shape: list[int]
    datatype: Literal["BYTES"]
    data: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "string"}})]


class InferRequest(BaseModel):
    """A request of KServe's protocol with one input."""

    id: str | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]


class Embedding(BaseModel):
    """The vector of a title."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens, which are not counted."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """OpenAI's answer, and the encoder's digest."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
    encoder: str


class ClassProbability(BaseModel):
    """A class and its probability."""

    label: str | int | bool
    probability: float


class Classified(BaseModel):
    """A title's most probable classes, best first."""

    index: int
    classes: list[ClassProbability]


class ClassifyAnswer(BaseModel):
    """The classes of the titles."""

    classifier: str
    data: list[Classified]
    encoder: str


class Neighbours(BaseModel):
    """A title's most similar products, best first: their similarity and the index's columns."""

    index: int
    known: bool = Field(description="False if the title has no known word, and so no products.")
    products: list[dict[str, Any]]


class SimilarAnswer(BaseModel):
    """The products that are most similar to the titles."""

    data: list[Neighbours]
    encoder: str


class Tensor(BaseModel):
    """An output tensor of KServe's protocol; `data` is flat, row by row."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class InferAnswer(BaseModel):
    """An answer of KServe's protocol. Its version is the encoder's digest."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


class _StrictJson(Request):
    async def json(self) -> Any:
        # Unlike Python's own parser, it refuses NaN and halves of surrogate pairs.
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """A route whose body is read by orjson."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictJson(request.scope, request.receive))

        return strict
