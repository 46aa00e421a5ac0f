"""The examples of docs/serve.md, sent to a service."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

DOCS = Path(__file__).parents[2] / "docs" / "serve.md"
ADDRESS = "http://127.0.0.1:8000"


def test_python_examples(
    service, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pl.read_csv(shop / "catalogue.csv").write_parquet("catalogue.parquet")
    blocks = re.findall("```python\n(.*?)```", DOCS.read_text("utf-8"), re.S)
    shapes = []
    for block in blocks:
        names: dict = {}
        # the limit of the service in the tests is lower
        exec(block.replace(ADDRESS, service.url).replace("4096", "1024"), names)
        shapes.append((len(names["vectors"]), len(names["vectors"][0])))
    assert shapes == [(2, 88), (200, 88)]


def test_curl_examples(service) -> None:
    text = DOCS.read_text("utf-8")
    commands = re.findall(rf"^curl {ADDRESS}(\S+)(.*?'}}'|.*?'\{{.*?\}}')", text, re.M | re.S)
    assert [path for path, _ in commands] == [
        "/v1/embeddings",
        "/v1/classify",
        "/v1/similar",
        "/v2/models/vitrina/infer",
    ]
    for path, options in commands:
        body = re.search(r"-d '(.*?)'", options, re.S)
        assert body is not None
        answer = service.ask(path, body[1].encode())
        assert answer.status == 200, answer.body
