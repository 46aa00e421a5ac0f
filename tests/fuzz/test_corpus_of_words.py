"""Parts that a stranger could make: word vectors, golden vectors, indexes and label files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy

from .client import Worker
from .folders import SAVED, change_arrays, change_config, copy_of, refusal, seal_all
from .mutations import ESCAPES

F = np.float32


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("encoder-2", "lexical-part"),
        ("index-1", "index-arrays"),
        ("index-1-graph", "index-graph"),
    ],
)
def test_unchanged_folders_load(worker: Worker, tmp_path: Path, source: str, kind: str) -> None:
    folder = copy_of(source, tmp_path)
    seal_all(folder)
    result = worker.run(kind, path=folder)
    assert result["outcome"] == "loaded", result


def arrays_of(source: str, file: str) -> dict[str, Any]:
    return safetensors.numpy.load_file(SAVED / source / file)


LEXICAL = arrays_of("encoder-2", "lexical.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"hashes": LEXICAL["hashes"][::-1].copy()},
        {"hashes": np.repeat(LEXICAL["hashes"][:1], len(LEXICAL["hashes"]))},
        {"hashes": LEXICAL["hashes"][1:].copy()},
        {"hashes": LEXICAL["hashes"].astype(np.float32)},
        {"rows": LEXICAL["rows"][1:].copy()},
        {"rows": LEXICAL["rows"][:, 1:].copy()},
        {"rows": LEXICAL["rows"].astype(np.float32)},
        {"scale": LEXICAL["scale"] * F(np.nan)},
        {"scale": -LEXICAL["scale"]},
        {"scale": np.full_like(LEXICAL["scale"], 1e13)},
        {"scale": LEXICAL["scale"][:1].copy()},
        {"scale": None},
        {"x": np.ones(1, F)},
    ],
)
def test_arrays_of_word_vectors(worker: Worker, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = copy_of("encoder-2", tmp_path)
    change_arrays(folder, "lexical.safetensors", changes)
    assert "lexical.safetensors: " in refusal(worker, "lexical-part", folder)


@pytest.mark.parametrize("scale", [0, 1e-45, 1e12])
def test_word_vectors_of_any_length(worker: Worker, tmp_path: Path, scale: float) -> None:
    folder = copy_of("encoder-2", tmp_path)
    rows = np.full_like(LEXICAL["rows"], -128)
    changes = {"rows": rows, "scale": np.full_like(LEXICAL["scale"], scale)}
    change_arrays(folder, "lexical.safetensors", changes)
    (folder / "golden.json").write_text('{"unicode": "", "titles": []}')
    seal_all(folder)
    result = worker.run("lexical-part", path=folder)
    assert result["outcome"] == "loaded", result


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.lexical", None),
        ("model.lexical", []),
        ("model.lexical.dim", 0),
        ("model.lexical.dim", 2_049),
        ("model.lexical.dim", 8.0),
        ("model.lexical.features", -1),
        ("model.lexical.features", 2**62),
        ("model.lexical.features", True),
        ("model.lexical.weight", 0),
        ("model.lexical.weight", 1e300),
        ("model.lexical.weight", math.nan),
        ("model.lexical.weight", 10**400),
        ("model.lexical.weight", "1"),
    ],
)
def test_configs_of_word_vectors(worker: Worker, tmp_path: Path, name: str, value: Any) -> None:
    folder = copy_of("encoder-2", tmp_path)
    change_config(folder, {name: value})
    refusal(worker, "lexical-part", folder)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"titles": None}, "refused"),
        ({"titles": [None]}, "refused"),
        ({"titles": [{}]}, "refused"),
        ({"titles": [{"title": 5}]}, "refused"),
        ({"titles": [{"title": "a" * 10_001}]}, "refused"),
        ({"titles": [{"title": "a"}] * 1_001}, "refused"),
        ({"unicode": 15}, "refused"),
        ({"unicode": ESCAPES}, "loaded"),
        ({"titles": []}, "loaded"),
        ({"titles": [{"title": ESCAPES}]}, "loaded"),
        ({"titles": [{"title": "\ud800\0"}]}, "loaded"),
        ({"titles": [{"title": "\u0301" * 10_000}] * 10}, "loaded"),
        ({"titles": [{"title": "a", "form": [[["a"]]], "pieces": {"a": {}}}]}, "loaded"),
    ],
)
def test_golden_vectors(
    worker: Worker, tmp_path: Path, changes: dict[str, Any], outcome: str
) -> None:
    folder = copy_of("encoder-2", tmp_path)
    file = folder / "golden.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    seal_all(folder)
    result = worker.run("golden-vectors", path=folder)
    assert result["outcome"] == outcome, result


def offsets(change: Callable[[Any], Any]) -> dict[str, Any]:
    """The offsets of the titles, changed."""
    found = arrays_of("index-1", "rows.safetensors")["offsets1"].astype(np.int64)
    return {"offsets1": change(found).astype(np.uint32)}


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("vectors", {"scale": np.full(43, np.nan, F)}),
        ("vectors", {"scale": np.full(43, 2, F)}),
        ("vectors", {"scale": np.full(43, -1, F)}),
        ("vectors", {"scale": np.ones(42, F)}),
        ("vectors", {"high": np.zeros((42, 24), np.int8)}),
        ("vectors", {"high": np.zeros((43, 23), np.int8)}),
        ("vectors", {"high": np.zeros(43 * 24, np.int8)}),
        ("vectors", {"low": None}),
        ("rows", offsets(lambda a: a[::-1])),
        ("rows", offsets(lambda a: np.r_[1, a[1:]])),
        ("rows", offsets(lambda a: np.r_[a[:-1], 2**32 - 1])),
        ("rows", offsets(lambda a: np.r_[0, 2**32 - 1, a[2:]])),
        ("rows", offsets(lambda a: a[:-1])),
        ("rows", offsets(lambda a: a * 0)),
        ("rows", {"text1": np.full_like(arrays_of("index-1", "rows.safetensors")["text1"], -1)}),
        ("rows", {"text0": np.full_like(arrays_of("index-1", "rows.safetensors")["text0"], 97)}),
        ("rows", {"text3": np.full_like(arrays_of("index-1", "rows.safetensors")["text3"], 97)}),
        ("rows", {"text5": np.full_like(arrays_of("index-1", "rows.safetensors")["text5"], 97)}),
        ("rows", {"text1": None}),
        ("rows", {"text9": np.zeros(1, np.int8)}),
    ],
)
def test_arrays_of_an_index(
    worker: Worker, tmp_path: Path, file: str, changes: dict[str, Any]
) -> None:
    folder = copy_of("index-1", tmp_path)
    change_arrays(folder, f"{file}.safetensors", changes)
    assert f"{file}.safetensors: " in refusal(worker, "index-arrays", folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder", ESCAPES),
        ("encoder", "0" * 64),  # of another encoder
        ("method", []),
        ("method", "fast"),
        ("recall_at_10", 2),
        ("recall_at_10", math.nan),
        ("expansion", 10**9),
        ("width", 23),
        ("width", 10**400),
        ("rows", 42),
        ("rows", -1),
        ("rows", 2**62),
        ("columns", []),
        ("columns", [{"name": "product_id", "type": "text"}] * 6),
        ("columns", [{"name": f"c{i}", "type": "text"} for i in range(10_000)]),
        ("columns", [{"name": f"{ESCAPES}{i}", "type": "text"} for i in range(6)]),
        ("columns", [{"name": f"c{i}", "type": ["text"]} for i in range(6)]),
        ("columns", [{"name": f"c{i}", "type": "number"} for i in range(6)]),
    ],
)
def test_configs_of_an_index(worker: Worker, tmp_path: Path, name: str, value: Any) -> None:
    folder = copy_of("index-1", tmp_path)
    change_config(folder, {name: value})
    path = refusal(worker, "index-config", folder)
    assert name == "encoder" or "config.json: " in path or ".safetensors: " in path


GRAPH = arrays_of("index-1-graph", "graph.safetensors")


@pytest.mark.parametrize("size", [0, 7, 8, 100, 1_000, -1])
def test_a_graph_that_is_cut(worker: Worker, tmp_path: Path, size: int) -> None:
    folder = copy_of("index-1-graph", tmp_path)
    change_arrays(folder, "graph.safetensors", {"file": GRAPH["file"][:size].copy()})
    assert "graph.safetensors: is damaged" in refusal(worker, "index-graph", folder)


@pytest.mark.parametrize("keys", [GRAPH["keys"][::-1].copy(), GRAPH["keys"] * np.uint32(0)])
def test_keys_of_a_graph(worker: Worker, tmp_path: Path, keys: Any) -> None:
    folder = copy_of("index-1-graph", tmp_path)
    change_arrays(folder, "graph.safetensors", {"keys": keys})
    assert "graph.safetensors: is damaged" in refusal(worker, "index-graph", folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b"title,label\n" + b"\xff\xfe\n"),
        ("labels.csv", b"title,label\na,b,c,d\n"),
        ("labels.csv", b"title\na\n"),
        ("labels.csv", b"title;label\na;b\n"),
        ("labels.csv", b'title,label\n"' + b"a" * (17 << 20)),
        ("labels.csv", b"title,label," + b"x," * 10_001 + b"\n"),
        ("labels.csv", b"\0" * 1_000),
        ("labels.csv", "title,label\na,b\n".encode("utf-16")),
        ("labels.parquet", b"PAR1" * 100),
        ("labels.parquet", pl.DataFrame({"title": ["a"], "label": [[1]]})),
        ("labels.parquet", pl.DataFrame({"title": ["a"], "label": [0.5]})),
        ("labels.parquet", pl.DataFrame({"title": [["a"]], "label": ["b"]})),
        ("labels.parquet", pl.DataFrame({"title": [{"a": 1}], "label": ["b"]})),
    ],
)
def test_label_files(worker: Worker, tmp_path: Path, name: str, content: Any) -> None:
    file = tmp_path / "case" / name
    file.parent.mkdir()
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content.write_parquet(file)
    result = worker.run("labels", path=file.parent)
    assert result["outcome"] == "refused", result
    assert result["message"].startswith(str(file))


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"title": ["a"], "label": [True], "time": [5]}),
        pl.DataFrame({"title": [None, "a"], "label": [2**63, 1]}),
        pl.DataFrame({"title": ["a", "a"], "label": [ESCAPES, "\0"], "encoder": [1, 2]}),
        pl.DataFrame({"title": ["a"], "label": ["b" * 2_000], "strategy": [0.5]}),
        pl.DataFrame({"label": ["b"], "title": ["a"], "x": [[{"a": [1]}]]}),
    ],
)
def test_label_files_of_other_programs(worker: Worker, tmp_path: Path, table: pl.DataFrame) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    table.write_parquet(folder / "labels.parquet")
    result = worker.run("labels", path=folder)
    assert result["outcome"] == "loaded", result
