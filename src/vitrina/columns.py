"""Columns of titles and labels as people hold them, as plain lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from vitrina.errors import InputError


def as_list(column: Any, what: str) -> list[Any]:
    """A list of Python objects from a list or a numpy, polars, pyarrow or pandas column, or a table
    of one column.

    Parameters
    ----------
    column
    what : str
        What the column holds ('titles', 'labels'), for messages.

    Raises
    ------
    InputError
        for a single string, more than one column, or something without an order
    """
    if isinstance(column, str | bytes):
        raise InputError(f"{what}: got one string; give a list of {what}")
    # libraries are known by what they offer: importing them all to ask would take longer
    shape: tuple[int, ...] = getattr(column, "shape", (0,))
    if len(shape) == 2 and shape[1] == 1:
        if hasattr(column, "iloc"):
            column = column.iloc[:, 0]
        else:  # pyarrow's tables are not indexed
            column = column.column(0) if hasattr(column, "column") else column[:, 0]
    elif len(shape) != 1:
        raise InputError(f"{what}: got a table of shape {shape}; give one column of {what}")
    for to_list in ("to_pylist", "to_list", "tolist"):  # pyarrow, polars and pandas, numpy
        if hasattr(column, to_list):
            return list(getattr(column, to_list)())
    unordered = isinstance(column, Mapping | Set) or hasattr(column, "collect_schema")  # lazy
    if not isinstance(column, Iterable) or unordered:
        raise InputError(
            f"{what}: got an object of type {type(column).__name__}; give a list or a column"
        )
    return list(column)


def is_missing(value: Any) -> bool:
    """None, not-a-number, and pandas' own missing values."""
    # they differ from themselves (nan, NaT) or refuse to be compared (NA)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool(np.isscalar(value) and value != value)
