"""Why a request is refused: a status and one message."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


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
        Paths below /v2/ have KServe's form, all others OpenAI's.
    status : int
    message : str
    """
    if path.startswith("/v2/"):
        return orjson.dumps({"error": message})
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return orjson.dumps({"error": {"message": message, "type": kind}})
