"""Bring a file of vectors up to date with its catalogue, and write what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vitrina.data.keyed_rows import (
    ROW,
    ROW_BEFORE,
    TITLE,
    TITLE_BEFORE,
    Comparison,
    KeyedRows,
    array_on_disk,
    compared,
    fingerprint,
    folder_for,
    keyed,
    keys_of,
    new_seed,
)
from vitrina.data.stream import add_columns, parquet_writer, refuse_output, title_batches
from vitrina.data.tables import Source, describe, require_columns, scan
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.vector_file import (
    ENCODER,
    VECTOR,
    VectorFile,
    vector_columns,
    vector_metadata,
)
from vitrina.errors import InputError
from vitrina.files import atomic_path
from vitrina.progress import Progress

OPERATION = "operation"
UPSERT, DELETE = "upsert", "delete"
"""The column that a change file has beside those of the vector file, and its values."""

_NEW = -1  # instead of the number of a row with the same vector

_LEAST_COPIED = 512
"""Rows of a batch for which a row group of the file is read. Fewer are encoded sooner."""

_KEPT_GROUPS = 3
_ENCODED_ROWS = 4_096


def refresh_file(
    encoder: TitleEncoder,
    source: Source,
    vectors: str | Path,
    *,
    changes: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> dict[str, int]:
    """Bring a file of vectors up to date with its catalogue.

    The file is replaced by what `vitrina.encoder.embed.embed_file` would write for the catalogue
    now, byte for byte. Only new and changed titles are encoded; the other vectors are copied. The
    file is replaced when everything is written, and stays as it is if the call fails or is stopped.
    Memory use hardly grows with the number of rows: the keys and titles are compared in temporary
    files.

    Parameters
    ----------
    encoder : TitleEncoder
        The encoder of the file.
    source : str, Path, list of paths, or polars frame
        The catalogue, see `vitrina.data.tables.scan`. It must not change while it is read.
    vectors : str or Path
        A file that `embed_file` wrote with a key.
    changes : str or Path, optional
        Parquet file to write for another store: a row for each key whose vector is new, differs or
        is gone. It has the column `operation` ("upsert" or "delete") and the columns of the vector
        file. Of a deleted row it has the key and the encoder only.
    force : bool, optional
        Replace `changes` if it exists.
    quiet : bool, optional
        Show no progress.

    Returns
    -------
    dict of str to int
        Number of keys by what happened to their vectors: ``unchanged``, ``changed``, ``added`` and
        ``deleted``. A changed title whose vector stays the same, bit for bit, counts as unchanged.

    Raises
    ------
    InputError
        If the file has no key or is of another encoder, if the catalogue can't be read, lacks a
        column of the file or changes meanwhile, if a key is missing or occurs twice, or if an
        output can't be written.

    Examples
    --------
    >>> import polars as pl
    >>> from vitrina import TitleEncoder, embed_file, refresh_file
    >>> encoder = TitleEncoder.load("encoder")
    >>> catalogue = pl.read_csv("products.csv").with_row_index("product_id")
    >>> embed_file(encoder, catalogue, "keyed.parquet", key_column="product_id", quiet=True)
    6
    >>> refresh_file(encoder, catalogue.head(5), "keyed.parquet", quiet=True)
    {'unchanged': 5, 'changed': 0, 'added': 0, 'deleted': 1}
    """
    with VectorFile(vectors) as before:
        before.require_encoder(encoder)
        if before.key_column is None:
            raise InputError(f"{before.path}: has no key; embed the catalogue again with a key")
        if changes is not None:
            _require_free(Path(changes), before.path, force)
            _require_no_operation(source)
        plan = _Plan(encoder, source, before, before.key_column, quiet)
        add_columns(
            source,
            before.path,
            before.title_column,
            plan.columns_of,
            description="refreshing",
            metadata=vector_metadata(encoder, before.title_column, before.key_column),
            beside=plan.following(None if changes is None else Path(changes), force),
            force=True,
            quiet=quiet,
        )
    return plan.counts


def _require_free(changes: Path, vectors: Path, force: bool) -> None:
    if changes.absolute() == vectors.absolute():
        raise InputError(f"{changes}: is the file of vectors; choose another path for `changes`")
    refuse_output(changes, force)


def _require_no_operation(source: Source) -> None:
    if OPERATION in scan(source, "catalogue").collect_schema().names():
        raise InputError(
            f"{describe(source)}: has a column '{OPERATION}' already, which `changes` needs; "
            "rename it"
        )


class _Plan:
    """Where the vector of each row of the catalogue comes from.

    Attributes
    ----------
    counts : dict of str to int
        See `refresh_file`.
    """

    def __init__(
        self, encoder: TitleEncoder, source: Source, before: VectorFile, key: str, quiet: bool
    ) -> None:
        self.counts = dict.fromkeys(("unchanged", "changed", "added", "deleted"), 0)
        self._encoder, self._before, self._key = encoder, before, key
        self._where = describe(source)
        self._seed = new_seed()
        folder = folder_for(before.path)
        require_columns(scan(source, "catalogue"), [key, before.title_column], source)
        with (
            KeyedRows(folder, str(before.path), key, self._seed) as old,
            KeyedRows(folder, self._where, key, self._seed) as new,
            Progress("comparing", None, quiet=quiet) as progress,
        ):
            old_type = self._read_old(old, progress)
            self._key_type = self._read_new(source, new, old.rows, progress)
            if new.rows == 0:
                raise InputError(f"{self._where}: has no rows; give a table with titles")
            if old_type.is_integer() != self._key_type.is_integer():
                raise InputError(
                    f"{self._where}: column '{key}' is {self._key_type}, but {old_type} in "
                    f"{before.path}; convert it, or embed the catalogue again"
                )
            self._rows, self._fingerprint = new.rows, new.fingerprint
            # the number of the old row with the same vector, or _NEW
            self._origin = array_on_disk(new.rows, np.int64, folder)
            self._is_deleted = array_on_disk(old.rows, np.bool_, folder)
            for part in compared(old, new):
                self._compare(part)
        self._vectors: dict[int, npt.NDArray[np.float32]] = {}  # of the row groups read last
        self._encoded = self._written = 0

    def _read_old(self, old: KeyedRows, progress: Progress) -> pl.DataType:
        before, where = self._before, str(self._before.path)
        dtype: pl.DataType = pl.String()
        for batch in before.batches(self._key, before.title_column):
            keys = keys_of(batch, self._key, where, old.rows)
            dtype = keys.dtype
            old.add(keys, batch[before.title_column])
            progress.update(old.rows)
        return dtype

    def _read_new(
        self, source: Source, new: KeyedRows, done: int, progress: Progress
    ) -> pl.DataType:
        dtype: pl.DataType = pl.String()
        for batch in title_batches(source, self._before.title_column):
            keys = keys_of(batch, self._key, self._where, new.rows)
            dtype = keys.dtype
            new.add(keys, batch[self._before.title_column])
            progress.update(done + new.rows)
        return dtype

    def _compare(self, part: Comparison) -> None:
        """Find out which vectors of a part stay."""
        rows = part.rows
        is_known = pl.col(ROW_BEFORE).is_not_null()
        has_title = pl.col(TITLE).eq_missing(pl.col(TITLE_BEFORE))
        same = [rows.filter(is_known & has_title)]
        for changed in rows.filter(is_known & ~has_title).iter_slices(_ENCODED_ROWS):
            same.append(changed.filter(pl.Series(self._have_equal_vectors(changed))))
        kept = pl.concat(same)
        self._origin[rows[ROW].to_numpy()] = _NEW
        self._origin[kept[ROW].to_numpy()] = kept[ROW_BEFORE].to_numpy()
        self._is_deleted[part.deleted] = True

        n_known = len(rows) - rows[ROW_BEFORE].null_count()
        self.counts["unchanged"] += len(kept)
        self.counts["changed"] += n_known - len(kept)
        self.counts["added"] += len(rows) - n_known
        self.counts["deleted"] += len(part.deleted)

    def _have_equal_vectors(self, rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether the title of each row gives the vector of the title before."""
        new = self._encoder.encode(rows[TITLE]).view(np.uint32)
        old = self._encoder.encode(rows[TITLE_BEFORE]).view(np.uint32)
        equal: npt.NDArray[np.bool_] = (new == old).all(axis=1)
        return equal

    # ---- the new file

    def columns_of(self, titles: pl.Series) -> dict[str, pa.Array]:
        """Return the new columns of the next rows of the catalogue."""
        origin = self._origin[self._encoded : self._encoded + len(titles)]
        self._encoded += len(titles)
        if self._encoded > self._rows:
            raise self._changed_meanwhile()
        vectors = np.empty((len(titles), self._before.width), np.float32)
        is_left = np.ones(len(titles), bool)
        groups = self._before.groups_of(origin)
        for group in np.unique(groups[groups >= 0]).tolist():
            chosen = groups == group
            if group in self._vectors or chosen.sum() >= _LEAST_COPIED:
                first_row, _ = self._before.row_range(group)
                vectors[chosen] = self._group(group)[origin[chosen] - first_row]
                is_left[chosen] = False
        if is_left.any():
            vectors[is_left] = self._encoder.encode(titles.filter(pl.Series(is_left)))
        return vector_columns(self._encoder, vectors)

    def _group(self, group: int) -> npt.NDArray[np.float32]:
        if group not in self._vectors:
            while len(self._vectors) >= _KEPT_GROUPS:
                del self._vectors[next(iter(self._vectors))]
            self._vectors[group] = self._before.vectors(group, self._encoder)
        return self._vectors[group]

    def _changed_meanwhile(self) -> InputError:
        return InputError(f"{self._where}: has changed while it was read; run this again")

    # ---- the change file

    @contextmanager
    def following(self, path: Path | None, force: bool) -> Iterator[Callable[[pa.Table], None]]:
        """Check that the written rows are those that were compared, and write the changes."""
        found = 0
        with ExitStack() as stack:
            output = None if path is None else stack.enter_context(_change_file(path, force))

            def written(table: pa.Table) -> None:
                nonlocal found
                first_row, self._written = self._written, self._written + len(table)
                names = {self._key, self._before.title_column}  # a title may be the key
                columns = pl.DataFrame(table.select(sorted(names)))
                keys = keys_of(columns, self._key, self._where, first_row)
                titles = columns[self._before.title_column].cast(pl.String)
                found ^= fingerprint(keyed(keys, titles, first_row), self._seed)
                if output is not None:
                    is_new = self._origin[first_row : self._written] == _NEW
                    output.add(self._with_key(table, keys).filter(pa.array(is_new)), UPSERT)

            yield written
            if (self._written, found) != (self._rows, self._fingerprint):
                raise self._changed_meanwhile()
            if output is not None:
                self._write_deleted(output)

    def _with_key(self, table: pa.Table, keys: pl.Series) -> pa.Table:
        """The table with its keys as text or whole numbers, as `keys_of` gives them."""
        place = table.schema.get_field_index(self._key)
        return table.set_column(place, self._key, self._as_keys(keys))

    def _as_keys(self, keys: pl.Series) -> pa.Array:
        try:
            return keys.cast(self._key_type).to_arrow(compat_level=pl.CompatLevel.oldest())
        except pl.exceptions.PolarsError:
            raise InputError(
                f"{self._where}: column '{self._key}' ({self._key_type}) can't hold all keys of "
                f"{self._before.path}; convert it to the type that it has there"
            ) from None

    def _write_deleted(self, output: _ChangeFile) -> None:
        first_row = 0
        for batch in self._before.batches(self._key):
            is_deleted = self._is_deleted[first_row : first_row + len(batch)]
            if is_deleted.any():
                keys = keys_of(batch, self._key, str(self._before.path), first_row)
                deleted = self._as_keys(keys.filter(pl.Series(is_deleted)))
                output.add_deleted(self._key, deleted, self._before.encoder)
            first_row += len(batch)


class _ChangeFile:
    """Collects rows of a change file, and writes them in row groups of a few thousand rows."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._schema = pa.schema([])

    def add(self, rows: pa.Table, operation: str) -> None:
        """Add rows of the vector file; the first call also says which columns there are."""
        rows = rows.add_column(0, OPERATION, pa.repeat(operation, len(rows)))
        if self._writer is None:
            self._schema = rows.schema
            self._writer = parquet_writer(self._file, self._schema, {VECTOR})
        if len(rows):
            self._held.append(rows)
        if sum(map(len, self._held)) >= _ENCODED_ROWS:
            self._flush()

    def add_deleted(self, key_column: str, keys: pa.Array, digest: str) -> None:
        """Add the keys of rows that the catalogue lacks."""
        columns = {name: pa.nulls(len(keys), self._schema.field(name).type) for name in self._names}
        columns[key_column] = keys
        columns[ENCODER] = pa.repeat(digest, len(keys))
        self.add(pa.table(columns), DELETE)

    @property
    def _names(self) -> list[str]:
        return [name for name in self._schema.names if name != OPERATION]

    def _flush(self) -> None:
        if self._writer is not None and self._held:
            self._writer.write_table(pa.concat_tables(self._held))
        self._held.clear()

    def close(self) -> None:
        """Write the remaining rows and the end of the file."""
        self._flush()
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _change_file(path: Path, force: bool) -> Iterator[_ChangeFile]:
    with (
        atomic_path(path, force=force) as temporary,
        temporary.open("wb") as file,
        closing(_ChangeFile(file)) as output,
    ):
        yield output
