"""The rows of an index: what is kept of a table, and which rows have a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from vitrina.data.stream import title_batches
from vitrina.data.tables import Source, as_text, describe, normalize_ids, require_columns, scan
from vitrina.errors import InputError, shown
from vitrina.search.index_folder import LONGEST_NAME, MAX_COLUMNS, TYPES

QUERY = "query"
SIMILARITY = "similarity"
"""Columns of a result, besides those of the index."""


def check_names(names: list[str]) -> None:
    """Raise InputError unless the names of columns can be those of an index."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"column '{name}' is named twice; name each column once")
        if name in (QUERY, SIMILARITY):
            raise InputError(f"column '{name}': the results have a column of this name; rename it")
        if not name or shown(name, LONGEST_NAME) != name:
            raise InputError(
                f"column '{name}': an index can't keep this name (at most {LONGEST_NAME} printable "
                "characters); rename it"
            )
    if len(names) > MAX_COLUMNS:
        raise InputError(f"an index has at most {MAX_COLUMNS} columns; name fewer `columns`")


def index_schema(source: Source, names: list[str]) -> dict[str, pl.DataType]:
    """Return the types that columns of a table have in an index: the product and title first."""
    roles = {"product": names[0], "title": names[1]}
    frame = scan(source, "products")
    require_columns(frame, roles, source)
    require_columns(frame, names[2:], source)
    first = next(iter(title_batches(source, names[1])), frame.head(0).collect())
    dtypes = {}
    for column in _columns(first, names, describe(source)):
        dtypes[column.name] = pl.Int64() if column.dtype.is_integer() else column.dtype
    return dtypes


def index_batches(source: Source, schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """Read a table in batches with the columns and types of an index.

    Parameters
    ----------
    source : str, Path, list of paths, or polars frame
    schema : Schema
        That of the index: the products, the titles and the other columns.

    Yields
    ------
    DataFrame

    Raises
    ------
    InputError
        If the table can't be read, or a column is missing or has values of another type.
    """
    product, title, *others = schema.names()
    frame = scan(source, "products")
    require_columns(frame, {"product": product, "title": title}, source)
    require_columns(frame, others, source)
    where = describe(source)
    for batch in title_batches(source, title):
        columns = _columns(batch, schema.names(), where)
        try:
            yield pl.DataFrame(columns).cast(schema)
        except pl.exceptions.PolarsError:
            raise InputError(
                f"{where}: {_other_type(columns, schema)}; convert it, or build the index again"
            ) from None


def _columns(batch: pl.DataFrame, names: list[str], where: str) -> list[pl.Series]:
    """The columns of a batch as an index keeps them."""
    product, *others = names
    return [
        normalize_ids(batch[product], product, where),
        *(_plain(batch[name], where) for name in others),
    ]


def _plain(column: pl.Series, where: str) -> pl.Series:
    """A column as one of `TYPES`; missing where it has empty text."""
    dtype = column.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise InputError(
            f"{where}: column '{column.name}' ({dtype}) has no single value in a row; name another "
            "in `columns`"
        )
    if dtype.is_integer():
        return column.cast(TYPES["integer"])
    if dtype.is_float():
        return column.cast(TYPES["number"])
    return column if dtype == pl.Boolean else as_text(column)


def _other_type(columns: list[pl.Series], schema: Mapping[str, Any]) -> str:
    """Which column has values that are none of the index's type."""
    for column in columns:
        dtype = schema[column.name]
        cast = column.cast(dtype, strict=False)
        wrong = column.filter(cast.is_null() & column.is_not_null())
        if len(wrong):
            return (
                f"column '{column.name}' holds {shown(repr(wrong[0]), 80)}, the index has {dtype}"
            )
    return "a column has another type than in the index"


def has_value(column: pl.Series, value: Any) -> pl.Series:
    """Which rows of a column have a value; a text stands for the value that it spells."""
    if value is None:
        return column.is_null()
    if column.dtype == pl.Boolean:
        column = column.cast(pl.String)
        value = str(value).lower()
    if not isinstance(value, str | int | float):
        value = str(value)
    wanted = pl.Series([value]).cast(column.dtype, strict=False)[0]
    if wanted is None:
        return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    equal: pl.Series = column == wanted
    return equal.fill_null(False)
