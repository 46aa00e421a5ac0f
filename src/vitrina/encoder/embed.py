"""Embed all titles of a table into a file, and find the titles most similar to a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from vitrina.data.stream import add_columns, title_batches
from vitrina.data.tables import Source, describe
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
    """Write a table and the vectors of its titles to a Parquet file.

    The file has all columns of the table and a new column `vector` of type
    FixedSizeList<float32>[512]. The table is read in batches, so memory use does not grow with its
    size.

    Parameters
    ----------
    encoder : TitleEncoder
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    out : str or Path
        The file to write; its name ends in .parquet.
    title_column : str, optional
        Column of the titles. A missing title is embedded as the empty title.
    force : bool, optional
        Replace `out` if it exists.
    quiet : bool, optional
        Show no progress bar.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    InputError
        If the table can't be read, has no such column or has a column `vector` already, or if
        `out` can't be written. See `vitrina.data.stream.add_columns`.

    Examples
    --------
    >>> from vitrina import TitleEncoder, embed_file
    >>> embed_file(TitleEncoder.load("encoder"), "products.csv", "vectors.parquet", quiet=True)
    6
    """

    def vector_column(titles: pl.Series) -> dict[str, pa.Array]:
        vectors = encoder.encode(titles)
        values = pa.array(vectors.ravel())
        return {VECTOR: pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])}

    return add_columns(
        source, out, title_column, vector_column, description="embedding", force=force, quiet=quiet
    )


def most_similar(
    encoder: TitleEncoder, source: Source, query: str, *, k: int = 10, title_column: str = "title"
) -> pl.DataFrame:
    """Find the k distinct titles of a table that are most similar to a query.

    The search is exact: it computes the cosine similarity of the query's vector with every title's
    vector. The table is read in batches, so memory use does not grow with its size.

    Parameters
    ----------
    encoder : TitleEncoder
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    query : str
        A title, with at least one word.
    k : int, optional
        Number of titles to return, 1 or more; all distinct titles if the table has fewer.
    title_column : str, optional
        Column of the titles. Rows without a title are skipped.

    Returns
    -------
    polars.DataFrame
        The first row of each title found, with all its columns and a new column `similarity`
        (float32, from 0 to 1), in descending order. Titles of equal similarity keep the table's
        order.

    Raises
    ------
    InputError
        If the table can't be read, has no such column, has no titles or has a column `similarity`
        already; if `k` is less than 1; if the query has no word. See
        `vitrina.data.stream.title_batches`.

    Examples
    --------
    >>> from vitrina import TitleEncoder, most_similar
    >>> encoder = TitleEncoder.load("encoder")
    >>> most_similar(encoder, "products.csv", "apple juice", k=1)["title"].to_list()
    ['APPLE JUICE 64 OZ']
    """
    if k < 1:
        raise InputError(f"`k` is {k}; it must be 1 or more")
    if not any(encoder.weights.tokenizer.normalizer([query])):
        raise InputError(
            f"`query` is '{query}', which has no word; give a title with at least one word"
        )
    query_vector = unit_length(encoder.encode([query]))[0]
    best: pl.DataFrame | None = None
    for batch in title_batches(source, title_column):
        if SIMILARITY in batch.columns:
            raise InputError(
                f"{describe(source)}: has a column '{SIMILARITY}' already, which the result needs; "
                "rename it"
            )
        rows = batch.drop_nulls(title_column)
        rows = rows.unique(title_column, keep="first", maintain_order=True)
        vectors = unit_length(encoder.encode(rows[title_column]))
        # A matrix product would round a row's sum differently at different places of the batch,
        # and equal titles would no longer be ties.
        similarity = np.einsum("ij,j->i", vectors, query_vector)
        rows = rows.with_columns(pl.Series(SIMILARITY, similarity))
        # Earlier batches come first, so that the first row of a repeated title is kept.
        best = rows if best is None else pl.concat([best, rows])
        best = best.unique(title_column, keep="first", maintain_order=True)
        best = best.sort(SIMILARITY, descending=True, maintain_order=True).head(k)
    if best is None or best.is_empty():
        raise InputError(
            f"{describe(source)}: column '{title_column}' has no titles; give a table with titles"
        )
    return best
