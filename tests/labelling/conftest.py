"""The labelling page as a real process, and a headless Chromium to open it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from vitrina.encoder.title_encoder import TitleEncoder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# as root, without a GPU, and without looking for hosts outside
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Labelling:
    """A page that runs: `vitrina label CATALOGUE --encoder encoder --out labels.parquet`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.file = folder / "labels.parquet"
        self._arguments = arguments
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "vitrina", "label", str(self.folder / "catalogue.parquet")]
        command += ["--encoder", str(self.folder / "encoder"), "--out", str(self.file), "--no-open"]
        command += ["--port", str(self.port), *self._arguments]
        errors = self.folder / "errors.log"
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("label at http://127.0.0.1:"), f"{line}{errors.read_text()}"
        self.url = line.split()[2]
        self.port = int(self.url.split(":")[2].partition("/")[0])

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)

    def labels(self) -> pl.DataFrame:
        return pl.read_parquet(self.file)

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        """GET a path below /label/, or POST bytes or an object as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET" if body is None else "POST", f"/label/{path}", body, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, content)


@pytest.fixture(scope="module")
def new_page(
    encoder: TitleEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Labelling]]:
    """Starts a page for a list of titles; its process ends with the module's tests."""
    started: list[Labelling] = []

    def start(titles: list[str], *arguments: str, labels: Any = None) -> Labelling:
        folder = tmp_path_factory.mktemp("page")
        encoder.save(folder / "encoder")
        pl.DataFrame({"title": titles}).write_parquet(folder / "catalogue.parquet")
        if labels is not None:
            pl.DataFrame(labels).write_parquet(folder / "labels.parquet")
        started.append(Labelling(folder, *arguments))
        return started[-1]

    yield start
    for labelling in started:
        labelling.process.kill()
        labelling.process.wait()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium: install it with `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
