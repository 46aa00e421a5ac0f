"""The label file: titles, their labels, and how each title was chosen. It is the only state."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from vitrina.data.tables import Source, describe, is_text, read_columns, require_columns, scan
from vitrina.errors import InputError, shown
from vitrina.files import atomic_path, require_name

if sys.platform != "win32":
    import fcntl

TITLE, LABEL, STRATEGY, TIME = COLUMNS = ("title", "label", "strategy", "time")
"""The columns of a label file. All are text; a skipped title has no label."""

ENCODER = "encoder"
"""A further column, if the file was written with an encoder."""

BY_HAND = ""
"""The strategy of a label whose row names none."""

LONGEST_LABEL = 1_000
"""Characters, as of a class of a classifier."""

_SUFFIXES = (".csv", ".parquet")


class LabelFile:
    """A table of labelled titles, in CSV or Parquet.

    Each change reads the file, writes a new one beside it and renames that to the file's name. A
    process that is killed at any moment leaves the old or the new file, and a label is on the disk
    when the call that adds it returns. A lock (the hidden file ``.NAME.lock`` beside it) lets one
    process change the file at a time, so that several may label at once. At any moment the file is
    a table that `vitrina classify fit` reads.

    A title has one row. Its new label replaces an earlier one and moves to the end.

    Parameters
    ----------
    path : str or Path
        Its name ends in .csv or .parquet. A file that doesn't exist has no labels.
    encoder : str, optional
        Digest of the encoder that helps to choose the titles. New rows get it in a column
        `encoder`. A label stays true with another encoder, so a file may have several.

    Raises
    ------
    InputError
        If the name has another ending.
    """

    def __init__(self, path: str | Path, encoder: str | None = None) -> None:
        self.path = Path(path)
        self.encoder = encoder
        require_name(self.path)
        if self.path.suffix.lower() not in _SUFFIXES:
            raise InputError(
                f"{self.path}: a label file is CSV or Parquet; give a name that ends in .csv or "
                ".parquet"
            )

    def read(self) -> pl.DataFrame:
        """Read the labels.

        Returns
        -------
        DataFrame
            The columns `title`, `label` (null for a skipped title), `strategy` ("" if unknown) and
            `time` (null if unknown), all String, and further columns of the file as they are.
            Rows in the order in which they were written.

        Raises
        ------
        InputError
            If the file can't be read or lacks the column `title` or `label`.
        """
        if not self.path.exists() or self.path.stat().st_size == 0:
            return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
        return read_labels(self.path)

    def version(self) -> tuple[int, ...]:
        """Return numbers that change whenever the file does."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def add(self, title: str, label: str | None, strategy: str) -> None:
        """Write the label of one title; None if it was skipped.

        Parameters
        ----------
        title : str
        label : str or None
        strategy : str
            The strategy that chose the title.

        Raises
        ------
        InputError
            If the title is empty, the label can't be stored, or the file can't be read or written.
        """
        row = {TITLE: [title], LABEL: [label], STRATEGY: [strategy]}
        self.extend(pl.DataFrame(row, schema=dict.fromkeys(row, pl.String)))

    def extend(self, rows: pl.DataFrame) -> None:
        """Write the labels of several titles.

        Parameters
        ----------
        rows : DataFrame
            As from `read`; the column `time` may be missing. Of several rows with one title, the
            last counts.

        Raises
        ------
        InputError
            As `add`.
        """
        for title, label in rows.select(TITLE, LABEL).iter_rows():
            check_row(title, label)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if TIME not in rows.columns:
            rows = rows.with_columns(pl.lit(None, pl.String).alias(TIME))
        rows = rows.with_columns(pl.col(TIME).fill_null(now))
        if self.encoder is not None:
            rows = rows.with_columns(pl.lit(self.encoder).alias(ENCODER))
        rows = rows.unique(TITLE, keep="last", maintain_order=True)
        with self._locked():
            before = self.read()
            kept = before.join(rows, on=TITLE, how="anti", maintain_order="left")
            self._write(pl.concat([kept, rows], how="diagonal_relaxed"))

    def remove(self, title: str) -> bool:
        """Remove the label of a title.

        Returns
        -------
        bool
            Whether there was one.
        """
        with self._locked():
            before = self.read()
            kept = before.filter(pl.col(TITLE) != title)
            if len(kept) == len(before):
                return False
            self._write(kept)
        return True

    def _write(self, table: pl.DataFrame) -> None:
        with atomic_path(self.path) as temporary:
            if self.path.suffix.lower() == ".csv":
                table.write_csv(temporary)
            else:
                table.write_parquet(temporary)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process or thread at a time change the file."""
        if sys.platform == "win32":
            yield
            return
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            reason = (error.strerror or "can't be opened").lower()
            raise InputError(
                f"{lock}: {reason}; labels need a folder that can be written"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def read_labels(source: Source) -> pl.DataFrame:
    """Read a table of labels, such as a label file or the export of a labelling tool.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        See `vitrina.data.tables.scan`.

    Returns
    -------
    DataFrame
        See `LabelFile.read`.

    Raises
    ------
    InputError
        If the table can't be read, lacks the column `title` or `label`, or has titles that are not
        text or labels that are no text, whole numbers or booleans.
    """
    frame = scan(source, "labels")
    require_columns(frame, [TITLE, LABEL], source, "rename yours to title and label")
    names = frame.collect_schema().names()
    table = read_columns(frame, {name: name for name in names}, source)
    where = describe(source)
    _require_types(table, where)
    for name in (STRATEGY, TIME):
        if name not in names:
            table = table.with_columns(pl.lit(None, pl.String).alias(name))
    table = table.with_columns(pl.col(*COLUMNS).cast(pl.String))
    # an empty text is a missing value; NaN is one in tables with missing numbers
    missing = (pl.col(LABEL) == "") | (pl.col(LABEL) == "NaN")
    table = table.with_columns(
        pl.when(~missing).then(LABEL).alias(LABEL), pl.col(STRATEGY).fill_null(BY_HAND)
    )
    table = table.drop_nulls(TITLE).filter(pl.col(TITLE) != "")
    others = [name for name in table.columns if name not in COLUMNS]
    return table.select(*COLUMNS, *others)


def _require_types(table: pl.DataFrame, where: str) -> None:
    title, label = table[TITLE].dtype, table[LABEL].dtype
    if not is_text(title) and title != pl.Null:
        raise InputError(f"{where}: column '{TITLE}' ({title}) holds no text; rename the columns")
    is_label = is_text(label) or label.is_integer() or label in (pl.Boolean, pl.Null)
    if not is_label:
        raise InputError(
            f"{where}: column '{LABEL}' ({label}) holds no labels; they are text, whole numbers or "
            "booleans"
        )


def check_row(title: str | None, label: str | None) -> None:
    """Raise InputError unless a row can be stored.

    Parameters
    ----------
    title, label : str or None
        The label is None for a skipped title.
    """
    if not title:
        raise InputError("labels: a row has no title; leave it out")
    if not _is_text(title):
        raise InputError(f"labels: the title {shown(repr(title))} is no text that can be stored")
    if label is not None and not (0 < len(label) <= LONGEST_LABEL and _is_text(label)):
        raise InputError(
            f"labels: {shown(repr(label))} can't be a label; it is Unicode text of 1 to "
            f"{LONGEST_LABEL:,} letters"
        )


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" or char == "\0" for char in text)
