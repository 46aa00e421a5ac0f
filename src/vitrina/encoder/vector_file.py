"""Files of vectors: which encoder made them, and reading them again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.table_files import files_of
from vitrina.data.tables import readable
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, shown

VECTOR = "vector"
ENCODER = "encoder"
"""The columns that a vector file has beside those of its table."""

ENCODER_METADATA = "vitrina_encoder"
"""Key of the encoder's digest in the metadata of an Arrow schema, also in the service's answers."""

SHORT_DIGEST = 12
"""Hexadecimal digits of a digest in a message."""

_TABLE, _TITLE, _KEY = "vitrina_table", "vitrina_title_column", "vitrina_key_column"
_LARGEST_GROUP = 2**16
_DIGEST = "^[0-9a-f]{64}$"


def vector_columns(encoder: TitleEncoder, vectors: npt.NDArray[np.float32]) -> dict[str, pa.Array]:
    """Return the columns of a vector file: the vectors, and the digest of the encoder."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return {VECTOR: column, ENCODER: pa.repeat(encoder.weights.digest, len(vectors))}


def vector_metadata(
    encoder: TitleEncoder, title_column: str, key_column: str | None
) -> dict[str, str]:
    """Return the metadata of a vector file."""
    metadata = {
        ENCODER_METADATA: encoder.weights.digest,
        _TABLE: encoder.table,
        _TITLE: title_column,
    }
    return metadata if key_column is None else metadata | {_KEY: key_column}


class VectorFile:
    """A Parquet file that `vitrina.encoder.embed.embed_file` wrote: a context manager.

    Attributes
    ----------
    path : Path
    encoder : str
        Digest of the encoder.
    table : str
        Precision of the encoder's table, "int8" or "float32".
    title_column : str
    key_column : str or None
    width : int
        Dimensions of a vector.
    rows : int

    Raises
    ------
    InputError
        If the file is missing or damaged, or doesn't name its encoder.
    """

    def __init__(self, path: str | Path) -> None:
        files = files_of(path, "vectors")
        if len(files) > 1:
            raise InputError(f"{path}: names {len(files):,} files; give one file of vectors")
        self.path = files[0]
        with readable(self.path):
            self._file = pq.ParquetFile(
                self.path, pre_buffer=False, page_checksum_verification=True
            )
            schema = self._file.schema_arrow
        metadata = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in (schema.metadata or {}).items()
        }
        self.width = _width(schema)
        required = (ENCODER_METADATA, _TABLE, _TITLE)
        columns = {ENCODER, metadata.get(_TITLE), metadata.get(_KEY, ENCODER)}
        if not self.width or not set(required) <= metadata.keys() or columns - set(schema.names):
            raise InputError(
                f"{self.path}: doesn't say which encoder made its vectors, or lacks a column of a "
                "vector file; embed the catalogue again"
            )
        self.encoder, self.table, self.title_column = (metadata[name] for name in required)
        self.key_column = metadata.get(_KEY)
        self.rows = self._file.metadata.num_rows
        groups = range(self._file.num_row_groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def __enter__(self) -> VectorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def require_encoder(self, encoder: TitleEncoder) -> None:
        """Raise InputError unless an encoder made the vectors."""
        wanted = encoder.weights.digest
        if self.encoder != wanted:
            raise InputError(other_encoder(self.path, self.encoder, wanted))
        if self.width != encoder.weights.width:
            raise InputError(
                f"{self.path}: is damaged (vectors of {self.width:,} numbers, the encoder has "
                f"{encoder.weights.width:,}); embed the catalogue again"
            )
        if self.table != encoder.table:
            raise InputError(
                f"{self.path}: has vectors of the encoder's table of {shown(self.table, 20)}, not "
                f"of {encoder.table}; embed the catalogue again, or set `table`"
            )

    def batches(self, *columns: str) -> Iterator[pl.DataFrame]:
        """Read columns, in order.

        The column of the encoders is checked, too: the metadata of two files that were joined are
        those of the first.

        Yields
        ------
        DataFrame
            Up to 65,536 rows.

        Raises
        ------
        InputError
            If the file is damaged, or has rows of another encoder.
        """
        for group in range(len(self._starts) - 1):
            batch = self._read(group, [*columns, ENCODER])
            others = batch.filter(pl.col(ENCODER).ne_missing(self.encoder))[ENCODER]
            if len(others):
                found = others[0] or ""
                raise InputError(
                    f"{self.path}: has vectors of the encoder {_short(found)} among those of "
                    f"{_short(self.encoder)}; embed the catalogue again with one of them"
                )
            yield batch

    def groups_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the numbers of the row groups that have rows; -1 for numbers below 0."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def vectors(self, group: int, encoder: TitleEncoder) -> npt.NDArray[np.float32]:
        """Return the vectors of a row group, after a check of one of them.

        Parameters
        ----------
        group : int
        encoder : TitleEncoder

        Returns
        -------
        ndarray of shape (rows, width), float32

        Raises
        ------
        InputError
            If the file is damaged, or the vector is not what the encoder gives for its title.
        """
        batch = self._read(group, [self.title_column, VECTOR])
        if batch[VECTOR].null_count():
            raise InputError(f"{self.path}: lacks a vector; embed the catalogue again")
        vectors: npt.NDArray[np.float32] = batch[VECTOR].to_numpy().reshape(-1, self.width)
        checked = len(vectors) // 2
        (own,) = encoder.encode(batch[self.title_column][checked : checked + 1])
        if not np.array_equal(own.view(np.uint32), vectors[checked].view(np.uint32)):
            raise InputError(
                f"{self.path}: row {self._starts[group] + checked} has another vector than the "
                f"encoder {_short(self.encoder)} gives for its title; embed the catalogue again"
            )
        return vectors

    def row_range(self, group: int) -> tuple[int, int]:
        """Return the first row of a row group, and the first one after it."""
        return int(self._starts[group]), int(self._starts[group + 1])

    def _read(self, group: int, columns: list[str]) -> pl.DataFrame:
        start, stop = self.row_range(group)
        if stop - start > _LARGEST_GROUP:
            raise InputError(
                f"{self.path}: has a row group of {stop - start:,} rows, so that another program "
                "wrote it; embed the catalogue again"
            )
        with readable(self.path):
            table = self._file.read_row_group(group, list(dict.fromkeys(columns)))
            table.validate(full=True)  # text that is not UTF-8 would reach the kernels
            text = {self.title_column, ENCODER} & set(table.column_names)
            return pl.DataFrame(table).with_columns(pl.col(*text).cast(pl.String))


def _width(schema: pa.Schema) -> int:
    """Dimensions of the vectors of a table; 0 if it has none."""
    if VECTOR not in schema.names:
        return 0
    dtype = schema.field(VECTOR).type
    is_vector = pa.types.is_fixed_size_list(dtype) and pa.types.is_float32(dtype.value_type)
    return int(dtype.list_size) if is_vector else 0


def other_encoder(path: object, found: str, wanted: str) -> str:
    """Return the message for vectors of another encoder than the one given."""
    return (
        f"{path}: has vectors of the encoder {_short(found)}, not of {_short(wanted)}; give that "
        "encoder, or embed the table again"
    )


def names_encoders(rows: pl.DataFrame) -> list[str]:
    """Return the name of the column that names the encoder of each row; empty if there is none.

    Parameters
    ----------
    rows : DataFrame
        Of any table. Its own column of that name holds no digests.
    """
    if rows.schema.get(ENCODER) != pl.String:
        return []
    is_digest = rows[ENCODER].str.contains(_DIGEST)
    return [ENCODER] if is_digest.all(ignore_nulls=False) else []


def require_own_vectors(rows: pl.DataFrame, encoder: TitleEncoder, where: str) -> None:
    """Raise InputError if a row of a vector file names another encoder.

    Parameters
    ----------
    rows : DataFrame
    encoder : TitleEncoder
    where : str
        Name of the file, for messages.
    """
    wanted = encoder.weights.digest
    others = rows.filter(pl.col(ENCODER) != wanted)[ENCODER]
    if len(others):
        raise InputError(other_encoder(where, str(others[0]), wanted))


def _short(digest: str) -> str:
    return shown(digest[:SHORT_DIGEST]) or "none"
