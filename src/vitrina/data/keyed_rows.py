"""Comparing two versions of a table by the key of its rows, in bounded memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from vitrina.data.tables import normalize_ids
from vitrina.errors import InputError, shown

KEY, TITLE, ROW = "key", "title", "row"
TITLE_BEFORE, ROW_BEFORE = "title_before", "row_before"

_PARTS = 64
_HELD_ROWS = 2**17
_HELD_BYTES = 32 * 2**20
_SCHEMA = {KEY: pl.String, TITLE: pl.String, ROW: pl.Int64}
_OLDEST = pl.CompatLevel.oldest()  # Arrow's usual types of text


class KeyedRows:
    """The keys and titles of a table, in temporary files: a context manager.

    Rows of equal keys are in the same one of 64 parts, so that two tables can be compared part by
    part. The files have no name: they vanish with the process, however it ends.

    Parameters
    ----------
    folder : Path
        An existing folder on the disk that holds the files.
    where : str
        Name of the table, for messages.
    column : str
        Name of the key's column, for messages.
    seed : int
        Of the division into parts. Two tables that are compared need the same.

    Attributes
    ----------
    rows : int
        Number of rows that were added.
    fingerprint : int
        Depends on all rows and their order. It tells whether a table was changed between two
        readings.
    """

    def __init__(self, folder: Path, where: str, column: str, seed: int) -> None:
        self.rows = 0
        self.fingerprint = 0
        self._where, self._column, self._seed = where, column, seed
        self._held: list[pl.DataFrame] = []
        self._held_rows = self._held_bytes = 0
        schema = pl.DataFrame(schema=_SCHEMA).to_arrow(compat_level=_OLDEST).schema
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []
        self._writers = []
        for _ in range(_PARTS):
            with _disk_errors():
                # the stack closes it
                file = self._stack.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115
                self._files.append(file)
                self._writers.append(pa.ipc.new_stream(self._files[-1], schema))

    def __enter__(self) -> KeyedRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, keys: pl.Series, titles: pl.Series) -> None:
        """Add rows, in the order of the table.

        Parameters
        ----------
        keys : Series of n keys
            As from `keys_of`.
        titles : Series of n str

        Raises
        ------
        InputError
            If the disk is full.
        """
        rows = keyed(keys, titles, self.rows)
        self.rows += len(rows)
        self.fingerprint ^= fingerprint(rows, self._seed)
        self._held.append(rows)
        self._held_rows += len(rows)
        self._held_bytes += int(rows.estimated_size())
        if self._held_rows >= _HELD_ROWS or self._held_bytes >= _HELD_BYTES:
            self._flush()

    def parts(self) -> Iterator[pl.DataFrame]:
        """Read all parts; no row can be added any more.

        Yields
        ------
        DataFrame
            `key` and `title` (String), and `row` (Int64), the number of the row in the table.

        Raises
        ------
        InputError
            If a key occurs twice.
        """
        self._flush()
        for file, writer in zip(self._files, self._writers, strict=True):
            with _disk_errors():
                writer.close()
                file.seek(0)
                part = pl.DataFrame(pa.ipc.open_stream(file).read_all(), schema=_SCHEMA)
            self._require_unique(part)
            yield part

    def require_unique(self) -> None:
        """Raise InputError if a key occurs twice."""
        for _ in self.parts():
            pass

    def _flush(self) -> None:
        if not self._held:
            return
        number = (pl.col(KEY).hash(self._seed) % _PARTS).alias("part")
        divided = pl.concat(self._held).with_columns(number)
        self._held.clear()
        self._held_rows = self._held_bytes = 0
        parts = divided.partition_by("part", as_dict=True, include_key=False)
        with _disk_errors():
            for (part,), rows in parts.items():
                self._writers[part].write_table(rows.to_arrow(compat_level=_OLDEST))

    def _require_unique(self, part: pl.DataFrame) -> None:
        if part[KEY].n_unique() == len(part):
            return
        repeated = part.filter(pl.col(KEY).is_duplicated()).sort(ROW)
        key = repeated[KEY][0]
        first, second = repeated.filter(pl.col(KEY) == key)[ROW][:2]
        raise InputError(
            f"{self._where}: column '{self._column}' has '{shown(key, 80)}' in row {first} and in "
            f"row {second}; a key must be unique: keep one row of each, or name another column"
        )


class Comparison(NamedTuple):
    """What one part of two tables has.

    Attributes
    ----------
    rows : DataFrame
        The rows of the new table: `key`, `title`, `row`, and those of the row before with the same
        key, `title_before` and `row_before`. A new key has no `row_before`.
    deleted : ndarray of int64
        Numbers of the rows of the old table whose key the new one lacks.
    """

    rows: pl.DataFrame
    deleted: npt.NDArray[np.int64]


def compared(before: KeyedRows, after: KeyedRows) -> Iterator[Comparison]:
    """Compare two tables part by part.

    Raises
    ------
    InputError
        If a key occurs twice in one of them.
    """
    for old, new in zip(before.parts(), after.parts(), strict=True):
        renamed = old.rename({TITLE: TITLE_BEFORE, ROW: ROW_BEFORE})
        rows = new.join(renamed, KEY, "left", maintain_order="left")
        yield Comparison(rows, old.join(new, KEY, "anti")[ROW].to_numpy())


def keys_of(batch: pl.DataFrame, column: str, where: str, first_row: int) -> pl.Series:
    """Return the keys of a batch of rows.

    Parameters
    ----------
    batch : DataFrame of n rows
    column : str
        Whole numbers or text.
    where : str
        Name of the table, for messages.
    first_row : int
        Number of the batch's first row in the table, for messages.

    Returns
    -------
    Series of n keys, integer or String

    Raises
    ------
    InputError
        If a row has no key, or the column holds other values.
    """
    keys = normalize_ids(batch[column], column, where)
    if keys.null_count():
        row = first_row + int(keys.is_null().arg_max() or 0)
        raise InputError(
            f"{where}: column '{column}' has no value in row {row}; give each row a key, or name "
            "another column"
        )
    return keys


def keyed(keys: pl.Series, titles: pl.Series, first_row: int) -> pl.DataFrame:
    """Return a table of keys, titles and the numbers of their rows, which start at `first_row`."""
    rows = pl.int_range(first_row, first_row + len(keys), eager=True)
    return pl.DataFrame({KEY: keys.cast(pl.String), TITLE: titles, ROW: rows}, schema=_SCHEMA)


def fingerprint(rows: pl.DataFrame, seed: int) -> int:
    """Return a number for rows of `keyed`. That of a table is the XOR of those of its batches."""
    return int(np.bitwise_xor.reduce(rows.hash_rows(seed).to_numpy()))


def new_seed() -> int:
    """Return a secret seed, so that nobody can choose keys or titles of equal hashes."""
    return secrets.randbits(63)


def folder_for(out: Path) -> Path:
    """Return the nearest folder above an output that exists: it is on the output's disk."""
    return next(parent for parent in out.absolute().parents if parent.is_dir())


def array_on_disk(rows: int, dtype: npt.DTypeLike, folder: Path) -> npt.NDArray[Any]:
    """Return an array of zeros in a temporary file without a name."""
    with _disk_errors(), TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=max(rows, 1))


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"temporary files: can't be written ({reason}); free some space on the output's disk"
        ) from None
