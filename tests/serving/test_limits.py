"""What a service refuses, with one clear message each; afterwards it works as before."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

KEY = "a-key-of-more-than-16-characters"


def test_limits_of_a_request(service) -> None:
    many = service.ask("/v1/embeddings", {"input": ["a"] * 1501})
    assert (many.status, many.message) == (
        413,
        "input: has 1,501 titles, more than 1,500; send them in several requests",
    )
    long = service.ask("/v1/embeddings", {"input": ["a", "b" * 301]})
    assert (long.status, long.message) == (
        422,
        "input: title 1 has 301 characters, more than 300; shorten it",
    )
    assert service.ask("/v1/embeddings", {"input": ["b" * 300] * 1500}).status == 200


def test_a_body_that_is_too_large(service) -> None:
    message = "the body has more than 1,048,576 bytes; send fewer titles in one request"
    large = service.ask("/v1/embeddings", b" " * (2**20 + 1))
    assert (large.status, large.message) == (413, message)
    # a size that is not declared, and a body that never ends
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(40):
            connection.sendall(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_headers_that_are_too_large(service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        refused = False
        for _ in range(1000):
            try:
                connection.sendall(b"x" * 10_000)
            except OSError:
                refused = True
                break
        assert refused
    assert service.ask("/health").status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body: field required"),
        (b"{", "the body is not valid JSON in UTF-8"),
        (b'{"input": "\xff"}', "the body is not valid JSON in UTF-8"),
        (b'{"input": "\\ud800"}', "the body is not valid JSON in UTF-8"),
        (b'{"input": NaN}', "the body is not valid JSON in UTF-8"),
        (b"[" * 100_000, "the body is not valid JSON in UTF-8"),
        (b'"milk"', "the body: input should be a valid dictionary or object"),
        (b"{}", "input: field required"),
        (b'{"input": []}', "input: must be a title or a list of titles"),
        (b'{"input": {"a": 1}}', "input: must be a title or a list of titles"),
        (b'{"input": null}', "input: must be a title or a list of titles"),
        (b'{"input": ["a", null]}', "input: title 1 is not text; send strings"),
        (b'{"input": ["a", 1]}', "input: title 1 is not text; send strings"),
        (b'{"input": "a", "encoding_format": "hex"}', "encoding_format: input should be"),
    ],
)
def test_malformed_bodies(service, body: bytes, message: str) -> None:
    answer = service.ask("/v1/embeddings", body)
    assert answer.status == 422
    assert answer.message.startswith(message)


def test_other_mistakes(service) -> None:
    assert service.ask("/v1/embeddings").status == 405
    assert service.ask("/v1/nothing").message == "there is no such path; see /docs"
    # a page in a browser can send text, and can reach this machine under a name of its own
    body = b'{"input": "a"}'
    assert service.ask("/v1/embeddings", body, content_type="text/plain").status == 422
    answer = service.ask("/v1/embeddings", body, host="shop.example")
    assert answer.status == 403
    assert "Host header" in answer.message
    for host in ("localhost", f"127.0.0.1:{service.port}", "[::1]:80"):
        assert service.ask("/health", host=host).status == 200


def test_too_many_requests_at_once(service) -> None:
    """Eight clients send a part of a body each, and hold all places."""
    held = []
    for _ in range(8):
        connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        connection.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
            b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"inp'
        )
        held.append(connection)
    for _ in range(100):
        answer = service.ask("/v1/embeddings", {"input": "a"})
        if answer.status == 429:
            break
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.message == "too many requests at once; send it again in a second"
    # who looks after the service is still answered
    assert service.ask("/health").status == service.ask("/metrics").status == 200
    for connection in held:
        connection.sendall(b'ut": "a"}')
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()
    assert service.ask("/v1/embeddings", {"input": "a"}).status == 200


def test_keys(start, shop: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# of team A\n{KEY}\n")
    running = start(shop / "encoder", "--key-file", keys, env={"VITRINA_API_KEY": KEY[::-1]})
    body = {"input": "milk"}
    for path in ("/v1/embeddings", "/v1/classify", "/v2/models/vitrina/infer"):
        for headers in ({}, {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Basic {KEY}"}):
            answer = running.ask(path, body, **headers)
            assert answer.status == 401
            assert "Authorization: Bearer KEY" in str(answer.json)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert running.ask("/metrics").status == running.ask("/info").status == 401
    for path in ("/health", "/ready", "/v2/health/ready", "/docs", "/openapi.json"):
        assert running.ask(path).status == 200
    for key in (KEY, KEY[::-1]):
        answer = running.ask("/v1/embeddings", body, authorization=f"Bearer {key}")
        assert answer.status == 200
    # a key admits any name of the host, as behind a proxy
    headers = {"authorization": f"bearer {KEY}", "host": "shop.example"}
    assert running.ask("/v1/embeddings", body, **headers).status == 200
    assert running.ask("/v1/similar", body, **headers).status == 404  # no index
    # a reload reads the file again
    keys.write_text(f"{KEY.upper()}\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("reloaded")
    for key, status in ((KEY, 401), (KEY.upper(), 200), (KEY[::-1], 200)):
        assert running.ask("/info", authorization=f"Bearer {key}").status == status
    log = str(running.log())
    assert not any(key in log for key in (KEY, KEY.upper(), KEY[::-1]))
