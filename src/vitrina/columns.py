"""Reading a column of titles or labels from any of the usual libraries, as a plain list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from vitrina.errors import InputError


def as_list(column: Any, what: str) -> list[Any]:
    """Convert a column to a list of Python objects.

    Parameters
    ----------
    column : sequence or table
        A list, a numpy, polars, pyarrow or pandas column, or a table with one column.
    what : str
        What the column holds ('titles', 'labels'), for messages.

    Returns
    -------
    list

    Raises
    ------
    InputError
        If `column` is a single string, has more than one column, or has no order.
    """
    if isinstance(column, str | bytes):
        raise InputError(f"{what}: got one string; give a list of {what}")
    column = _only_column(column, what)
    # the libraries are told apart by their methods, because importing them all would be slow:
    # to_pylist is pyarrow's, to_list polars' and pandas', tolist numpy's
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    is_lazy = hasattr(column, "collect_schema")
    has_no_order = isinstance(column, Mapping | Set)
    if is_lazy or has_no_order or not isinstance(column, Iterable):
        raise InputError(
            f"{what}: got an object of type {type(column).__name__}; give a list or a column"
        )
    return list(column)


def _only_column(column: Any, what: str) -> Any:
    """The column of a table that has one; a column stays as it is."""
    shape: tuple[int, ...] = getattr(column, "shape", (0,))
    if len(shape) == 1:
        return column
    if len(shape) != 2 or shape[1] != 1:
        raise InputError(f"{what}: got a table of shape {shape}; give one column of {what}")
    if hasattr(column, "iloc"):  # pandas
        return column.iloc[:, 0]
    if hasattr(column, "column"):  # pyarrow, whose tables can't be indexed
        return column.column(0)
    return column[:, 0]


def is_missing(value: Any) -> bool:
    """Whether a value is None, not-a-number, or one of pandas' missing values."""
    # pandas' NA can't be compared, so it is recognised by the name of its type
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    # not-a-number is the only scalar that differs from itself
    return bool(np.isscalar(value) and value != value)
