"""Adding columns to a table of any size, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.tables import Source, describe, is_text, readable, require_columns, scan
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.progress import Progress

T = TypeVar("T")

_BATCH_ROWS = 16_384  # their vectors take 32 MiB


def title_batches(source: Source, title_column: str) -> Iterator[pl.DataFrame]:
    """Read a table in batches of rows, in order.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        See `scan`.
    title_column : str

    Yields
    ------
    DataFrame
        Up to 16,384 rows with all columns. The titles are of type String.

    Raises
    ------
    InputError
        If the table can't be read, has no such column, or the column holds no text.
    """
    frame = scan(source, "titles")
    require_columns(frame, {"title": title_column}, source)
    with readable(source):
        dtype = frame.collect_schema()[title_column]
    # a column without any value has the type Null
    if not is_text(dtype) and dtype != pl.Null:
        raise InputError(
            f"{describe(source)}: column '{title_column}' ({dtype}) holds no text; "
            "name the column of titles with `title_column`"
        )
    frame = frame.with_columns(pl.col(title_column).cast(pl.String))
    with readable(source):
        yield from frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)


def add_columns(
    source: Source,
    out: str | Path,
    title_column: str,
    columns_of: Callable[[pl.Series], dict[str, pa.Array]],
    *,
    description: str,
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Write a table with new columns that are computed from its titles.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        See `scan`.
    out : path
        The Parquet file to write. It appears only when it is complete.
    title_column : str
    columns_of : callable
        Computes the new columns, by name, from a batch of titles.
    description : str
        Caption of the progress.
    force : bool, default False
        Whether to replace an existing file.
    quiet : bool, default False
        Whether to show no progress.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    InputError
        As `title_batches`. Also if `out` isn't named .parquet or exists (unless `force` is set), or
        if the table has no rows or already has a column with the name of a new one.
    """
    out = Path(out)
    # readers of tables tell the format by the extension
    if out.suffix.lower() != ".parquet":
        raise InputError(f"{out}: the output is Parquet; give a name that ends in .parquet")
    refuse_existing(out, force)
    parts = _prefetched(_with_columns(source, title_column, columns_of))
    # the first batch is computed before any folder is made, so that a bad table leaves nothing
    first = next(parts, None)
    if first is None:
        raise InputError(f"{describe(source)}: has no rows; give a table with titles")
    first_table, new_names = first
    done = 0
    with (
        atomic_path(out) as temporary,
        Progress(description, _known_rows(source), quiet=quiet) as progress,
        # pyarrow gets an open file, because it would expand a ~ in a path
        temporary.open("wb") as file,
        _writer(file, first_table, new_names) as writer,
    ):
        for table, _ in chain([first], parts):
            writer.write_table(table)
            done += len(table)
            progress.update(done)
    return done


def _with_columns(
    source: Source, title_column: str, columns_of: Callable[[pl.Series], dict[str, pa.Array]]
) -> Iterator[tuple[pa.Table, set[str]]]:
    """Batches of the table with the new columns, and the names of the new columns."""
    for batch in _prefetched(title_batches(source, title_column)):
        new_columns = columns_of(batch[title_column])
        new_names = set(new_columns)
        clash = new_names & set(batch.columns)
        if clash:
            raise InputError(
                f"{describe(source)}: has a column '{min(clash)}' already, "
                "which the output needs; rename it"
            )
        table = batch.to_arrow(compat_level=pl.CompatLevel.oldest())
        for name, column in new_columns.items():
            table = table.append_column(name, column)
        yield table, new_names


def _prefetched(items: Iterator[T]) -> Iterator[T]:
    """The same items; a thread computes the next one while the caller uses the current one."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def _writer(file: BinaryIO, table: pa.Table, new_names: set[str]) -> pq.ParquetWriter:
    """A writer for tables like this one.

    The new columns get neither dictionaries nor compression: the numbers of vectors hardly repeat,
    so both would cost time and save little.
    """
    # Parquet sets both for each leaf (a list's is "name.list.element"). An empty file with the same
    # schema shows the names of the leaves.
    empty = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), empty)
    leaves = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    old_leaves = []
    for i in range(len(leaves)):
        path = leaves.column(i).path
        if path.partition(".")[0] not in new_names:
            old_leaves.append(path)
    return pq.ParquetWriter(
        file,
        table.schema,
        compression=dict.fromkeys(old_leaves, "zstd"),
        use_dictionary=old_leaves,
    )


def _known_rows(source: Source) -> int | None:
    """The number of rows of Parquet files, from their footers; None for other sources."""
    names = [source] if isinstance(source, str | Path) else source
    if not isinstance(names, list):
        return None
    if not all(str(name).endswith((".parquet", ".pq")) for name in names):
        return None
    with readable(source):
        return int(scan(source, "titles").select(pl.len()).collect().item())
