"""Clients that send or read too slowly give their place back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.serving import gate
from vitrina.serving.application import make_app
from vitrina.serving.gate import Gate
from vitrina.serving.served_models import ServedModels
from vitrina.serving.service import Service
from vitrina.serving.service_options import Limits, ServiceOptions

BODY = json.dumps({"input": ["milk"] * 1000}).encode()


@pytest.fixture
def app(lexical_encoder: TitleEncoder) -> Gate:
    """The application of a worker, with one place."""
    models = ServedModels(lexical_encoder, {}, None, frozenset())
    options = ServiceOptions(Path("encoder"), limits=Limits(requests=1))
    return make_app(Service(options, models))


async def ask(app: Gate, receive: Any, send: Any) -> None:
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/embeddings",
        "raw_path": b"/v1/embeddings",
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)


async def whole_body() -> dict[str, Any]:
    return {"type": "http.request", "body": BODY, "more_body": False}


def test_a_body_that_does_not_end(app: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_BODY_SECONDS", 0.05)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(ask(app, receive, send))
    assert sent[0]["status"] == 408
    assert "did not arrive" in json.loads(bytes(sent[1]["body"]))["error"]["message"]
    sent.clear()
    asyncio.run(ask(app, whole_body, send))
    assert sent[0]["status"] == 200


def test_an_answer_that_nobody_takes(app: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_ANSWER_SECONDS", 0.3)
    statuses: dict[str, list[int]] = {"slow": [], "other": []}
    parts: list[int] = []

    async def slow(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses["slow"].append(message["status"])
            return
        parts.append(len(message["body"]))
        await asyncio.sleep(10)

    async def other(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses["other"].append(message["status"])

    async def both() -> None:
        task = asyncio.create_task(ask(app, whole_body, slow))
        while not parts:
            await asyncio.sleep(0.01)
        await ask(app, whole_body, other)  # the only place is taken
        await task
        await ask(app, whole_body, other)

    asyncio.run(both())
    assert statuses == {"slow": [200], "other": [429, 200]}
    # the rest of the answer was not handed over
    assert parts == [256 * 1024]
