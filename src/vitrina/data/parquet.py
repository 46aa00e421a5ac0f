"""Reading a Parquet file from anyone page by page, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow.parquet as pq

from vitrina.data.limits import MAX_RECORD
from vitrina.errors import InputError, shown

MAX_PAGE = 256 * 2**20
"""Bytes that a page of a Parquet file may have. It is decompressed as a whole."""

_READ_ROWS = 256  # at once
_READ_BYTES = 2**20  # of a column, at once

# sizes of the parts of a file in which the header of a page is looked for: it has some dozens of
# bytes, and perhaps the least and the greatest value of the page
_HEADER_BYTES = (2**10, 2**16, 2**24)
_DICTIONARY_PAGE = 2
_MAX_DEPTH = 8

# types of Thrift's compact protocol
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY = range(1, 9)
_STRUCT = 12


def parquet_parts(file: Path) -> Iterator[pl.DataFrame]:
    """Read a Parquet file in parts of at most 256 rows, and of about 16 MiB.

    Memory does not grow with the row groups, because pyarrow reads them page by page (polars would
    read a whole row group).

    Parameters
    ----------
    file : Path

    Yields
    ------
    DataFrame

    Raises
    ------
    InputError
        If a page has more than `MAX_PAGE` bytes, its header can't be read, or a text has more than
        `MAX_RECORD` bytes.
    """
    with (
        file.open("rb") as pages,
        pq.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False) as table,
    ):
        for number in range(table.num_row_groups):
            repeated = _repeated_bytes(pages, table.metadata.row_group(number), str(file))
            rows = min(max(MAX_PAGE // max(repeated, 1), 1), _READ_ROWS)
            # one group at a time: a batch of two groups can't hold lists of categories
            for batch in table.iter_batches(rows, row_groups=[number]):
                batch.validate(full=True)  # text that is not UTF-8 would reach the kernels
                part = pl.DataFrame(batch)
                if batch.nbytes > MAX_RECORD:
                    _require_short_text(part, str(file))
                yield from part.iter_slices(max(len(part) * MAX_RECORD // max(batch.nbytes, 1), 1))


def _require_short_text(part: pl.DataFrame, where: str) -> None:
    """Raise an error if a text has more bytes than a row of a text file may have."""
    text = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    longest = part.select(text.str.len_bytes().max())
    for column in longest:
        if (column[0] or 0) > MAX_RECORD:
            raise InputError(
                f"{where}: a text of column '{shown(column.name, 100)}' has more than "
                f"{MAX_RECORD // 2**20} MiB: shorten it"
            )


def _repeated_bytes(file: BinaryIO, group: pq.RowGroupMetaData, where: str) -> int:
    """Check the sizes of the pages of a row group.

    Returns the bytes of the largest page that each of many rows may repeat: a dictionary, or a page
    of text that is stored as differences.
    """
    repeated = 0
    for i in range(group.num_columns):
        column = group.column(i)
        stores_differences = "DELTA_BYTE_ARRAY" in column.encodings
        place = column.data_page_offset
        # some writers give 0 if there is no dictionary
        if column.dictionary_page_offset:
            place = min(place, column.dictionary_page_offset)
        end = place + column.total_compressed_size
        while place < end:
            kind, size, compressed_size, place = _page_header(file, place, where)
            if not 0 <= size <= MAX_PAGE or compressed_size < 0:
                raise InputError(
                    f"{where}: a page of column '{column.path_in_schema}' has more than "
                    f"{MAX_PAGE // 2**20} MiB: write it with smaller pages"
                )
            place += compressed_size
            if kind == _DICTIONARY_PAGE or stores_differences:
                repeated = max(repeated, size)
    return repeated


def _page_header(file: BinaryIO, start: int, where: str) -> tuple[int, int, int, int]:
    """The type of a page, its bytes, its compressed bytes, and where it starts after its header."""
    for size in _HEADER_BYTES:
        file.seek(start)
        data = file.read(size)
        try:
            fields, length = _struct(data, 0, 0)
            # every header begins with these three fields
            return fields[1], fields[2], fields[3], start + length
        except IndexError:  # the header is longer
            continue
        except (KeyError, ValueError):
            break
    raise InputError(
        f"{where}: can't be read (the header of a page is damaged): is the file whole?"
    )


def _struct(data: bytes, place: int, depth: int) -> tuple[dict[int, int], int]:
    """The whole numbers among the fields of a struct, by their numbers, and the struct's end."""
    if depth > _MAX_DEPTH:
        raise ValueError
    fields = {}
    number = 0
    while data[place] != 0:
        kind = data[place] & 15
        step = data[place] >> 4
        place += 1
        if step:
            number += step
        else:
            number, place = _integer(data, place)
        if kind in (_I16, _I32, _I64):
            fields[number], place = _integer(data, place)
        else:
            place = _after(data, place, kind, depth)
    return fields, place + 1


def _after(data: bytes, place: int, kind: int, depth: int) -> int:
    """The end of a value that is no whole number."""
    if kind in (_TRUE, _FALSE):
        return place
    if kind == _BYTE:
        return place + 1
    if kind == _DOUBLE:
        return place + 8
    if kind == _BINARY:
        length, place = _varint(data, place)
        return place + length
    if kind == _STRUCT:
        return _struct(data, place, depth + 1)[1]
    raise ValueError  # pages' headers have no other types


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """A whole number, which may be negative, and its end."""
    value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A whole number in groups of 7 bits, and its end."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError
