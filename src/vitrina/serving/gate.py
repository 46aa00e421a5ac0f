"""What every request passes first: the key, the limits, and what is measured and logged."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from vitrina.serving.refusals import Refusal, error_body
from vitrina.serving.telemetry import IN_PROGRESS, REQUESTS, SECONDS, TITLES, log, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vitrina.serving.service import Service

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

ENCODER_HEADER = "vitrina-encoder"
OPEN_PATHS = frozenset(
    ("/health", "/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
)
"""Paths that need no key: they tell nothing about the data."""

_PAGE = "/label"
"""Path of the labelling page."""

_NOBODY_THERE = 499
"""Status in the metrics, as of nginx, for a client that has left or doesn't take its answer."""

_BODY_SECONDS = 30.0
"""Time for a body to arrive. A client that sends a byte now and then would keep its place."""

_ANSWER_SECONDS = 60.0
"""Time for a client to take an answer."""

_PART_BYTES = 256 * 1024
"""Bytes of an answer that are sent at once. The next ones wait until the client has taken these."""

_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class _Gone(Exception):
    """The client has closed the connection."""


class Gate:
    """An ASGI application that lets requests through to another one.

    It checks the key, reads the body within its limits, refuses requests beyond the number that may
    be worked on at once, and adds the encoder's identity to each answer. The request then keeps the
    models that were loaded when it came, also if they are replaced meanwhile.

    Parameters
    ----------
    app : callable
    service : Service
    """

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service
        self._active = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        models = self._service.models
        scope.setdefault("state", {})["models"] = models
        started = time.perf_counter()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._marks(models.digest)]
                await send(message)
            else:
                await _send_in_parts(message, send)

        try:
            self._check_sender(scope, models.keys)
            if scope["method"] == "POST":
                with self._place():
                    body = await self._body(scope, receive)
                    await self._app(scope, _replayed(body, receive), send_marked)
            else:
                await self._app(scope, receive, send_marked)
        except Refusal as refusal:
            await _refuse(scope["path"], refusal, send_marked)
        except (_Gone, TimeoutError):
            # to return without an answer closes the connection
            status = _NOBODY_THERE
        except Exception:
            # the framework has answered with 500
            log.exception("error")
        _record(scope, status, time.perf_counter() - started)

    def _marks(self, digest: str) -> list[tuple[bytes, bytes]]:
        """The headers of every answer."""
        marks = [(ENCODER_HEADER.encode(), digest.encode())]
        if self._service.draining:
            # the client's next request needs a connection to a server that stays
            marks.append((b"connection", b"close"))
        return marks

    def _check_sender(self, scope: Message, keys: frozenset[bytes]) -> None:
        """Raise Refusal unless the request has a key, or comes from this machine if none is set."""
        headers = dict(scope["headers"])
        if not keys:
            # A page in a browser can send requests to this machine under a name of its own.
            host = headers.get(b"host", b"").decode("latin-1")
            in_brackets = host.startswith("[")
            name = host[1:].partition("]")[0] if in_brackets else host.partition(":")[0]
            if name not in (*_LOCAL_NAMES, self._service.options.host):
                raise Refusal(
                    403, "the Host header names no address of this machine; set a key to allow it"
                )
            return
        if scope["path"] in OPEN_PATHS:
            return
        # a browser that opens the labelling page can only send the key as a password
        is_page = _is_page(scope["path"])
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"basic" and is_page:
            kind, key = b"bearer", _password(key)
        digest = hashlib.sha256(key.strip()).digest()
        known = [hmac.compare_digest(digest, other) for other in keys]
        if kind.lower() != b"bearer" or not any(known):
            raise Refusal(
                401,
                "the key is missing or unknown; send it as 'Authorization: Bearer KEY'",
                {"www-authenticate": 'Basic realm="vitrina"' if is_page else "Bearer"},
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count the request among those that are worked on; Refusal if there are too many."""
        if self._active >= self._service.options.limits.requests:
            raise Refusal(
                429, "too many requests at once; send it again in a second", {"retry-after": "1"}
            )
        self._active += 1
        IN_PROGRESS.inc()
        try:
            yield
        finally:
            self._active -= 1
            IN_PROGRESS.dec()

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        """Read the whole body; Refusal if it is too large or comes too slowly."""
        limit = self._service.options.limits.body_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        _check_size(int(declared), limit)
        parts = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    _check_size(size, limit)
                    parts.append(part)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {_BODY_SECONDS:.0f} seconds; send it again"
            ) from None
        return b"".join(parts)


def _is_page(path: str) -> bool:
    return path == _PAGE or path.startswith(f"{_PAGE}/")


def _password(credentials: bytes) -> bytes:
    """The password of HTTP's basic authentication; the user's name can be anything."""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except ValueError:
        return b""
    return decoded.partition(b":")[2]


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Refusal(
            413, f"the body has more than {limit:,} bytes; send fewer titles in one request"
        )


async def _send_in_parts(message: Message, send: Send) -> None:
    """Send a part of a body, and wait until the client takes it.

    Otherwise the answers of slow clients would pile up, while their places are free again.
    """
    body = memoryview(message.get("body", b""))
    more = message.get("more_body", False)
    async with asyncio.timeout(_ANSWER_SECONDS):
        for start in range(0, max(len(body), 1), _PART_BYTES):
            stop = start + _PART_BYTES
            is_last = stop >= len(body)
            await send({**message, "body": body[start:stop], "more_body": more or not is_last})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body that was read before."""
    is_new = True

    async def replay() -> Message:
        nonlocal is_new
        if is_new:
            is_new = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def _refuse(path: str, refusal: Refusal, send: Send) -> None:
    body = error_body(path, refusal.status, refusal.message)
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    pairs = [(k.encode(), v.encode()) for k, v in (headers | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _record(scope: Message, status: int, seconds: float) -> None:
    """Count a request, and log it without anything that its client sent."""
    # the page is an application of its own, whose routes have no full paths
    route = _PAGE if _is_page(scope["path"]) else getattr(scope.get("route"), "path", "other")
    titles = scope["state"].get("titles", 0)
    REQUESTS.labels(route, status).inc()
    SECONDS.labels(route).observe(seconds)
    if titles:
        TITLES.labels(route).inc(titles)
    if log.isEnabledFor(logging.INFO):
        say("request", route=route, status=status, ms=round(1e3 * seconds, 3), titles=titles)
