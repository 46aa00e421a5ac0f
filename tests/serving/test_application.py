"""The application of a worker in this process: slow clients, defects and large answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from prometheus_client import REGISTRY

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.serving import gate, kserve_routes, title_routes, worker
from vitrina.serving.application import make_app
from vitrina.serving.gate import Gate
from vitrina.serving.service import ServedModels, Service
from vitrina.serving.service_options import Limits, ServiceOptions
from vitrina.serving.telemetry import JsonLines

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


def test_headers_that_do_not_end(app: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server closes connections that send nothing, or a request that never ends."""
    monkeypatch.setattr(worker, "_HEADER_SECONDS", 0.5)
    request = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
    whole = request + b"Content-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    answers: list[bytes] = []

    async def client(server: uvicorn.Server, *parts: bytes) -> None:
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.2)
        try:
            answers.append(await asyncio.wait_for(reader.read(), 10))
        except ConnectionError:  # it was closed before the last parts
            answers.append(b"")
        writer.close()

    async def all_clients() -> None:
        protocol = worker.BoundedProtocol
        config = uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        await client(server)
        await client(server, *(bytes([byte]) for byte in request[:10]))
        # the body has a time of its own; after the answer, the time begins again
        await client(server, whole, b'{"input"', b": ", b'"a"', b"}", b"\r\n", b"\r\n")
        server.should_exit = True
        await serving

    asyncio.run(all_clients())
    assert [answer[:12] for answer in answers] == [b"", b"", b"HTTP/1.1 200"]


def left() -> float:
    """How many clients left without an answer, as the metrics count them."""
    labels = {"route": "/v1/embeddings", "status": "499"}
    return REGISTRY.get_sample_value("vitrina_requests_total", labels) or 0.0


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

    before = left()
    asyncio.run(both())
    assert left() == before + 1
    assert statuses == {"slow": [200], "other": [429, 200]}
    # the rest of the answer was not handed over
    assert parts == [256 * 1024]


class Defective:
    """A classifier whose error quotes the titles."""

    classes_ = np.array(["a", "b"])

    def predict_proba(self, titles: list[str]) -> Any:
        raise RuntimeError(f"can't compute {titles}")


def posted(app: Any, *requests: tuple[str, Any]) -> list[httpx.Response]:
    """Send JSON to paths of an application."""

    async def one_by_one() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.post(path, json=body) for path, body in requests]

    return asyncio.run(one_by_one())


def with_classifier(encoder: TitleEncoder, classifier: Any) -> Gate:
    models = ServedModels(encoder, {"condition": classifier}, None, frozenset())
    return make_app(Service(ServiceOptions(Path("encoder")), models))


def test_a_defect_tells_no_titles(
    lexical_encoder: TitleEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    app = with_classifier(lexical_encoder, Defective())
    body = {"input": "a secret title"}
    failed, works = posted(app, ("/v1/classify", body), ("/v1/embeddings", body))
    assert (failed.status_code, works.status_code) == (500, 200)
    assert failed.headers["vitrina-encoder"] == lexical_encoder.weights.digest
    message = "the service has failed; its log says where"
    assert failed.json() == {"error": {"message": message, "type": "server_error"}}
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["error"]) == ("error", "RuntimeError")
    assert "predict_proba" in line["at"][-1]
    assert "secret" not in str(line)


def test_the_memory_of_many_classes_is_bounded(
    shop: Path, lexical_encoder: TitleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = with_classifier(lexical_encoder, TitleClassifier.load(shop / "classifier"))
    titles = ["milk", "red shoes", "dog food", "a very long title of a product"] * 5
    classify = ("/v1/classify", {"input": titles})
    tensor = {"name": "titles", "shape": [20], "datatype": "BYTES", "data": titles}
    infer = ("/v2/models/condition/infer", {"inputs": [tensor]})
    (whole,) = posted(app, classify)
    monkeypatch.setattr(title_routes, "_PROBABILITIES_AT_ONCE", 10)  # those of three titles
    monkeypatch.setattr(kserve_routes, "_MOST_PROBABILITIES", 59)
    in_parts, refused = posted(app, classify, infer)
    assert in_parts.json() == whole.json()
    assert [row["index"] for row in in_parts.json()["data"]] == list(range(20))
    assert refused.status_code == 413
    assert "20 titles have 60 probabilities" in refused.json()["error"]
