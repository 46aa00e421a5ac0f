"""Vectors of a whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError


@pytest.fixture(scope="module")
def table(grocery_titles: list[str]) -> pl.DataFrame:
    """More than one batch: each title occurs several times; some are altered, some missing."""
    rng = np.random.default_rng(0)
    titles: list[str | None] = [
        grocery_titles[i] for i in rng.integers(0, len(grocery_titles), 20_000)
    ]
    titles[::50] = [title and f"  {title.lower()}!" for title in titles[::50]]
    titles[7::100] = [None] * len(titles[7::100])
    return pl.DataFrame({"row": range(20_000), "title": titles})


@pytest.mark.parametrize("name", ["in.parquet", "in.csv", "in.jsonl"])
def test_every_title_s_vector(
    encoder: TitleEncoder, table: pl.DataFrame, tmp_path: Path, name: str
) -> None:
    source, out = tmp_path / name, tmp_path / "out.parquet"
    writers: dict[str, Callable[..., Any]] = {
        "in.parquet": table.write_parquet,
        "in.csv": table.write_csv,
        "in.jsonl": table.write_ndjson,
    }
    writers[name](source)
    assert embed_file(encoder, source, out, quiet=True) == len(table)
    expected = encoder.transform(table["title"])
    assert pq.read_schema(out).names == ["row", "title", "vector", "encoder"]
    assert pq.read_schema(out).field("vector").type == pa.list_(pa.float32(), 64)
    arrow = pq.read_table(out)["vector"].combine_chunks()
    np.testing.assert_array_equal(arrow.flatten().to_numpy().reshape(-1, 64), expected)
    result = pl.read_parquet(out)
    assert result.schema["vector"] == pl.Array(pl.Float32, 64)
    np.testing.assert_array_equal(result["vector"].to_numpy(), expected)
    assert result["row"].cast(pl.Int64).equals(table["row"])
    assert result["title"].equals(table["title"])
    assert result["encoder"].unique().to_list() == [encoder.weights.digest]
    assert pq.read_schema(out).metadata[b"vitrina_encoder"].decode() == encoder.weights.digest
    np.testing.assert_array_equal(result["vector"].to_numpy()[7], encoder.transform([""])[0])


@pytest.mark.parametrize("column", ["vector", "encoder"])
def test_a_column_is_not_overwritten(encoder: TitleEncoder, tmp_path: Path, column: str) -> None:
    table = pl.DataFrame({"title": ["a"], column: ["mine"]})
    with pytest.raises(InputError, match=f"has a column '{column}' already") as error:
        embed_file(encoder, table, tmp_path / "out.parquet", quiet=True)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
