"""The examples of docs/serve.md, sent to a service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest

from vitrina.serving.service_options import Limits

DOCS = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks_of(language: str) -> list[str]:
    return re.findall(f"```{language}\n(.*?)```", DOCS, re.S)


def test_python_examples(
    service, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pl.read_csv(shop / "catalogue.csv").write_parquet("catalogue.parquet")
    shapes = []
    for block in blocks_of("python"):
        names: dict = {}
        # the limit of the service in the tests is lower
        exec(block.replace(ADDRESS, service.url).replace("4096", "1024"), names)
        shapes.append((len(names["vectors"]), len(names["vectors"][0])))
    assert shapes == [(2, 88), (200, 88)]


def test_curl_examples(service, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    environment = os.environ | {"HOME": str(tmp_path), "VITRINA_API_KEY": "unused"}
    script = "\n".join(blocks_of("bash")).replace(ADDRESS, service.url)
    script = script.replace("curl ", "curl -w '\\n%{url_effective}\\n' ")
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = set(re.findall(rf"^{service.url}(\S+)$", done.stdout, re.M))
    described = service.ask("/openapi.json").json["paths"]
    # each route that the table promises has an example, but for the batches in Python
    promised = {path for path in described if not path.startswith("/v2")}
    assert found >= promised - {"/v1/embeddings/arrow"}
    assert "/v2/models/vitrina/infer" in found


def test_the_table_has_the_limits() -> None:
    rows = dict(re.findall(r"^\| [^|]+\| `(--max-\S+)`[^|]*\| ([\d,]+)", DOCS, re.M))
    numbers = [int(value.replace(",", "")) for value in rows.values()]
    limits = Limits()
    assert list(rows) == ["--max-body", "--max-titles", "--max-title-length", "--max-requests"]
    assert numbers == [
        limits.body_bytes // 2**20,
        limits.titles,
        limits.title_length,
        limits.requests,
    ]
