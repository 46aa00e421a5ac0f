"""Reading tables (events, catalogues, titles) from Parquet, CSV, TSV and JSON lines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.limits import MAX_COLUMNS, READING_MEMORY, available_memory, text_size
from vitrina.data.table_files import files_of, format_of, known_format
from vitrina.errors import InputError

Source: TypeAlias = str | Path | Sequence[str | Path] | pl.LazyFrame | pl.DataFrame
"""A file, a glob, several of them (all of one format), or a polars frame."""

TEXT_DTYPES = (pl.String, pl.Categorical, pl.Enum)
"""The polars dtypes of columns that hold text."""

SEPARATORS: dict[str, str | None] = {"CSV": ",", "TSV": "\t", "JSON lines": None}
"""The formats of text files, with what separates the columns."""


def _scan_json_lines(files: list[str]) -> pl.LazyFrame:
    """Open JSON lines with the keys and types of all rows of all files.

    polars takes those of the first file, and drops other keys silently.
    """
    schemas = [_json_schema(file, *_version(file)) for file in files]
    if len(schemas) > 1:
        empty = [pl.DataFrame(schema=schema) for schema in schemas]
        schemas = [pl.concat(empty, how="diagonal_relaxed").schema]
    return pl.scan_ndjson(files, schema=schemas[0])


@lru_cache(maxsize=1024)
def _json_schema(file: str, size: int, changed: int) -> pl.Schema:
    """The keys and types of a file; its size and last change tell if a known result holds."""
    return pl.scan_ndjson(file, infer_schema_length=None).collect_schema()


def _version(file: str) -> tuple[int, int]:
    status = Path(file).stat()
    return status.st_size, status.st_mtime_ns


# All columns of CSV files are read as text. Otherwise ids would lose their leading zeros, and a
# column that starts with numbers (ISBNs before ASINs) would make the reader fail half-way.
_READERS: dict[str, Callable[[list[str]], pl.LazyFrame]] = {
    "Parquet": lambda files: pl.scan_parquet(files, glob=False),
    "CSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False),
    "TSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False, separator="\t"),
    "JSON lines": _scan_json_lines,
}
_READING_ERRORS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # raised for some corrupt files; not a subclass of Exception
    OSError,
    EOFError,
    zlib.error,
    UnicodeError,
    MemoryError,
    pa.ArrowException,
)

# limits of messages
_NAMED_COLUMNS = 100
_NAME_LENGTH = 100

# bytes that a cell takes in memory, besides the bytes of its text
_LEAST_CELL = 4
_MOST_CELL = 16

# how many times the size of a table is needed to make sessions or a catalogue of it
_COPIES = 3

_SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: 'CSV UTF-8')"


def scan(source: Source, what: str) -> pl.LazyFrame:
    """Open files of one format as a lazy frame.

    All columns of CSV and TSV files are read as text; Parquet and JSON lines keep their types.
    Several files are read one after the other, in the given order. The files that match a glob
    are sorted. Text files are first read once to check them, JSON lines twice: their columns are
    the keys of all rows of all files.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        A file, a glob, or several of them: Parquet (.parquet, .pq), CSV, TSV or JSON lines
        (.jsonl, .ndjson, .jl, .json-lines). All formats but Parquet may end in .gz. A polars frame
        is returned as a lazy frame.
    what : str
        What the rows are ('events', 'catalogue', 'titles'), for messages.

    Returns
    -------
    LazyFrame

    Raises
    ------
    InputError
        If a file is missing, empty, a folder or unreadable, a glob matches nothing, an extension
        is unknown, the files have different formats, or a file has too many columns or a row of
        too many bytes (see `vitrina.data.limits`).
    """
    if isinstance(source, pl.LazyFrame | pl.DataFrame):
        return source.lazy()
    files = files_of(source, what)
    formats: dict[str, Path] = {}
    for file in files:
        formats.setdefault(format_of(file, what), file)
    if len(formats) > 1:
        listed = ", ".join(f"{file} ({name})" for name, file in formats.items())
        raise InputError(f"{what}: files of different formats: {listed}: give files of one format")
    name = next(iter(formats))
    if name in SEPARATORS:
        for file in files:
            with readable(file):
                text_size(file, SEPARATORS[name])
    with readable(files):
        frame = _READERS[name]([str(file) for file in files])
        # reads the header, so that a broken one fails here
        columns = len(frame.collect_schema())
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{files[0]}: has {columns:,} columns; at most {MAX_COLUMNS:,} can be read: keep those "
            "that are needed"
        )
    return frame


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Turn an error of reading a table into one line that names the file.

    Wrap the code that collects a lazy frame from `scan`: a truncated or corrupt file may fail only
    there.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        The argument of `scan`.

    Raises
    ------
    InputError
        In place of errors of polars, the file system and decompression.
    """
    try:
        yield
    except _READING_ERRORS as error:
        raise InputError(_reading_message(source, error)) from error


def _reading_message(source: Source, error: BaseException) -> str:
    """Which file can't be read, why, and what to do."""
    files = _files_behind(source)
    reason = _reason(error)
    file = files[0] if files else None
    if len(files) > 1:
        culprit = _first_unreadable(files)
        if culprit is None:
            return (
                f"{file} and {len(files) - 1} more can't be read together ({reason}): "
                "give files with the same columns and types"
            )
        file, reason = culprit
    if "permission denied" in reason.lower():
        advice = "ask for the right to read it"
    elif isinstance(error, MemoryError):
        advice = "free some memory, or use a machine with more of it"
    elif "utf-8" in reason.lower() and file and known_format(file) != "Parquet":
        advice = _SAVE_AS_UTF8
    else:
        advice = (
            "is the file whole, of the format that its extension says, and each column of one type?"
        )
    name = "the table given" if file is None else str(file)
    return f"{name}: can't be read ({reason}): {advice}"


def read_columns(frame: pl.LazyFrame, columns: Mapping[str, str], source: Source) -> pl.DataFrame:
    """Read columns of a table into memory, or raise an error if they need more than there is.

    Parameters
    ----------
    frame : LazyFrame
        The result of ``scan(source, ...)``.
    columns : mapping of str to str
        New names of the columns, and their names in the table.
    source : path, list of paths, or polars frame
        The origin of the frame.

    Returns
    -------
    DataFrame
        The columns under their new names.

    Raises
    ------
    InputError
        If the files can't be read (see `readable`), or the columns take more than a quarter
        of the memory that is free: what is made of them needs the rest.
    """
    selected = frame.select(**{new: pl.col(name) for new, name in columns.items()})
    with readable(source):
        least, most, at_once = bytes_in_memory(columns.values(), source)
        free = available_memory()
        if most <= free // (1 + _COPIES):
            return selected.collect()
        # several row groups are read at once
        needed = max((1 + _COPIES) * least, 4 * at_once)
        if needed > free or available_memory(reserve=5) < READING_MEMORY:
            raise InputError(_too_large(source))
        # An allocation that fails in polars ends the process, so the memory is watched meanwhile.
        parts = []
        held = 0
        for part in selected.collect_batches(maintain_order=True):
            parts.append(part)
            held += size_of(part)
            if _COPIES * held > available_memory():
                raise InputError(_too_large(source))
        return pl.concat(parts) if parts else selected.head(0).collect()


def size_of(table: pl.DataFrame) -> int:
    """Return how many bytes a table takes in memory."""
    # polars counts only the letters of text, but each text takes memory besides them
    cells = table.height * sum(is_text(dtype) for dtype in table.dtypes)
    return int(table.estimated_size()) + cells * _MOST_CELL


def _too_large(source: Source) -> str:
    return (
        f"{describe(source)}: takes more memory than there is: give fewer rows, or use a machine "
        "with more memory"
    )


def bytes_in_memory(columns: Collection[str], source: Source) -> tuple[int, int, int]:
    """Return how many bytes columns take in memory, as far as it is known.

    Parameters
    ----------
    columns : collection of str
        Names of the columns.
    source : path, list of paths, or polars frame
        See `scan`. The files of a lazy frame may have other columns, or more rows.

    Returns
    -------
    least, most : int
        What the columns take at least, and at most.
    at_once : int
        What the columns of the largest row group take.
    """
    least = most = at_once = 0
    for file in _files_behind(source):
        name = known_format(file)
        if name == "Parquet":
            metadata = pq.read_metadata(file)
            for i in range(metadata.num_row_groups):
                size = _group_bytes(metadata.row_group(i), columns)
                at_once = max(at_once, size)
                most += size
            # a lazy frame may leave out rows
            if not isinstance(source, pl.LazyFrame):
                least += metadata.num_rows * len(columns) * _LEAST_CELL
        elif name is not None:
            # in the file, a missing cell has no bytes, but a row has at least one
            size = text_size(file, SEPARATORS[name])
            most += size + size * len(columns) * _MOST_CELL
    return least, most, at_once


def _group_bytes(group: pq.RowGroupMetaData, columns: Collection[str]) -> int:
    """The bytes of columns of a row group, decompressed."""
    size = int(group.num_rows) * len(columns) * _MOST_CELL
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema in columns:
            size += int(column.total_uncompressed_size)
    return size


def require_columns(
    frame: pl.LazyFrame,
    columns: Mapping[str, str] | Iterable[str],
    source: Source,
    advice: str = "is this the right file?",
) -> None:
    """Check that a frame has certain columns.

    Parameters
    ----------
    frame : LazyFrame
        The result of ``scan(source, ...)``.
    columns : iterable of str, or mapping of str to str
        Names of the columns. If it maps roles to names, the message for a missing column refers to
        the parameter ``<role>_column``.
    source : path, list of paths, or polars frame
        The origin of the frame, for messages.
    advice : str
        What the message proposes, unless `columns` maps roles to names.

    Raises
    ------
    InputError
        If columns are missing. The message names all of them, lists the existing columns, and says
        so if the header shows that a text file has another separator or encoding.
    """
    with readable(source):
        existing = frame.collect_schema().names()
    names = columns.values() if isinstance(columns, Mapping) else columns
    missing = [name for name in dict.fromkeys(names) if name not in existing]
    if not missing:
        return
    if isinstance(columns, Mapping):
        roles = [f"`{role}_column`" for role, name in columns.items() if name in missing]
        advice = f"name {'it' if len(roles) == 1 else 'them'} with {_joined(roles)}"
    raise InputError(_missing_columns(missing, existing, describe(source), advice))


def _joined(names: Sequence[str]) -> str:
    """One or more names in a sentence: a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _missing_columns(
    missing: Sequence[str], existing: Sequence[str], where: str, advice: str
) -> str:
    """The message for missing columns; the header may show a likelier cause than `advice`."""
    header = "".join(existing)
    if "\0" in header:
        return f"{where}: is in UTF-16 or no text: {_SAVE_AS_UTF8}"
    if "\N{REPLACEMENT CHARACTER}" in header and not "".join(missing).isascii():
        advice = _SAVE_AS_UTF8
    elif len(existing) == 1 and ";" in header:
        advice = "save it with commas, not semicolons, between the columns"
    elif len(existing) == 1 and "\t" in header:
        advice = "tabs are between the columns: rename it to .tsv"
    listed = ", ".join(one_line(column) for column in existing[:_NAMED_COLUMNS])
    if len(existing) > _NAMED_COLUMNS:
        listed += f" and {len(existing) - _NAMED_COLUMNS:,} more"
    absent = _joined([f"'{name}'" for name in missing])
    plural = "s" if len(missing) > 1 else ""
    return f"{where}: no column{plural} {absent}; there are: {listed}: {advice}"


def one_line(name: str) -> str:
    """Shorten the name of a column for a message, and replace the characters of no letter."""
    if len(name) > _NAME_LENGTH:
        name = name[:_NAME_LENGTH] + "…"
    return "".join(letter if letter.isprintable() else " " for letter in name)


def describe(source: Source) -> str:
    """Return the name of the file (or of the first of several) in a source, for messages."""
    files = _files_behind(source)
    if not files:
        return "the table given"
    if len(files) == 1:
        return str(files[0])
    return f"{files[0]} and {len(files) - 1} more"


def _files_behind(source: Source) -> list[Path]:
    """The files that a source reads, as far as they are known; none for a frame in memory."""
    if isinstance(source, pl.DataFrame):
        return []
    if isinstance(source, pl.LazyFrame):
        return _files_of_plan(source)
    try:
        return files_of(source)
    except InputError:  # a file has vanished or is empty: return the paths as they were given
        given = [source] if isinstance(source, str | Path) else source
        return [Path(path) for path in given]


def _files_of_plan(frame: pl.LazyFrame) -> list[Path]:
    """The files that the query plan of a lazy frame names."""
    try:
        plan = frame.explain(optimized=False)
    except _READING_ERRORS:
        return []
    files: list[Path] = []
    for names in re.findall(r"^\s*(?:Parquet|Csv|NDJson) SCAN \[(.+)\]$", plan, flags=re.M):
        files.extend(Path(name) for name in names.split(", "))
    return [file for file in dict.fromkeys(files) if file.is_file()]


def _reason(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    if isinstance(error, OSError) and error.strerror:  # without the path, which is named already
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__


def _first_unreadable(files: list[Path]) -> tuple[Path, str] | None:
    """The first file that can't be read alone, and the reason; None if each can be read."""
    for file in files:
        read = _READERS[format_of(file)]
        try:
            read([str(file)]).select(pl.all().null_count()).collect()
        except _READING_ERRORS as error:
            return file, _reason(error)
    return None


def normalize_ids(column: pl.Series, name: str, where: str) -> pl.Series:
    """Convert a column of ids to whole numbers or text.

    Whole numbers stored as floats become integers: other libraries turn a column with missing
    values into floats. Categoricals become text. Empty text and NaN become null.

    Parameters
    ----------
    column : Series
    name : str
        Name of the column, for messages.
    where : str
        Name of the table, for messages.

    Returns
    -------
    Series, integer or String

    Raises
    ------
    InputError
        If the column holds other values, such as dates, lists, fractions, or floats that are too
        large to be exact.
    """
    dtype = column.dtype
    # Arrow, which numbers the ids, has no 128-bit integers
    if dtype.is_integer() and not str(dtype).endswith("128"):
        return column
    if dtype == pl.Null:
        return column.cast(pl.String)
    if is_text(dtype):
        text = column.cast(pl.String)
        empty = text == ""
        return text.set(empty, None) if empty.any() else text
    if dtype.is_float():
        known = column.fill_nan(None)
        # from here on, a float stands for several whole numbers, so ids may have collided
        inexact_from = 2**24 if dtype == pl.Float32 else 2**53
        is_exact_integer = (known % 1 == 0) & (known.abs() < inexact_from)
        if bool(is_exact_integer.all()):
            return known.cast(pl.Int64)
    raise InputError(
        f"{where}: column '{name}' ({dtype}) can't hold ids: ids must be text or whole numbers "
        "(as floats only if they are exact)"
    )


def factorize(values: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Number the distinct values of a series in the order of their first appearance.

    Parameters
    ----------
    values : Series
        Without nulls.

    Returns
    -------
    unique : Series
        The distinct values in the order of their first appearance.
    codes : ndarray of shape (len(values),), int32
        For every value its row in `unique`.
    """
    # Arrow's encoder keeps the order of appearance, whatever the number of threads
    encoded = values.rechunk().to_arrow().dictionary_encode()
    assert isinstance(encoded, pa.DictionaryArray)
    unique = pl.Series(values.name, encoded.dictionary, dtype=values.dtype)
    return unique, encoded.indices.to_numpy(zero_copy_only=False)


def is_text(dtype: pl.DataType) -> bool:
    """Return whether a column of this dtype holds text."""
    return dtype in TEXT_DTYPES


def as_text(column: pl.Series) -> pl.Series:
    """Convert a column to text; blank text becomes null."""
    text = column.cast(pl.String)
    is_blank = text.str.strip_chars() == ""
    return text.set(is_blank, None)
