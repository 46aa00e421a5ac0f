"""Sessions of a Spark data frame of visits: the rules of `vitrina.sessionize` as window queries."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from vitrina.errors import InputError
from vitrina.spark.frames import require_frame, require_new_columns, require_spark_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from vitrina.data.sessions import EventColumns

SESSION, POSITION = "session", "position"
"""Names of the columns that `sessionize` adds."""

_YEAR_2101 = 4_133_980_800  # its start, in seconds since 1970


def sessionize(
    events: DataFrame,
    gap: str | timedelta | int = "30m",
    max_products: int = 10,
    *,
    columns: EventColumns | None = None,
    product_ids: DataFrame | None = None,
    time_unit: str | None = None,
    order_column: str | None = None,
) -> DataFrame:
    """Group visits into sessions, as `vitrina.sessionize` does (paper §3.1).

    Two consecutive visits of a user belong to one session if and only if they are at most `gap`
    apart. Visits to products outside the catalogue are dropped only afterwards. Within a session,
    the first visit to each product is kept, and of these the first `max_products`. Sessions of a
    single product are dropped.

    Visits without a user, a time or a product are dropped first. So are times outside the years
    1970 to 2100, and the time 1970-01-01 00:00:00, which stands for a missing time. Empty text is
    no id. The time zone of the Spark session has no influence on the sessions. No job starts before
    the result is used.

    The rows of a Spark data frame have no order. Visits of a user at the same time are therefore
    ordered by `order_column`, and by their product where that is equal or not given.

    Parameters
    ----------
    events : DataFrame
        The visits. Users and products are text or whole numbers. Times are of type timestamp,
        timestamp_ntz (taken as UTC) or date, or whole numbers if `time_unit` is set.
    gap : str, timedelta or int, default "30m"
        Longest pause within a session, see `vitrina.data.sessions.parse_gap`.
    max_products : int, default 10
        Largest number of products in a session, at least 2.
    columns : EventColumns, optional
        Names of the columns.
    product_ids : DataFrame of one column, optional
        Ids of the catalogue. They are compared with those of the events as numbers if both are
        whole numbers, else as text. By default all products count.
    time_unit : {"s", "ms", "us", "ns"}, optional
        What numbers in the time column count since 1970. Other types of times have no use for it.
    order_column : str, optional
        Column that orders the visits of a user at the same time, such as the offset of a message.

    Returns
    -------
    DataFrame
        A row for each visit that was kept, with the columns

        - ``session`` (string): the user and the number of the session among those of the user,
          joined by a dash. It is the same for all visits of a session, and for no others.
        - ``position`` (int): 0 for the first product of the session, 1 for the second, ...
        - the user, the time and the product, under the names and with the types of `events`.

    Raises
    ------
    InputError
        If a parameter is invalid, or a column is missing or of a type that can't be used.
    MissingExtraError
        If pyspark is not installed.

    Examples
    --------
    >>> from vitrina.spark import sessionize
    >>> events = spark.read.parquet("visits")  # doctest: +SKIP
    >>> sessions = sessionize(events, order_column="offset")  # doctest: +SKIP
    >>> sessions.write.parquet("sessions")  # doctest: +SKIP
    """
    require_frame(events, "events")
    from vitrina.data.sessions import EventColumns, parse_gap

    limit = parse_gap(gap)
    if max_products < 2:
        raise InputError(
            f"`max_products` is {max_products}; a pair needs sessions of at least 2 products"
        )
    names = asdict(columns or EventColumns())
    _require_columns(events, names, order_column)
    ticks, per_second = _ticks(events, names["time"], time_unit)
    visits = _valid_visits(events, names, ticks, per_second, order_column)
    if product_ids is not None:
        visits = _with_known(visits, product_ids)
    # rounding the gap down to whole ticks is exact, because differences are whole ticks, too
    gap_ticks = limit // timedelta(microseconds=1) * per_second // 1_000_000
    kept = _kept_visits(_cut(visits, min(gap_ticks, 2**63 - 1)), max_products)
    return kept.select(SESSION, POSITION, *[kept[role].alias(name) for role, name in names.items()])


def _require_columns(events: DataFrame, names: dict[str, str], order_column: str | None) -> None:
    """Check the names of the columns."""
    required = {f"columns.{role}": name for role, name in names.items()}
    if order_column is not None:
        required["order_column"] = order_column
    require_spark_columns(events, required, "events")
    require_new_columns(events.select(*names.values()), [SESSION, POSITION], "events")


def _ticks(events: DataFrame, name: str, time_unit: str | None) -> tuple[Column, int]:
    """The times as whole numbers since 1970 in UTC, and how many of them make a second."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    from vitrina.data.times import TICKS_PER_SECOND

    if time_unit is not None and time_unit not in TICKS_PER_SECOND:
        raise InputError(
            f"`time_unit` is '{time_unit}'; it must be one of {', '.join(TICKS_PER_SECOND)}"
        )
    time = events[name]
    dtype = events.schema[name].dataType
    if isinstance(dtype, T.TimestampType):
        return F.unix_micros(time), 10**6
    if isinstance(dtype, T.TimestampNTZType):
        # a cast to timestamp would read it in the session's time zone
        since_1970 = time - F.expr("TIMESTAMP_NTZ '1970-01-01 00:00:00'")
        seconds = since_1970.cast("interval second").cast("decimal(20, 6)")
        return (seconds * 1_000_000).cast("bigint"), 10**6
    if isinstance(dtype, T.DateType):
        return F.unix_date(time).cast("bigint") * 86_400, 1
    if not isinstance(dtype, T.IntegralType):
        raise InputError(
            f"`events`: column '{name}' ({dtype.simpleString()}) can't hold times: convert it, for "
            "example with to_timestamp or timestamp_seconds, or name another with `columns.time`"
        )
    if time_unit is None:
        raise InputError(
            f"`events`: column '{name}' ({dtype.simpleString()}) holds numbers: set `time_unit` to "
            "what they count since 1970 (s, ms, us or ns)"
        )
    return time.cast("bigint"), TICKS_PER_SECOND[time_unit]


def _id(frame: DataFrame, column: str, name: str) -> Column:
    """A column of ids; empty text is null."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    dtype = frame.schema[column].dataType
    if isinstance(dtype, T.StringType):
        return F.nullif(frame[column], F.lit(""))
    if isinstance(dtype, T.IntegralType):
        return frame[column]
    raise InputError(
        f"`{name}`: column '{column}' ({dtype.simpleString()}) can't hold ids: ids must be text or "
        "whole numbers: cast it to bigint or string"
    )


def _valid_visits(
    events: DataFrame,
    names: dict[str, str],
    ticks: Column,
    per_second: int,
    order_column: str | None,
) -> DataFrame:
    """Visits with a user, a time and a product, under fixed names: the roles of the columns."""
    from pyspark.sql import functions as F

    visits = events.select(
        _id(events, names["user"], "events").alias("user"),
        events[names["time"]].alias("time"),
        _id(events, names["product"], "events").alias("product"),
        ticks.alias("ticks"),
        (F.lit(None) if order_column is None else events[order_column]).alias("order"),
    )
    # a null in a comparison drops the row, too
    return visits.where(
        F.col("user").isNotNull()
        & F.col("product").isNotNull()
        & F.col("ticks").between(1, _YEAR_2101 * per_second - 1)
    )


def _with_known(visits: DataFrame, product_ids: DataFrame) -> DataFrame:
    """The visits with a column `known`: true where the product is in the catalogue, else null."""
    from pyspark.sql import functions as F

    require_frame(product_ids, "product_ids")
    if len(product_ids.columns) != 1:
        raise InputError(
            f"`product_ids` has the columns {', '.join(product_ids.columns)}; give the ids alone, "
            "as in catalogue.select('product_id')"
        )
    column = product_ids.columns[0]
    common = _common_type(visits.schema["product"].dataType, product_ids.schema[column].dataType)
    catalogue_id = _id(product_ids, column, "product_ids").cast(common)
    catalogue = product_ids.select(catalogue_id.alias("key")).distinct()
    keyed = visits.withColumn("key", F.col("product").cast(common))
    return keyed.join(catalogue.withColumn("known", F.lit(True)), "key", "left").drop("key")


def _common_type(first: DataType, second: DataType) -> DataType:
    """The type in which ids of two types are compared."""
    from pyspark.sql import types as T

    both_whole = isinstance(first, T.IntegralType) and isinstance(second, T.IntegralType)
    return T.LongType() if both_whole else T.StringType()


def _cut(visits: DataFrame, gap_ticks: int) -> DataFrame:
    """The visits with the column `number`: the session's number among those of its user, from 1.

    Visits to unknown products are dropped only after their sessions are cut, because they also
    show that the user was active.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    by_time = Window.partitionBy("user").orderBy("ticks")  # ties are in one session anyway
    so_far = by_time.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    pause = F.col("ticks") - F.lag("ticks").over(by_time)
    starts = F.coalesce(pause > gap_ticks, F.lit(True))  # the first visit has no pause
    cut = visits.withColumn("starts", starts.cast("bigint"))
    cut = cut.withColumn("number", F.sum("starts").over(so_far)).drop("starts")
    return cut.where("known") if "known" in cut.columns else cut


def _kept_visits(visits: DataFrame, max_products: int) -> DataFrame:
    """The first visits to the first products of each session that has two products."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    # All windows are within a user, so that Spark moves the visits to their user's partition once.
    session = Window.partitionBy("user", "number")
    of_product = Window.partitionBy("user", "number", "product").orderBy("ticks", "order")
    first = visits.withColumn("visit", F.row_number().over(of_product)).where("visit = 1")
    by_time = session.orderBy("ticks", "order", "product")
    placed = first.withColumn(POSITION, F.row_number().over(by_time) - 1)
    placed = placed.withColumn("size", F.count("*").over(session))
    kept = placed.where((F.col("size") > 1) & (F.col(POSITION) < max_products))
    return kept.withColumn(SESSION, F.concat_ws("-", "user", "number"))
