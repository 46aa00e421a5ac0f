"""Reading tables: events, catalogues and titles from Parquet, CSV, TSV and JSON lines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from vitrina.errors import InputError

Source: TypeAlias = str | Path | Sequence[str | Path] | pl.LazyFrame | pl.DataFrame
"""A file, a glob, several of them (all of one format), or a polars frame."""

# CSV holds text only, so all of its columns are read as text: ids keep their leading zeros, and a
# column that looks like numbers for a while (ISBNs among ASINs) can't stop the reading half-way.
_READERS: dict[str, Callable[[list[str]], pl.LazyFrame]] = {
    "Parquet": lambda files: pl.scan_parquet(files, glob=False),
    "CSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False),
    "TSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False, separator="\t"),
    "JSON lines": lambda files: pl.scan_ndjson(files, infer_schema_length=10_000),
}
_FORMATS = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".jl": "JSON lines",
    ".json-lines": "JSON lines",
}
_READING_ERRORS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # not an Exception: some corrupt files make the reader panic
    OSError,
    EOFError,
    zlib.error,
    UnicodeError,
)

_SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: 'CSV UTF-8')"


def scan(source: Source, what: str) -> pl.LazyFrame:
    """A lazy frame over files of one format, or the frame that was given.

    Columns of CSV and TSV files are all text; Parquet and JSON lines keep their types. Several
    files are read one after the other: in the order given, those of a glob in sorted order.

    Parameters
    ----------
    source
        A file, a glob or several of them: Parquet (.parquet, .pq), CSV, TSV or JSON lines
        (.jsonl, .ndjson, .jl, .json-lines), all but Parquet also with .gz; or a polars frame.
    what
        What the rows are ('events', 'catalogue', 'titles'), for messages.

    Raises
    ------
    InputError
        A file is missing, empty, a folder or unreadable; a glob matches nothing; the extension
        is unknown; the files are of different formats.
    """
    if isinstance(source, pl.LazyFrame | pl.DataFrame):
        return source.lazy()
    files = _files(source, what)
    formats: dict[str, Path] = {}
    for file in files:
        formats.setdefault(_format(file, what), file)
    if len(formats) > 1:
        listed = ", ".join(f"{file} ({name})" for name, file in formats.items())
        raise InputError(f"{what}: files of different formats: {listed}: give files of one format")
    with readable(files):
        frame = _READERS[next(iter(formats))]([str(file) for file in files])
        frame.collect_schema()  # so that a broken header is found here
    return frame


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Turn what goes wrong while a lazy frame is read into one line that names the file.

    Wrap the collecting of whatever `scan` gave: a truncated or corrupt file may show only then.

    Raises
    ------
    InputError
        In place of errors of polars, of the file system and of decompression.
    """
    try:
        yield
    except _READING_ERRORS as error:
        files = _files_behind(source)
        reason = _reason(error)
        if len(files) > 1:
            culprit = _first_unreadable(files)
            if culprit is None:
                raise InputError(
                    f"{files[0]} and {len(files) - 1} more can't be read together ({reason}): "
                    "give files with the same columns and types"
                ) from error
            files, reason = [culprit[0]], _reason(culprit[1])
        name = str(files[0]) if files else "the table given"
        mend = (
            "is the file whole, of the format that its extension says, and each column of one type?"
        )
        if "permission denied" in reason.lower():
            mend = "ask for the right to read it"
        elif "utf-8" in reason.lower() and files and _known(files[0]) != "Parquet":
            mend = _SAVE_AS_UTF8
        raise InputError(f"{name}: can't be read ({reason}): {mend}") from error


def require_columns(
    frame: pl.LazyFrame, columns: Mapping[str, str] | Iterable[str], source: Source
) -> None:
    """Check that a frame has the columns asked for.

    Parameters
    ----------
    frame
        What `scan` gave for `source`.
    columns
        Names; or role -> name, where the message offers the flag ``--<role>-column``.
    source
        Where the frame came from, for messages.

    Raises
    ------
    InputError
        A column is missing; the message lists those that exist. Where the header shows that a
        text has another separator or encoding, the message says so.
    """
    with readable(source):
        existing = frame.collect_schema().names()
    flags: dict[str, str] = {}
    if isinstance(columns, Mapping):
        flags = {name: f"--{role}-column" for role, name in columns.items()}
    for name in flags or columns:
        if name in existing:
            continue
        header = "".join(existing)
        if "\0" in header:
            raise InputError(f"{describe(source)}: is in UTF-16 or no text: {_SAVE_AS_UTF8}")
        mend = f"name it with {flags[name]}" if flags else "is this the right file?"
        if "\N{REPLACEMENT CHARACTER}" in header and not name.isascii():
            mend = _SAVE_AS_UTF8
        elif len(existing) == 1 and ";" in header:
            mend = "save it with commas, not semicolons, between the columns"
        elif len(existing) == 1 and "\t" in header:
            mend = "tabs are between the columns: rename it to .tsv"
        raise InputError(
            f"{describe(source)}: no column '{name}'; there are: {', '.join(existing)}: {mend}"
        )


def describe(source: Source) -> str:
    """Name the file (or the first of several) that a source reads, for messages."""
    files = _files_behind(source)
    if not files:
        return "the table given"
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _files(source: str | Path | Sequence[str | Path], what: str) -> list[Path]:
    """The files that are meant, all of them there and not empty."""
    given = [source] if isinstance(source, str | Path) else list(source)
    if not given:
        raise InputError(f"{what}: no file given: name at least one")
    try:
        files = [file for one in given for file in _expand(Path(one).expanduser(), what)]
        for file in files:
            _check(file, what)
    except OSError as error:  # a folder on the way is closed to us, a name is too long
        raise InputError(
            f"{what}: {error.filename or given[0]}: can't be read ({error.strerror}): check the "
            "path and the right to read it"
        ) from error
    return files


def _check(file: Path, what: str) -> None:
    if file.is_dir():
        inside = next((f for f in sorted(file.iterdir()) if _known(f)), None)
        pattern = "*" + "".join(inside.suffixes[-2:]) if inside else "*.parquet"
        raise InputError(f"{what}: {file} is a folder: name its files, as in {file / pattern}")
    if not file.exists():
        raise InputError(f"{what}: {file}: no such file: check the path")
    if file.stat().st_size == 0:
        raise InputError(f"{what}: {file} is empty (0 bytes): write or download it again")


def _expand(path: Path, what: str) -> list[Path]:
    """The files that match a glob, sorted; any other path stays as it is."""
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    if not wild or path.exists():
        return [path]
    base, pattern = Path(*path.parts[: wild[0]]), "/".join(path.parts[wild[0] :])
    files = sorted(file for file in base.glob(pattern) if file.is_file())
    if not files:
        raise InputError(f"{what}: no file matches {path}: check the pattern")
    return files


def _known(file: Path) -> str | None:
    """The format that an extension stands for, None if unknown."""
    name = file.name.lower()
    zipped = name.endswith(".gz")
    found = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    return None if zipped and found == "Parquet" else found


def _format(file: Path, what: str) -> str:
    found = _known(file)
    if found is None:
        raise InputError(
            f"{what}: {file}: unknown extension: use {', '.join(_FORMATS)} "
            "(all but Parquet also with .gz)"
        )
    return found


def _files_behind(source: Source) -> list[Path]:
    """The files of a source, also of a lazy frame (its plan names them); none for other frames."""
    if isinstance(source, pl.DataFrame):
        return []
    if isinstance(source, pl.LazyFrame):
        try:
            plan = source.explain(optimized=False)
        except _READING_ERRORS:
            return []
        scans = re.findall(r"^\s*(?:Parquet|Csv|NDJson) SCAN \[(.+)\]$", plan, flags=re.M)
        files = [Path(name) for found in scans for name in found.split(", ")]
        return [file for file in dict.fromkeys(files) if file.is_file()]
    try:
        return _files(source, "files")
    except InputError:  # a file vanished or is empty: name what was given
        return [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__


def _first_unreadable(files: list[Path]) -> tuple[Path, BaseException] | None:
    """The first file that fails when read alone, and how; None if each can be read."""
    for file in files:
        try:
            _READERS[_format(file, "files")]([str(file)]).select(pl.all().null_count()).collect()
        except _READING_ERRORS as error:
            return file, error
    return None


def normalize_ids(column: pl.Series, name: str, where: str) -> pl.Series:
    """Ids as whole numbers or text, null where there is none.

    Whole numbers stored as floats (what a missing value does to a column elsewhere) become
    integers; categoricals become text; empty text and NaN become null.

    Raises
    ------
    InputError
        The column holds dates, lists, fractions, floats too large to be exact or the like.
    """
    if column.dtype.is_integer() and not str(column.dtype).endswith("128"):  # unknown to Arrow
        return column
    if column.dtype == pl.Null:
        return column.cast(pl.String)
    if is_text(column):
        text = column.cast(pl.String)
        empty = text == ""
        return text.set(empty, None) if empty.any() else text
    if column.dtype.is_float():
        known = column.fill_nan(None)
        exact = 2**24 if column.dtype == pl.Float32 else 2**53  # beyond, ids have become one
        if bool(((known % 1 == 0) & (known.abs() < exact)).all()):
            return known.cast(pl.Int64)
    raise InputError(
        f"{where}: column '{name}' ({column.dtype}) can't hold ids: ids are text or whole numbers, "
        "as floats only as far as these are exact"
    )


def factorize(values: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Number values without nulls by first appearance.

    Returns
    -------
    unique values in the order of first appearance, and for every value its row there, int32.
    """
    # Arrow's encoder keeps the order of appearance, whatever the number of threads
    encoded = values.rechunk().to_arrow().dictionary_encode()
    assert isinstance(encoded, pa.DictionaryArray)
    unique = pl.Series(values.name, encoded.dictionary, dtype=values.dtype)
    return unique, encoded.indices.to_numpy(zero_copy_only=False)


def is_text(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum)


def as_text(column: pl.Series) -> pl.Series:
    """As text; null where it is blank."""
    text = column.cast(pl.String)
    return text.set(text.str.strip_chars() == "", None)
