"""Embed all titles of a table into a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from vitrina.data.stream import add_columns
from vitrina.data.tables import Source
from vitrina.encoder.title_encoder import TitleEncoder

VECTOR = "vector"


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
