"""Adding columns to a table of any size, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.limits import READING_MEMORY, available_memory, is_blank, text_blocks
from vitrina.data.parquet import parquet_parts
from vitrina.data.table_files import files_of, format_of
from vitrina.data.tables import (
    SEPARATORS,
    Source,
    bytes_in_memory,
    describe,
    is_text,
    one_line,
    readable,
    require_columns,
    scan,
    size_of,
)
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.progress import Progress

T = TypeVar("T")

# Vectors of this many rows take 16 MiB. The C library reuses blocks of this size; it asks the
# system anew for blocks of more than 32 MiB, which takes as long as the encoding.
_BATCH_ROWS = 4_096
_BATCH_BYTES = 32 * 2**20


def title_batches(source: Source, title_column: str) -> Iterator[pl.DataFrame]:
    """Read a table in batches of rows, in order and in bounded memory.

    Files are read in small parts whatever their size, compression and row groups: text files in
    blocks of about 4 MiB with rows of at most 16 MiB, Parquet files by pages of at most 256 MiB
    (usual writers make pages of about 1 MiB). Frames are read by polars.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        See `scan`.
    title_column : str

    Yields
    ------
    DataFrame
        Up to 16,384 rows with all columns, or fewer if they take more than about 32 MiB. The titles
        are of type String.

    Raises
    ------
    InputError
        If the table can't be read, has no such column, the column holds no text, a column can't be
        written to Parquet, or too little memory is free (at most 512 MiB are needed).
    """
    frame = scan(source, "titles")
    require_columns(frame, {"title": title_column}, source)
    with readable(source):
        schema = frame.collect_schema()
    dtype = schema[title_column]
    # a column without any value has the type Null
    if not is_text(dtype) and dtype != pl.Null:
        raise InputError(
            f"{describe(source)}: column '{title_column}' ({dtype}) holds no text; "
            "name the column of titles with `title_column`"
        )
    _require_storable(schema, describe(source))
    _require_memory(schema, source)
    batches: Iterator[pl.DataFrame]
    with readable(source):
        if isinstance(source, pl.LazyFrame | pl.DataFrame):
            batches = iter(frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True))
        else:
            batches = _merged(_parts(files_of(source), schema))
        for batch in batches:
            yield batch.with_columns(pl.col(title_column).cast(pl.String))


def _require_memory(schema: pl.Schema, source: Source) -> None:
    """Raise an error if less memory is free than reading in parts may take."""
    with readable(source):
        _, most, _ = bytes_in_memory(schema.names(), source)
    needed = min(READING_MEMORY, 2 * most)
    # an allocation that fails in polars ends the process without a word
    if available_memory(reserve=5) < needed:
        raise InputError(
            f"{describe(source)}: reading it takes {-(-needed // 2**20)} MiB of memory, which are "
            "not free: close other programs, or raise the limit of memory"
        )


def _require_storable(schema: pl.Schema, where: str) -> None:
    """Raise an error if a column can't be written to Parquet."""
    for name, dtype in schema.items():
        if "\0" in name:
            raise InputError(
                f"{where}: the name of a column, '{one_line(name)}', holds the character NUL: "
                "rename it"
            )
        if not _is_storable(dtype):
            raise InputError(
                f"{where}: column '{one_line(name)}' ({dtype}) can't be written to Parquet: drop "
                "it, or convert it to another type"
            )


def _is_storable(dtype: Any) -> bool:
    """Whether a polars type has values that pyarrow can write to Parquet."""
    if isinstance(dtype, pl.Struct):
        fields = dtype.fields
        return bool(fields) and all("\0" not in f.name and _is_storable(f.dtype) for f in fields)
    if isinstance(dtype, pl.Array) and dtype.size == 0:
        return False
    if isinstance(dtype, pl.List | pl.Array):
        return _is_storable(dtype.inner)
    return dtype != pl.Object and not str(dtype).endswith("128")


def _parts(files: list[Path], schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """The rows of files in parts of few bytes, all of the same schema."""
    for file in files:
        name = format_of(file)
        if name == "Parquet":
            parts = parquet_parts(file)
        elif (separator := SEPARATORS[name]) is None:
            parts = _parts_of_json(file, schema)
        else:
            parts = _parts_of_csv(file, separator)
        for part in parts:
            # polars accepts another order of the columns of Parquet files
            if name == "Parquet" and set(part.columns) == set(schema):
                part = part.select(schema.names())
            if part.columns != schema.names():
                raise pl.exceptions.SchemaError("names of columns differ")
            yield part.cast(schema)


def _parts_of_csv(file: Path, separator: str) -> Iterator[pl.DataFrame]:
    header = b""
    for block in text_blocks(file, separator):
        if is_blank(header):
            header = block
            continue
        yield pl.read_csv(header + block, separator=separator, infer_schema=False)


def _parts_of_json(file: Path, schema: pl.Schema) -> Iterator[pl.DataFrame]:
    for block in text_blocks(file, None):
        yield pl.read_ndjson(block, schema=schema)


def _merged(parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Batches of as many rows as a batch may have, made of parts of few bytes."""
    held: list[pl.DataFrame] = []
    rows = size = 0
    for part in parts:
        for piece in part.iter_slices(_BATCH_ROWS):
            piece_size = size_of(piece)
            if held and (rows + len(piece) > _BATCH_ROWS or size + piece_size > _BATCH_BYTES):
                yield pl.concat(held)
                held = []
                rows = size = 0
            held.append(piece)
            rows += len(piece)
            size += piece_size
    if held:
        yield pl.concat(held)


def add_columns(
    source: Source,
    out: str | Path,
    title_column: str,
    columns_of: Callable[[pl.Series], dict[str, pa.Array]],
    *,
    description: str,
    metadata: Mapping[str, str] | None = None,
    beside: AbstractContextManager[Callable[[pa.Table], None]] | None = None,
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
        Computes the new columns, by name, from a batch of titles. It gets the batches in order.
    description : str
        Caption of the progress.
    metadata : mapping of str to str, optional
        Entries to add to the metadata of the file's schema.
    beside : context manager of a callable, optional
        A second output. The callable gets each batch of rows after it was written. The context ends
        before `out` appears; an exception in it leaves no `out`.
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
    refuse_output(out, force)
    parts = _prefetched(_with_columns(source, title_column, columns_of))
    # the first batch is computed before any folder is made, so that a bad table leaves nothing
    first = next(parts, None)
    if first is None:
        raise InputError(f"{describe(source)}: has no rows; give a table with titles")
    first_table, new_names = first
    done = 0
    with (
        atomic_path(out, force=force) as temporary,
        Progress(description, _known_rows(source), quiet=quiet) as progress,
        beside or nullcontext(_ignore) as written,
        # pyarrow gets an open file, because it would expand a ~ in a path
        temporary.open("wb") as file,
        parquet_writer(file, _with_metadata(first_table.schema, metadata), new_names) as writer,
    ):
        for table, _ in chain([first], parts):
            writer.write_table(table)
            written(table)
            done += len(table)
            progress.update(done)
    return done


def refuse_output(out: Path, force: bool) -> None:
    """Raise InputError unless a Parquet file may be written to `out`."""
    # readers of tables tell the format by the extension
    if out.suffix.lower() != ".parquet":
        raise InputError(f"{out}: the output is Parquet; give a name that ends in .parquet")
    refuse_existing(out, force)


def _ignore(table: pa.Table) -> None:
    pass


def _with_metadata(schema: pa.Schema, metadata: Mapping[str, str] | None) -> pa.Schema:
    if metadata is None:
        return schema
    before = schema.metadata or {}
    return schema.with_metadata(before | {k.encode(): v.encode() for k, v in metadata.items()})


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


def parquet_writer(file: BinaryIO, schema: pa.Schema, new_names: set[str]) -> pq.ParquetWriter:
    """Return a writer for tables of a schema.

    New columns of numbers get neither dictionaries nor compression: the numbers of vectors hardly
    repeat, so both would cost time and save little.

    Parameters
    ----------
    file : binary file
    schema : pyarrow.Schema
    new_names : set of str
        Names of the new columns.

    Returns
    -------
    pyarrow.parquet.ParquetWriter
    """
    # Parquet sets both for each leaf (a list's is "name.list.element"). An empty file with the same
    # schema shows the names of the leaves.
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    packed = []
    for i in range(len(leaves)):
        leaf = leaves.column(i)
        is_number = leaf.physical_type != "BYTE_ARRAY"
        if leaf.path.partition(".")[0] not in new_names or not is_number:
            packed.append(leaf.path)
    return pq.ParquetWriter(
        file,
        schema,
        compression=dict.fromkeys(packed, "zstd"),
        use_dictionary=packed,
        write_page_checksum=True,
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
