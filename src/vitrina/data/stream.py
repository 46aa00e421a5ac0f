"""A table of any size through a function of its titles, to Parquet, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.tables import Source, describe, readable, require_columns, scan
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.progress import Progress

T = TypeVar("T")

_ROWS = 16_384  # at a time: 32 MiB of vectors


def title_batches(source: Source, title_column: str) -> Iterator[pl.DataFrame]:
    """The rows of a table in order, a bounded number at a time, its titles as text.

    Raises
    ------
    InputError
        if the table can't be read, has no such column, or the column holds no text
    """
    frame = scan(source, "titles")
    require_columns(frame, {"title": title_column}, source)
    with readable(source):
        dtype = frame.collect_schema()[title_column]
    if dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise InputError(
            f"{describe(source)}: column '{title_column}' ({dtype}) holds no text; "
            "name the column of titles with --title-column"
        )
    frame = frame.with_columns(pl.col(title_column).cast(pl.String))
    with readable(source):
        yield from frame.collect_batches(chunk_size=_ROWS, maintain_order=True)


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
    """Write the table's columns and the new ones that `columns_of(titles)` gives; returns rows.

    The file at `out` (Parquet) appears only when it is whole.

    Raises
    ------
    InputError
        as `title_batches`; if `out` isn't named .parquet or exists (unless `force`); if the table
        has a column of a new column's name already; if it has no rows
    """
    out = Path(out)
    if out.suffix.lower() != ".parquet":  # tables are read by their extension
        raise InputError(f"{out}: the output is Parquet; give a name that ends in .parquet")
    refuse_existing(out, force)
    parts = _ahead(_with_columns(source, title_column, columns_of))
    first = next(parts, None)  # before anything is made: a table that won't do leaves no folder
    if first is None:
        raise InputError(f"{describe(source)}: has no rows; give a table with titles")
    done = 0
    with (
        atomic_path(out) as temporary,
        Progress(description, _rows(source), quiet=quiet) as progress,
        temporary.open("wb") as file,  # of a path, pyarrow would expand the ~
        _writer(file, *first) as writer,
    ):
        for table, _ in chain([first], parts):
            writer.write_table(table)
            done += len(table)
            progress.update(done)
    return done


def _with_columns(
    source: Source, title_column: str, columns_of: Callable[[pl.Series], dict[str, pa.Array]]
) -> Iterator[tuple[pa.Table, set[str]]]:
    """Batches of the table with their new columns, and the names of these."""
    for batch in _ahead(title_batches(source, title_column)):
        new = columns_of(batch[title_column])
        if clash := set(new) & set(batch.columns):
            raise InputError(
                f"{describe(source)}: has a column '{min(clash)}' already, "
                "which the output needs; rename it"
            )
        table = batch.to_arrow(compat_level=pl.CompatLevel.oldest())
        for name, column in new.items():
            table = table.append_column(name, column)
        yield table, set(new)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread of its own while this one is used."""
    end = object()
    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(next, items, end)
        while (item := made.result()) is not end:
            made = beside.submit(next, items, end)
            yield item  # type: ignore[misc]


def _writer(file: BinaryIO, table: pa.Table, new: set[str]) -> pq.ParquetWriter:
    # Numbers of a vector hardly repeat: neither a dictionary nor compression would pay. Both are
    # set leaf by leaf (a list is "name.list.element"), as a file of this schema calls them.
    empty = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), empty)
    leaves = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    names = [leaves.column(i).path for i in range(len(leaves))]
    kept = [name for name in names if name.partition(".")[0] not in new]
    return pq.ParquetWriter(
        file, table.schema, compression=dict.fromkeys(kept, "zstd"), use_dictionary=kept
    )


def _rows(source: Source) -> int | None:
    """The number of rows where it is known without reading them: in Parquet's footer."""
    names = [source] if isinstance(source, str | Path) else source
    if isinstance(names, list) and all(str(n).endswith((".parquet", ".pq")) for n in names):
        with readable(source):
            return int(scan(source, "titles").select(pl.len()).collect().item())
    return None
