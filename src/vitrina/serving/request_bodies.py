"""The JSON bodies of requests and answers, as pydantic reads and OpenAPI describes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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


class ErrorDetail(BaseModel):
    """What is wrong and how to correct it."""

    message: str
    type: str


class ErrorAnswer(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorDetail


class InferError(BaseModel):
    """An error in KServe's form."""

    error: str


_REFUSED = {
    400: "A wish that the encoder can't meet.",
    401: "The key is missing or unknown.",
    403: "Without a key, only this machine may ask.",
    404: "There is no such model, classifier or index.",
    408: "The body came too slowly.",
    413: "Too many bytes or titles.",
    422: "The body is not as described.",
    429: "Too many requests at once; try again.",
    500: "A defect of the service.",
    503: "The worker is about to stop.",
}
FOR_ALL = (401, 403)
FOR_TITLES = (400, 401, 403, 404, 408, 413, 422, 429, 500)


def refused(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers with these statuses.

    Parameters
    ----------
    model : type
        `ErrorAnswer` or `InferError`.
    *statuses : int
    """
    return {status: {"model": model, "description": _REFUSED[status]} for status in statuses}
