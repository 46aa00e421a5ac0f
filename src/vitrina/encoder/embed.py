"""A whole catalogue: its vectors in a file, and the products most like a title."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from vitrina.data.stream import add_columns, title_batches
from vitrina.data.tables import Source
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.errors import InputError

VECTOR = "vector"
SIMILARITY = "similarity"


def embed_file(
    encoder: TitleEncoder,
    source: Source,
    out: str | Path,
    *,
    title_column: str = "title",
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Embed a table's titles: its columns and `vector`, FixedSizeList<float32>[512], as Parquet.

    Streams: memory doesn't grow with the table. Returns the number of rows.

    Raises
    ------
    InputError
        see `vitrina.data.stream.add_columns`
    """

    def vectors(titles: pl.Series) -> dict[str, pa.Array]:
        array = encoder.encode(titles)
        flat = pa.array(array.ravel())
        return {VECTOR: pa.FixedSizeListArray.from_arrays(flat, array.shape[1])}

    return add_columns(
        source, out, title_column, vectors, description="embedding", force=force, quiet=quiet
    )


def most_similar(
    encoder: TitleEncoder, source: Source, query: str, *, k: int = 10, title_column: str = "title"
) -> pl.DataFrame:
    """The k distinct titles of a table most like `query`: its rows and their `similarity`.

    Exact: the cosine of every title's vector with the query's. Streams; ties keep the table's
    order.

    Raises
    ------
    InputError
        see `vitrina.data.stream.title_batches`; k < 1; a query without a word; the table has a
        column `similarity`
    """
    if k < 1:
        raise InputError(f"k: {k} should be 1 or more")
    if not any(encoder.weights.tokenizer.normalizer([query])):
        raise InputError(f"title: '{query}' has no word to look for; give one that has")
    wanted = unit_length(encoder.encode([query]))[0]
    best: pl.DataFrame | None = None
    for batch in title_batches(source, title_column):
        rows = batch.drop_nulls(title_column).unique(
            title_column, keep="first", maintain_order=True
        )
        if SIMILARITY in rows.columns:
            raise InputError(f"titles: have a column '{SIMILARITY}' already; rename it")
        vectors = unit_length(encoder.encode(rows[title_column]))
        # a matrix product would round a row's sum by its place in the batch, and part ties
        similarity = np.einsum("ij,j->i", vectors, wanted)
        rows = rows.with_columns(pl.Series(SIMILARITY, similarity))
        best = rows if best is None else pl.concat([best, rows])
        best = best.unique(title_column, keep="first", maintain_order=True)
        best = best.sort(SIMILARITY, descending=True, maintain_order=True).head(k)
    if best is None or best.is_empty():
        raise InputError(f"titles: column '{title_column}' holds none; there is nothing to compare")
    return best
