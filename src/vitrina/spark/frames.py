"""Checks of Spark data frames on the driver, before a job starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vitrina.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def require_frame(frame: Any, name: str) -> None:
    """Check that an argument is a Spark data frame.

    Parameters
    ----------
    frame : Any
    name : str
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        If it is something else.
    MissingExtraError
        If pyspark is not installed.
    """
    try:
        from pyspark.sql import DataFrame
    except ImportError:
        raise MissingExtraError("pyspark", "spark") from None
    if not isinstance(frame, DataFrame):
        raise InputError(
            f"`{name}` is of type {type(frame).__name__}; it must be a Spark data frame: make one "
            "with spark.read or spark.createDataFrame"
        )


def require_spark_columns(frame: DataFrame, columns: Mapping[str, str], name: str) -> None:
    """Check that a data frame has certain columns, each once.

    Parameters
    ----------
    frame : DataFrame
    columns : mapping of str to str
        What tells the name of a column (such as 'title_column'), and the name itself.
    name : str
        Name of the parameter that holds the data frame, for messages.

    Raises
    ------
    InputError
        If a column is missing or there several times.
    """
    found = Counter(frame.columns)
    for parameter, column in columns.items():
        if not found[column]:
            listed = ", ".join(frame.columns[:100])
            raise InputError(
                f"`{name}`: no column '{column}'; there are: {listed}: name it with `{parameter}`"
            )
        if found[column] > 1:
            raise InputError(
                f"`{name}`: has {found[column]} columns '{column}': rename or drop one"
            )


def require_new_columns(frame: DataFrame, new: Iterable[str], name: str) -> None:
    """Check that columns can be added to a data frame.

    Parameters
    ----------
    frame : DataFrame
    new : iterable of str
        Names of the new columns.
    name : str
        Name of the parameter that holds the data frame, for messages.

    Raises
    ------
    InputError
        If two columns would have the same name. Unless `spark.sql.caseSensitive` is true, names
        that differ only in upper and lower case are the same for Spark.
    """
    case_sensitive = frame.sparkSession.conf.get("spark.sql.caseSensitive") == "true"
    known: dict[str, str] = {}
    for column in [*frame.columns, *new]:
        key = column if case_sensitive else column.lower()
        if key in known:
            hint = "rename one"
            if column != known[key]:
                hint = "rename one, or set spark.sql.caseSensitive to true"
            raise InputError(
                f"`{name}`: the result would have the columns '{known[key]}' and '{column}', which "
                f"are one for Spark: {hint}"
            )
        known[key] = column
