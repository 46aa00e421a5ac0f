"""The examples of docs/spark.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.cli.app import app
from vitrina.cli.commands_train import train
from vitrina.encoder.title_encoder import TitleEncoder

DOCS = (Path(__file__).parents[2] / "docs" / "spark.md").read_text("utf-8")


def blocks_of(language: str) -> list[str]:
    return re.findall(f"```{language}\n(.*?)```", DOCS, re.S)


@pytest.mark.usefixtures("spark")
def test_python_examples(
    encoder: TitleEncoder,
    grocery_titles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    titles = grocery_titles[1:101]
    products = pl.DataFrame({"product_id": range(100), "title": titles})
    (tmp_path / "products").mkdir()
    products.write_parquet("products/part-0.parquet")
    visits = pl.DataFrame(
        {
            "user": np.arange(300, dtype=np.int64) // 3,
            "product_id": np.arange(300, dtype=np.int64) % 100,
            "offset": np.arange(300, dtype=np.int64),
        }
    )
    time = pl.datetime(2024, 3, 10, time_unit="us", time_zone="UTC")
    (tmp_path / "visits").mkdir()
    visits.with_columns(timestamp=time).write_parquet("visits/part-0.parquet")
    encoder.save("encoder")
    TitleClassifier(encoder).fit(titles, ["a", "b"] * 50).save("classifier")

    names: dict[str, Any] = {}
    for block in blocks_of("python"):
        # paths of Spark are relative to the folder in which its process was started
        exec(block.replace('parquet("', f'parquet("{tmp_path}/'), names)
    assert re.search(r"\| +100\| +300\|", capfd.readouterr().out)
    expected = encoder.encode(names["table"]["title"])
    np.testing.assert_array_equal(names["matrix"], expected)
    scores = pl.read_parquet("scores/*.parquet")
    assert scores.columns[2:] == ["prediction", "probability_a", "probability_b"]


def test_the_command_has_these_options() -> None:
    (block,) = blocks_of("bash")
    program, *words = shlex.split(block.replace("\\\n", ""))
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert program == "vitrina"
    assert command is train
    assert bound.arguments["data"].events == ["sessions/*.parquet"]
    assert bound.arguments["data"].time_unit == "s"
    assert bound.arguments["columns"].time_column == "position"
