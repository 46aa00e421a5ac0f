"""The examples of docs/mlflow.md and docs/feature-store.md."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    return [block for found, block in blocks if found == language]


def run(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "vitrina":
        assert _exit_code(words[1:]) == 0, command
    elif words[0] == "cp":
        Path(words[2]).parent.mkdir(exist_ok=True)
        shutil.copyfile(words[1], words[2])


def test_mlflow(
    trained: Path,
    store: str,
    grocery_titles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "encoder")
    encoder = TitleEncoder.load("encoder")
    TitleClassifier(encoder).fit(grocery_titles[1:101], ["new", "used"] * 50).save("classifier")
    own = "sqlite:///mlflow.db"
    ran = 0
    for block in blocks_of("mlflow.md", ""):
        for line in block.splitlines():
            ran += line.startswith("vitrina ")
            run(line.replace(own, store))
    assert ran == 1
    python, _in_spark = blocks_of("mlflow.md", "python")
    names: dict[str, Any] = {}
    exec(
        python.replace(own, store)
        .replace('"titles"', '"of docs"')
        .replace("titles/1", "of docs/1"),
        names,
    )
    np.testing.assert_array_equal(names["vectors"], encoder.encode(["APPLE SAUCE 24 OZ"]))


def test_history_of_a_feature_store(
    encoder: TitleEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the folder `history` tell which vector a product had at which time."""
    monkeypatch.chdir(tmp_path)
    encoder.save("encoder")
    titles = {"old": ["milk", "tea", "rice"], "new": ["milk 1 gal", "tea"]}
    write = "vitrina embed"
    for block in blocks_of("feature-store.md", ""):
        if write not in block:
            continue
        for command in block.splitlines():
            age = "old" if command.startswith(write) else "new"
            table = {"product_id": range(len(titles[age])), "title": titles[age]}
            pl.DataFrame(table).write_parquet("catalogue.parquet")
            run(command)
    (python,) = blocks_of("feature-store.md", "python")
    exec(python, {})
    first, second = (pl.read_parquet(path) for path in sorted(Path("history").iterdir()))
    np.testing.assert_array_equal(first["vector"].to_numpy(), encoder.encode(titles["old"]))
    assert second["product_id"].to_list() == [0]
    np.testing.assert_array_equal(second["vector"].to_numpy(), encoder.encode(["milk 1 gal"]))
    assert first.schema == second.schema
