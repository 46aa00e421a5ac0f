"""The processes of a service: its start, its stop, a killed worker, and reloads, under load."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights

TITLES = ["APPLE JUICE 64 OZ", "DOG FOOD 20 LB", "milk"]
BODY = json.dumps({"input": TITLES, "encoding_format": "base64"}).encode()


class Client(threading.Thread):
    """Sends one request after another on one connection, until it is told to close it.

    Between two requests it pauses for some seconds.

    `answers` has the encoder's digest and the vectors of each answer, `lost` the requests that got
    no answer.
    """

    def __init__(self, port: int, pause: float) -> None:
        super().__init__()
        self.port = port
        self.pause = pause
        self.answers: list[tuple[str, bytes]] = []
        self.lost: list[str] = []
        self.was_told = False
        self.stop = False
        self.start()

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stop:
            try:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v1/embeddings", BODY, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
            except (OSError, HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
                time.sleep(0.02)
                continue
            assert answer.status == 200
            vectors = [base64.b64decode(item["embedding"]) for item in content["data"]]
            assert answer.headers["vitrina-encoder"] == content["encoder"]
            self.answers.append((content["encoder"], b"".join(vectors)))
            if answer.will_close:
                self.was_told = True
                return
            time.sleep(self.pause)
        connection.close()


@pytest.fixture
def load():
    """Starts clients, which end with the test."""
    started: list[Client] = []

    def clients(port: int, count: int = 6) -> list[Client]:
        new = [Client(port, 0.05 * (number % 3)) for number in range(count)]
        started.extend(new)
        time.sleep(0.5)
        assert all(client.answers for client in new)
        return new

    yield clients
    for client in started:
        client.stop = True
        client.join()


def expected(encoder: TitleEncoder) -> tuple[str, bytes]:
    return encoder.weights.digest, encoder.transform(TITLES).tobytes()


def test_sigterm_loses_no_request(start, shop: Path, lexical_encoder: TitleEncoder, load) -> None:
    running = start(shop / "encoder", "--workers", "2")
    clients = load(running.port)
    running.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(20)
    # each client was told to connect elsewhere, and had all its answers
    assert all(client.was_told for client in clients)
    assert [client.lost for client in clients] == [[]] * len(clients)
    assert running.process.wait(20) == 0
    assert {answer for client in clients for answer in client.answers} == {
        expected(lexical_encoder)
    }
    with pytest.raises(ConnectionRefusedError):
        running.ask("/health")
    assert all(line["level"] == "info" for line in running.log())


def test_a_body_on_its_way_is_answered_after_sigterm(start, shop: Path) -> None:
    running = start(shop / "encoder", "--quiet")
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        )
        time.sleep(0.2)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1.6)  # later than the time for new connections
        connection.sendall(b'{"input": "a"}')
        answer = connection.recv(2000)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert running.process.wait(20) == 0


def test_a_killed_worker_is_replaced(start, shop: Path, lexical_encoder: TitleEncoder, load):
    running = start(shop / "encoder", "--workers", "2")
    for _ in range(100):
        if len(running.workers()) == 2 and running.ask("/metrics").status == 200:
            break
    clients = load(running.port)
    first = running.workers()
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    line = running.wait_for("a worker has ended and is started again")
    assert line["code"] == -signal.SIGKILL
    for _ in range(200):
        if len(running.workers()) == 2:
            break
        time.sleep(0.05)
    assert len(set(running.workers()) - set(first)) == 1
    before = [len(client.answers) for client in clients]
    time.sleep(0.5)
    # only requests at the killed worker were lost, one a client, and all clients go on
    assert all(len(client.lost) <= 1 for client in clients)
    for client, count in zip(clients, before, strict=True):
        assert len(client.answers) > count
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
    clients = load(running.port)
    other.save(folder, force=True)
    running.process.send_signal(signal.SIGHUP)
    for _ in range(200):
        if sum(line["event"] == "reloaded" for line in running.log()) == 2:
            break
        time.sleep(0.05)
    time.sleep(0.2)
    for client in clients:
        client.stop = True
        client.join()
        # no request was lost; each answer comes from the old or the new encoder as a whole
        assert client.lost == []
        assert set(client.answers) == {expected(lexical_encoder), expected(other)}
        assert client.answers[-1] == expected(other)
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


def test_new_classifiers_and_keys_come_with_a_reload(start, shop: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-first-key-0123456789")
    running = start(shop / "encoder", "--key-file", keys)
    old, new = "Bearer the-first-key-0123456789", "Bearer the-second-key-0123456789"
    assert running.ask("/info", authorization=old).status == 200
    keys.write_text("the-second-key-0123456789")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("reloaded")
    assert running.ask("/info", authorization=old).status == 401
    assert running.ask("/info", authorization=new).status == 200


def test_workers_share_the_memory_of_the_encoder(start, shop: Path) -> None:
    running = start(shop / "encoder")
    (worker,) = running.workers()
    maps = Path(f"/proc/{worker}/maps").read_text()
    # mapped from the file, not copied
    assert f"{shop / 'encoder' / 'table.safetensors'}" in maps


def test_workers_end_when_the_supervisor_is_killed(start, shop: Path) -> None:
    running = start(shop / "encoder")
    (worker,) = running.workers()
    running.process.kill()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.05)
    raise AssertionError("the worker goes on")


def in_process(*arguments: str | Path) -> str:
    """Start a service that must fail, as a real process; returns the one line that it says."""
    command = [sys.executable, "-m", "vitrina", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
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
