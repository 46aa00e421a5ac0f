"""Sessions: the products that a user visited without a pause longer than the gap (paper §3.1)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from vitrina.compiled import compiled
from vitrina.data.tables import (
    Source,
    describe,
    factorize,
    normalize_ids,
    read_columns,
    require_columns,
    scan,
)
from vitrina.data.times import TICKS_PER_SECOND, Times, first_and_last_day, read_times
from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of

UNUSABLE = ("null_user", "null_time", "bad_time", "null_product", "not_in_catalogue")
"""The reasons in `Sessions.counts` that show problems of the data; the others are the method's."""

_GAP = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", flags=re.ASCII)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class EventColumns:
    """Names of the columns of a table of visits.

    Attributes
    ----------
    user, time, product : str
    """

    user: str = "user"
    time: str = "timestamp"
    product: str = "product_id"


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions of at least two products.

    Attributes
    ----------
    products : Ragged of n_sessions rows, int32
        Rows of `product_ids`, distinct within a session, in the order of their first visit.
        Sessions are in the order in which their users first appear in the events; those of one
        user are sorted by time.
    product_ids : Series
        Ids of the products.
    counts : dict of str to int
        ``events``, ``sessions``, ``products`` (visits that were kept) and ``pairs``. Visits that
        were dropped, each counted under one reason: ``null_user``, ``null_time``, ``bad_time`` (not
        a time of the years 1970 to 2100), ``null_product``, ``not_in_catalogue``, ``repeated`` (the
        session has the product already), ``truncated`` (products beyond `max_products`) and
        ``single_product_sessions`` (visits that were left alone in their session). All reasons and
        ``products`` add up to ``events``.
    time_note : str
        How the times were read, with the first and the last day of the valid visits:
        'timestamp: milliseconds since 1970, 2023-01-01 … 2023-12-31'.
    """

    products: Ragged
    product_ids: pl.Series
    counts: dict[str, int]
    time_note: str = ""

    @property
    def pairs(self) -> int:
        """Number of unordered pairs: the sum of n (n - 1) / 2 over the sessions of n products."""
        return int(self.products.pairs.sum())

    @property
    def truncated_share(self) -> float:
        """Share of the usable visits that were dropped because their session was full, 0 to 1.

        Usable visits are those that were kept and those that were truncated.
        """
        truncated = self.counts.get("truncated", 0)
        return truncated / (truncated + len(self.products.values))


def parse_gap(text: str | timedelta | int) -> timedelta:
    """Read the longest pause within a session.

    Parameters
    ----------
    text : str, timedelta or int
        A duration such as '45s', '30m', '2h', '1d' or '1h30m', or a number of minutes.

    Returns
    -------
    timedelta

    Raises
    ------
    InputError
        If `text` is not a positive duration.
    """
    gap: timedelta | None = None
    try:
        if isinstance(text, timedelta):
            gap = text
        elif isinstance(text, int):
            gap = timedelta(minutes=text)
        elif match := _GAP.fullmatch(text.strip().lower()):
            days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
            gap = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:  # longer than a timedelta can be
        pass
    if gap is None or gap <= timedelta(0):
        raise InputError(
            f"`gap` is '{text}'; it must be a positive duration, such as 45s, 30m, 1h30m or 1d"
        )
    return gap


def sessionize(
    events: Source,
    gap: str | timedelta | int = "30m",
    max_products: int = 10,
    *,
    columns: EventColumns | None = None,
    product_ids: pl.Series | None = None,
    time_unit: str | None = None,
) -> Sessions:
    """Group visits into sessions (paper §3.1: duplicates removed, truncated to 10 products).

    Two consecutive visits of a user belong to one session if and only if they are at most `gap`
    apart. Visits of a user at the same time keep the order of the table. Visits to products outside
    the catalogue are dropped only afterwards, because they also show that the user was active.
    Within a session, the first visit to each product is kept, and of these the first
    `max_products`. Sessions of a single product are dropped.

    Times may be datetimes, dates, ISO 8601 text (UTC if it has no zone), or numbers, also as text.
    The median tells how numbers are read. They are days yyyymmdd, minutes yyyymmddHHMM or seconds
    yyyymmddHHMMSS if the median has 8, 12 or 14 such digits and at least half of the numbers spell
    a time. Else they count from 1970: milliseconds from 1e11 (as seconds that would be the year
    5138), microseconds from 1e14, nanoseconds from 1e17, else seconds. Numbers with a median before
    1995, such as Excel's days or positions in a sequence, are refused unless `time_unit` is set.

    A visit counts as ``bad_time`` if its time can't be read like the others or lies outside the
    years 1970 to 2100. So do two frequent signs of a missing time or of another unit: a time of
    exactly 1970-01-01 00:00:00, if the median is later than 1970, and numbers that would be in
    1970, unless `time_unit` is set.

    Parameters
    ----------
    events : path, list of paths, or polars frame
        See `scan`.
    gap : str, timedelta or int, default "30m"
        Longest pause within a session, see `parse_gap`. If times are dates only, '1439m' separates
        the days.
    max_products : int, default 10
        Largest number of products in a session, at least 2.
    columns : EventColumns, optional
        Names of the columns.
    product_ids : Series, optional
        Ids of the catalogue. They are compared with those of the events as numbers if both are
        whole numbers, else as text. By default all products count, and are numbered in the order
        of their first appearance.
    time_unit : {"s", "ms", "us", "ns"}, optional
        What numbers in the time column count since 1970. By default their median tells it. Other
        types of times have no use for it.

    Returns
    -------
    Sessions

    Raises
    ------
    InputError
        If a parameter is invalid, the table can't be read or a column is missing (see `scan` and
        `require_columns`), no event has a valid time, the unit of the times is unclear, no product
        is in the catalogue, or no session has two products.
    """
    limit = parse_gap(gap)
    if max_products < 2:
        raise InputError(
            f"`max_products` is {max_products}; a pair needs sessions of at least 2 products"
        )
    if time_unit is not None and time_unit not in TICKS_PER_SECOND:
        raise InputError(
            f"`time_unit` is '{time_unit}'; it must be one of {', '.join(TICKS_PER_SECOND)}"
        )
    columns = columns or EventColumns()
    names = asdict(columns)
    frame = scan(events, "events")
    require_columns(frame, names, events)
    visits = read_columns(frame, names, events)

    where = describe(events)
    counts = {"events": len(visits)}
    visits, times = _valid(visits, columns, where, counts, time_unit)
    days = first_and_last_day(visits["time"], times.per_second)
    time_note = f"{columns.time}: {times.form}, {days}"
    user, row, product_ids = _numbered(visits, columns, where, product_ids)
    time = visits["time"].to_numpy()
    # large arrays are freed as soon as possible: memory limits the size of a log
    del visits
    user, time, row = _ordered(user, time, row)

    # rounding the gap down to whole ticks is exact, because differences are whole ticks, too
    gap_ticks = min(limit // _MICROSECOND * times.per_second // 1_000_000, 2**63 - 1)
    session: npt.NDArray[np.int32] = _session_of(user, time, gap_ticks)
    del user, time

    known = row >= 0
    counts["not_in_catalogue"] = len(row) - int(known.sum())
    if counts["not_in_catalogue"]:
        session = session[known]
        row = row[known]
    first = _first_visits(session, row, len(product_ids))
    counts["repeated"] = len(row) - int(first.sum())
    session = session[first]
    row = row[first]
    products = _long_enough(session, row, max_products, counts)
    counts["sessions"] = len(products)
    counts["products"] = len(products.values)
    counts["pairs"] = int(products.pairs.sum())
    if not len(products):
        raise InputError(
            f"{where}: no session has two products ({_nonzero(counts)}): give a larger `gap` (it "
            f"is {limit}), or check `user_column`, `time_column` and `product_column`"
        )
    return Sessions(products, product_ids, counts, time_note)


def _long_enough(
    session: npt.NDArray[np.int32],
    row: npt.NDArray[np.int32],
    max_products: int,
    counts: dict[str, int],
) -> Ragged:
    """Sessions of at least two products, truncated, from the session and product of every visit.

    Sessions must be in ascending order. Adds the numbers of dropped visits to `counts`.
    """
    bounds = np.flatnonzero(np.diff(session, prepend=-1, append=-1))
    lengths = np.diff(bounds)
    # position of every visit within its session
    place = np.arange(len(row)) - np.repeat(offsets_of(lengths)[:-1], lengths)
    counts["truncated"] = int((place >= max_products).sum())
    counts["single_product_sessions"] = int((lengths == 1).sum())
    kept = (place < max_products) & np.repeat(lengths > 1, lengths)
    lengths = np.minimum(lengths[lengths > 1], max_products)
    return Ragged(row[kept], offsets_of(lengths))


def _nonzero(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _valid(
    visits: pl.DataFrame,
    columns: EventColumns,
    where: str,
    counts: dict[str, int],
    time_unit: str | None,
) -> tuple[pl.DataFrame, Times]:
    """Visits that have a user, a time (int64 ticks) and a product, and how times were read.

    Adds the numbers of dropped visits to `counts`. The times have no ticks: those are in the table.
    """
    if visits.is_empty():
        raise InputError(f"{where}: there are no events, only columns: give a table with rows")
    raw_time = visits["time"]
    times = read_times(raw_time, columns.time, where, time_unit)
    visits = visits.with_columns(
        normalize_ids(visits["user"], columns.user, where),
        normalize_ids(visits["product"], columns.product, where),
        time=times.ticks,
        without_time=raw_time.is_null(),
    )
    dropped = {
        "null_user": pl.col("user").is_null(),
        "null_time": pl.col("without_time"),
        "bad_time": pl.col("time").is_null(),
        "null_product": pl.col("product").is_null(),
    }
    # one after the other, so that each visit counts under its first reason only
    for reason, condition in dropped.items():
        before = len(visits)
        if visits.select(condition.any()).item():
            visits = visits.filter(~condition)
        counts[reason] = before - len(visits)
    if visits.is_empty():
        reasons = _nonzero({reason: counts[reason] for reason in dropped})
        raise InputError(
            f"{where}: no event has user, time and product ({reasons}): check `user_column`, "
            "`time_column` and `product_column`"
        )
    # the column of ticks is freed with `visits`, as soon as it is used
    return visits.drop("without_time"), replace(times, ticks=pl.Series(dtype=pl.Int64))


def _numbered(
    visits: pl.DataFrame, columns: EventColumns, where: str, product_ids: pl.Series | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], pl.Series]:
    """The user and the product of every visit as numbers, and the ids of the products.

    Users are numbered by first appearance. Products are rows of `product_ids`, -1 if absent.
    """
    # Arrow uses one thread for each column and releases Python's lock, so both run at once
    with ThreadPoolExecutor(1) as pool:
        users = pool.submit(factorize, visits["user"])
        if product_ids is None:
            product_ids, row = factorize(visits["product"].alias(columns.product))
        else:
            row = _rows(visits["product"], product_ids, where)
        _, user = users.result()
        return user, row, product_ids


def _rows(products: pl.Series, product_ids: pl.Series, where: str) -> npt.NDArray[np.int32]:
    """The row of every product in the catalogue, -1 if absent."""
    catalogue_ids = normalize_ids(product_ids, "product_ids", "catalogue")
    dtypes = (products.dtype, catalogue_ids.dtype)
    # ids of different types are compared as text, unless Int64 holds both types
    common: pl.DataType = pl.String()
    if dtypes[0] == dtypes[1]:
        common = dtypes[0]
    elif all(dtype.is_integer() for dtype in dtypes) and pl.UInt64 not in dtypes:
        common = pl.Int64()
    values = products.rechunk().cast(common).to_arrow()
    value_set = catalogue_ids.rechunk().cast(common).to_arrow()
    found = pc.index_in(values, value_set=value_set, skip_nulls=True)
    row: npt.NDArray[np.int32] = found.fill_null(-1).to_numpy()
    if (row < 0).all():
        example = next(iter(catalogue_ids.drop_nulls()), "nothing")
        raise InputError(
            f"{where}: none of the visited products is in the catalogue: '{products[0]}' here, "
            f"'{example}' there: check `product_column` and that both tables use the same ids"
        )
    return row


def _ordered(
    user: npt.NDArray[np.int32], time: npt.NDArray[np.int64], row: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Sort by user, then time; ties keep their order."""
    if not _in_order(user, time):
        table = pl.DataFrame({"user": user, "time": time, "row": row})
        # Two stable sorts by one key are faster than one sort by two keys: each takes a third of
        # its time, and a log is often sorted by time already.
        if not table["time"].is_sorted():
            table = table.sort("time", maintain_order=True)
        table = table.sort("user", maintain_order=True)
        user, time, row = (table[name].to_numpy() for name in table.columns)
    return user, time, row


# The next two functions are compiled, because NumPy would make several arrays as long as the
# events for each, and access to memory takes most of the time here.


@compiled
def _in_order(user: Any, time: Any) -> bool:
    for visit in range(1, len(user)):
        before = visit - 1
        if user[visit] < user[before] or (
            user[visit] == user[before] and time[visit] < time[before]
        ):
            return False
    return True


@compiled
def _session_of(user: Any, time: Any, gap: int) -> Any:
    """Number the session of every visit, from 0: a new user or a longer pause starts a new one."""
    session = np.zeros(len(user), np.int32)
    for visit in range(1, len(user)):
        before = visit - 1
        starts_session = user[visit] != user[before] or time[visit] - time[before] > gap
        session[visit] = session[before] + starts_session
    return session


def _first_visits(
    session: npt.NDArray[np.int32], row: npt.NDArray[np.int32], n_products: int
) -> npt.NDArray[np.bool_]:
    """Whether a visit is the first to its product in its session.

    Sessions must be in ascending order. The keys are then almost sorted, so sorting them moves
    little and is faster than a hash table.
    """
    key = session * np.int64(n_products) + row
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.ones(len(key), np.bool_)
    first[order[1:]] = key[1:] != key[:-1]
    return first
