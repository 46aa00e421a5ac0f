"""A folder with something to serve, and services as real processes on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.search.index import TitleIndex


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The one line of an error in OpenAI's form."""
        message = self.json["error"]["message"]
        assert "\n" not in message
        assert "`" not in message
        return message


class Running:
    """A service that runs, and requests to it."""

    def __init__(self, process: subprocess.Popen[str], port: int, errors: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._errors = errors

    def ask(self, path: str, body: Any = None, **headers: str | None) -> Answer:
        """GET a path, or POST bytes or an object as JSON. A header of None is left out."""
        given: dict[str, str | None] = {}
        if body is not None:
            given["content-type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in given.items() if value is not None}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, content)

    def workers(self) -> list[int]:
        """Process ids of the workers, without multiprocessing's tracker of resources."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [child for child in map(int, children) if b"spawn_main" in command_of(child)]

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._errors.read_text().splitlines()]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until an event is logged, and return its line."""
        self.until(lambda: bool(self.events(event)), f"'{event}' in the log")
        return self.events(event)[0]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        ends = time.monotonic() + 60  # the machine may be busy
        while not condition():
            assert time.monotonic() < ends, f"waited for {what} in vain: {self.log()}"
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class Start:
    """Starts services, and ends those that still run."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[Running] = []

    def __call__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Running:
        errors = self.logs / f"{len(self.running)}.log"
        command = [sys.executable, "-m", "vitrina", "serve", *map(str, arguments), "--port", "0"]
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=os.environ | {"TMPDIR": str(self.logs)} | (env or {}),
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"vitrina serves http://127.0.0.1:(\d+) \(encoder .*\)\n", line)
        assert found, f"{line}{errors.read_text()}"
        self.running.append(Running(process, int(found[1]), errors))
        return self.running[-1]

    def end(self) -> None:
        for running in self.running:
            running.process.terminate()
        for running in self.running:
            running.process.wait(60)


@pytest.fixture(scope="session")
def shop(
    lexical_encoder: TitleEncoder,
    grocery_titles: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with an encoder, a classifier of it, an index and a catalogue."""
    folder = tmp_path_factory.mktemp("shop")
    lexical_encoder.save(folder / "encoder")
    titles = [title for title in grocery_titles if title.strip()][:200]
    table = pl.DataFrame(
        {
            "product_id": range(200),
            "title": titles,
            "category": [["food", "drinks"][i % 2] for i in range(200)],
        }
    )
    table.write_csv(folder / "catalogue.csv")
    labels = [["long", "middle", "short"][min(len(title) // 10, 2)] for title in titles]
    TitleClassifier(lexical_encoder, C=1.0).fit(titles, labels).save(folder / "classifier")
    TitleIndex.build(lexical_encoder, table, columns=["category"]).save(folder / "index")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = Start(tmp_path)
    yield started
    started.end()


@pytest.fixture(scope="session")
def service(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service with everything, which several tests share; its limits are small."""
    started = Start(tmp_path_factory.mktemp("logs"))
    # one body of the largest size takes 1 MiB
    limits = ["--max-body", "1", "--max-titles", "1500", "--max-title-length", "300"]
    yield started(
        shop / "encoder",
        "--classifier",
        f"condition={shop / 'classifier'}",
        "--index",
        shop / "index",
        "--max-requests",
        "8",
        *limits,
    )
    started.end()
