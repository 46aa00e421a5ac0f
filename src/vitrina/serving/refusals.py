"""Why a request is refused: a status and one message, and how OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

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


class Refusal(Exception):
    """A request that the client can correct or repeat.

    Parameters
    ----------
    status : int
        Of HTTP, from 400.
    message : str
        One line that says what is wrong and how to correct it.
    headers : mapping of str to str, optional
        Further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def error_body(path: str, status: int, message: str) -> bytes:
    """Return the JSON of an error in the form that clients of a path expect.

    Parameters
    ----------
    path : str
        /v2 and the paths below it have KServe's form, all others OpenAI's.
    status : int
    message : str
    """
    if path == "/v2" or path.startswith("/v2/"):
        return orjson.dumps({"error": message})
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return orjson.dumps({"error": {"message": message, "type": kind}})


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


def refused(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers with these statuses.

    Parameters
    ----------
    model : type
        `ErrorAnswer` or `InferError`.
    *statuses : int
    """
    return {status: {"model": model, "description": _REFUSED[status]} for status in statuses}
