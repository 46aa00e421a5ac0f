"""Columns of titles and labels as people hold them, as plain lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

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
    if isinstance(column, pl.DataFrame | np.ndarray | pa.Table) or hasattr(column, "iloc"):
        shape = column.shape
        if len(shape) == 2 and shape[1] == 1:
            if isinstance(column, pa.Table):
                column = column.column(0)
            else:
                column = column.iloc[:, 0] if hasattr(column, "iloc") else column[:, 0]
        elif len(shape) != 1:
            raise InputError(f"{what}: got a table of shape {shape}; give one column of {what}")
    if isinstance(column, pl.Series) and column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    for to_list in ("to_pylist", "to_list", "tolist"):  # pyarrow, polars and pandas, numpy
        if hasattr(column, to_list):
            return list(getattr(column, to_list)())
    if not isinstance(column, Iterable) or isinstance(column, Mapping | Set | pl.LazyFrame):
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
