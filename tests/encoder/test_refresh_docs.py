"""The Python examples of docs/refresh.md, with a real table of Delta Lake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder

PAGE = Path(__file__).parents[2] / "docs" / "refresh.md"


def test_the_examples_run(
    encoder: TitleEncoder,
    grocery_titles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deltalake = pytest.importorskip("deltalake")
    monkeypatch.chdir(tmp_path)
    encoder.save("encoder")
    titles = grocery_titles[1:101]
    table = pl.DataFrame({"product_id": range(100), "title": titles})
    table.write_parquet("catalogue.parquet")
    new = table[10:].with_columns(
        title=pl.when(pl.col("product_id") < 15).then(pl.lit("NEW SOAP 3 OZ")).otherwise("title")
    )
    pl.concat([new, table[:3].with_columns(product_id=pl.col("product_id") + 200)]).write_parquet(
        "new.parquet"
    )
    embed_file(encoder, "catalogue.parquet", "before.parquet", quiet=True)
    deltalake.write_deltalake("store", pq.read_table("before.parquet"))

    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S):
        exec(example, names)
    assert names["counts"] == {"unchanged": 85, "changed": 5, "added": 3, "deleted": 10}
    store = pl.DataFrame(deltalake.DeltaTable("store").to_pyarrow_table()).sort("product_id")
    vectors = pl.read_parquet("vectors.parquet").sort("product_id")
    assert store.columns == vectors.columns
    assert store.drop("vector").equals(vectors.drop("vector"))
    found = np.array(store["vector"].to_list(), np.float32)
    np.testing.assert_array_equal(found, vectors["vector"].to_numpy())
