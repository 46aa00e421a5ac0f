"""Embed all titles of a table into a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from vitrina.data.keyed_rows import KeyedRows, folder_for, keys_of, new_seed
from vitrina.data.stream import add_columns, refuse_output, title_batches
from vitrina.data.tables import Source, describe, require_columns, scan
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.vector_file import vector_columns, vector_metadata
from vitrina.progress import Progress


def embed_file(
    encoder: TitleEncoder,
    source: Source,
    out: str | Path,
    *,
    title_column: str = "title",
    key_column: str | None = None,
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Write a table and the vectors of its titles to a Parquet file.

    The file has all columns of the table, a new column `vector` of type
    FixedSizeList<float32>[width], and a new column `encoder` with the digest of the encoder. The
    metadata of the file have the digest, too. The table is read in batches, so memory use does not
    grow with its size.

    Parameters
    ----------
    encoder : TitleEncoder
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    out : str or Path
        The file to write; its name ends in .parquet.
    title_column : str, optional
        Column of the titles. A missing title is embedded as the empty title.
    key_column : str, optional
        Column that identifies a row: whole numbers or text, all different. With it,
        `vitrina.encoder.refresh.refresh_file` can bring the file up to date.
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
        If the table can't be read, has no such column or has a column `vector` or `encoder`
        already, if a key is missing or occurs twice, or if `out` can't be written. See
        `vitrina.data.stream.add_columns`.

    Examples
    --------
    >>> from vitrina import TitleEncoder, embed_file
    >>> embed_file(TitleEncoder.load("encoder"), "products.csv", "vectors.parquet", quiet=True)
    6
    """
    if key_column is not None:
        refuse_output(Path(out), force)
        _require_keys(source, title_column, key_column, Path(out), quiet)

    def columns_of(titles: pl.Series) -> dict[str, pa.Array]:
        return vector_columns(encoder, encoder.encode(titles))

    return add_columns(
        source,
        out,
        title_column,
        columns_of,
        description="embedding",
        metadata=vector_metadata(encoder, title_column, key_column),
        force=force,
        quiet=quiet,
    )


def _require_keys(
    source: Source, title_column: str, key_column: str, out: Path, quiet: bool
) -> None:
    """Raise InputError unless each row has a key of its own."""
    where = describe(source)
    require_columns(scan(source, "catalogue"), {"title": title_column, "key": key_column}, source)
    with (
        KeyedRows(folder_for(out), where, key_column, new_seed()) as rows,
        Progress("reading keys", None, quiet=quiet) as progress,
    ):
        for batch in title_batches(source, title_column):
            keys = keys_of(batch, key_column, where, rows.rows)
            rows.add(keys, pl.Series([None], dtype=pl.String).new_from_index(0, len(keys)))
            progress.update(rows.rows)
        rows.require_unique()
