"""The processes of a service: its start, its stop, a killed worker, and reloads, under load."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights

TITLES = ["APPLE JUICE 64 OZ", "DOG FOOD 20 LB", "milk"]
BATCH = 300
"""How often a batch repeats the titles."""


def json_body() -> bytes:
    return json.dumps({"input": TITLES, "encoding_format": "base64"}).encode()


def read_json(content: bytes) -> tuple[str, bytes]:
    answer = json.loads(content)
    vectors = [base64.b64decode(item["embedding"]) for item in answer["data"]]
    return answer["encoder"], b"".join(vectors)


def arrow_body() -> bytes:
    return pl.DataFrame({"title": TITLES * BATCH}).write_ipc_stream(None).getvalue()


def read_arrow(content: bytes) -> tuple[str, bytes]:
    table = pa.ipc.open_stream(content).read_all()
    vectors = pl.DataFrame(table)["vector"].to_numpy()
    once = vectors[: len(TITLES)].tobytes()
    assert vectors.tobytes() == once * BATCH
    return table.schema.metadata[b"vitrina_encoder"].decode(), once


ROUTES = [
    ("/v1/embeddings", "application/json", json_body(), read_json),
    ("/v1/embeddings/arrow", "application/vnd.apache.arrow.stream", arrow_body(), read_arrow),
]


class Client(threading.Thread):
    """Sends one request after another on one connection, until it is told to close it.

    Some clients send a few titles as JSON, others batches as Arrow. Between two requests a client
    pauses for some seconds.

    `answers` has the encoder's digest and the vectors of each answer, `lost` the requests that got
    no answer.
    """

    def __init__(self, port: int, number: int) -> None:
        super().__init__()
        self.port = port
        self.pause = 0.05 * (number % 3)
        self.path, self.kind, self.body, self.read = ROUTES[number % 2]
        self.answers: list[tuple[str, bytes]] = []
        self.lost: list[str] = []
        self.was_told = False
        self.stop = False
        self.start()

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop:
            try:
                headers = {"content-type": self.kind}
                connection.request("POST", self.path, self.body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
                time.sleep(0.02)
                continue
            assert answer.status == 200
            digest, vectors = self.read(content)
            assert answer.headers["vitrina-encoder"] == digest
            self.answers.append((digest, vectors))
            if answer.will_close:
                self.was_told = True
                return
            time.sleep(self.pause)
        connection.close()


@pytest.fixture
def load():
    """Starts clients, which end with the test."""
    started: list[Client] = []

    def clients(running, count: int = 6) -> list[Client]:
        new = [Client(running.port, number) for number in range(count)]
        started.extend(new)
        running.until(lambda: all(len(client.answers) > 2 for client in new), "answers")
        return new

    yield clients
    for client in started:
        client.stop = True
        client.join()


def both_workers(running) -> list[int]:
    """Wait until two workers are ready, and return their process ids."""
    event = "a worker is ready"
    running.until(lambda: len(running.events(event)) == 2, "two workers")
    ready = [line["worker"] for line in running.events(event)]
    assert sorted(ready) == sorted(running.workers())
    return ready


def expected(encoder: TitleEncoder) -> tuple[str, bytes]:
    return encoder.weights.digest, encoder.transform(TITLES).tobytes()


def test_sigterm_loses_no_request(start, shop: Path, lexical_encoder: TitleEncoder, load) -> None:
    running = start(shop / "encoder", "--workers", "2")
    # the body of this request comes later than the time for new connections
    late = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    late.sendall(
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    )
    clients = load(running)
    running.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(60)
    # each client was told to connect elsewhere, and had all its answers
    assert all(client.was_told for client in clients)
    assert [client.lost for client in clients] == [[]] * len(clients)
    assert {answer for client in clients for answer in client.answers} == {
        expected(lexical_encoder)
    }
    time.sleep(1.6)
    late.sendall(b'{"input": "a"}')
    answer = late.recv(2000)
    late.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert running.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        running.ask("/health")
    assert all(line["level"] == "info" for line in running.log())


def test_a_killed_worker_is_replaced(start, shop: Path, lexical_encoder: TitleEncoder, load):
    running = start(shop / "encoder", "--workers", "2")
    first = both_workers(running)
    clients = load(running)
    os.kill(first[0], signal.SIGKILL)
    line = running.wait_for("a worker has ended and is started again")
    assert line["code"] == -signal.SIGKILL
    running.until(lambda: len(running.events("a worker is ready")) == 3, "its successor")
    assert len(set(running.workers()) - set(first)) == 1
    for client in clients:
        client.answers.clear()
    running.until(lambda: all(client.answers for client in clients), "answers afterwards")
    # only requests at the killed worker were lost, one a client, and all clients go on
    assert all(len(client.lost) <= 1 for client in clients)
    for client in clients:
        assert set(client.answers) == {expected(lexical_encoder)}
    # the last worker may be killed too: connections wait for its successor
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    assert running.ask("/health").status == 200


def test_reload_under_load(start, shop: Path, lexical_encoder: TitleEncoder, load, tmp_path: Path):
    folder = tmp_path / "encoder"
    lexical_encoder.save(folder)
    other = TitleEncoder(initial_weights(lexical_encoder.weights.tokenizer, dim=32, filters=8))
    catalogue = shop / "catalogue.csv"
    running = start(folder, "--workers", "2", "--catalogue", catalogue)
    product = running.ask("/v1/similar", {"input": "milk", "k": 1}).json["data"][0]["products"][0]
    clients = load(running)
    other.save(folder, force=True)
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: len(running.events("reloaded")) == 2, "two reloads")
    running.until(
        lambda: all(client.answers[-1] == expected(other) for client in clients), "new answers"
    )
    for client in clients:
        client.stop = True
        client.join()
        # no request was lost; each answer comes from the old or the new encoder as a whole
        assert client.lost == []
        assert set(client.answers) == {expected(lexical_encoder), expected(other)}
    found = running.ask("/v1/similar", {"input": "milk", "k": 1})
    assert found.headers["vitrina-encoder"] == other.weights.digest
    # the index of the catalogue was built again, with the new encoder
    assert found.json["data"][0]["products"][0]["similarity"] != product["similarity"]

    # a folder that can't be loaded changes nothing
    (folder / "model.safetensors").write_bytes(b"damaged")
    running.process.send_signal(signal.SIGHUP)
    line = running.wait_for("the reload failed, the old models stay")
    assert "is damaged" in line["message"]
    assert running.ask("/health").json["encoder"] == other.weights.digest
    assert running.stop() == 0


def test_workers_share_memory_and_end_with_the_supervisor(start, shop: Path) -> None:
    running = start(shop / "encoder", "--index", shop / "index", "--workers", "2")
    workers = both_workers(running)
    asked = 0
    while {line["process"] for line in running.events("request")} != set(workers):
        assert running.ask("/v1/similar", {"input": "milk"}).status == 200
        asked += 1
        assert asked < 1000
    # each worker knows the metrics of both
    line = f'vitrina_requests_total{{route="/v1/similar",status="200"}} {asked}.0\n'
    running.until(lambda: line in running.ask("/metrics").body.decode(), "all requests")
    for worker in workers:
        maps = Path(f"/proc/{worker}/smaps").read_text()
        for file in (
            shop / "encoder" / "table.safetensors",
            shop / "index" / "vectors.safetensors",
        ):
            (mapping,) = re.findall(rf"{file}\n(.*?)VmFlags", maps, re.S)
            # pages of the file, of which no worker has written a copy
            assert re.search(r"^Rss: +[1-9]", mapping, re.M)
            assert re.search(r"^Anonymous: +0 kB", mapping, re.M)
    running.process.kill()
    gone = [Path(f"/proc/{worker}") for worker in workers]
    running.until(lambda: not any(path.exists() for path in gone), "the end of the workers")


def in_process(*arguments: str | Path) -> str:
    """Start a service that must fail, as a real process; returns the one line that it says."""
    command = [sys.executable, "-m", "vitrina", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("vitrina: ")
    return line


def test_folders_that_do_not_fit(shop: Path, tmp_path: Path, encoder: TitleEncoder) -> None:
    assert "no such folder" in in_process(tmp_path / "nowhere")
    encoder.save(tmp_path / "other")
    classifier = f"condition={shop / 'classifier'}"
    line = in_process(tmp_path / "other", "--classifier", classifier)
    digest = TitleEncoder.load(shop / "encoder").weights.digest[:12]
    assert f"was fitted with the encoder {digest}, not with" in line
    catalogue = shop / "catalogue.csv"
    line = in_process(shop / "encoder", "--catalogue", catalogue, "--title-column", "name")
    assert "--title-column" in line


def test_an_address_that_is_taken(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = in_process(shop / "encoder", "--port", str(port))
    assert line == (
        f"vitrina: --port {port} of 127.0.0.1 can't be used (address already in use); give another"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classifier", "x"], "--classifier is 'x'; write it as NAME=DIR"),
        (["--classifier", "vitrina=x"], "'vitrina' can't be a name"),
        (["--classifier", "a=x", "--classifier", "a=y"], "the name 'a' is given twice"),
        (["--index", "a", "--catalogue", "b"], "give an --index or a --catalogue"),
        (["--host", "0.0.0.0"], "--host is '0.0.0.0', which other machines can reach; set a key"),
        (["--host", "no.such.host.invalid"], "no address of this machine"),
        (["--key-file", "short"], "fewer than 16 characters"),
        (["--key-file", "missing"], "check --key-file"),
    ],
)
def test_options_that_are_wrong(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short").write_text("0123456789")
    assert _exit_code(["serve", "encoder", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
