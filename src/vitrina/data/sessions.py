"""Sessions: the products that one user visited with no longer pause than the gap (paper §3.1)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
    readable,
    require_columns,
    scan,
)
from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of

UNUSABLE = ("null_user", "null_time", "bad_time", "null_product", "not_in_catalogue")
"""Reasons of `Sessions.counts` that speak of the data's quality, not of the method."""

_GAP = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", flags=re.ASCII)
_MICROSECOND = timedelta(microseconds=1)
_TIME_FORMS = ["%Y-%m-%d"] + [
    f"%Y-%m-%d{between}{clock}{zone}"
    for between in "T "
    for clock in ("%H:%M:%S%.f", "%H:%M")
    for zone in ("", " %#z", " UTC")  # in a form, a blank stands for any number of them
]


@dataclass(frozen=True)
class EventColumns:
    """Names of the columns of a table of visits."""

    user: str = "user"
    time: str = "timestamp"
    product: str = "product_id"


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions of at least two products.

    Attributes
    ----------
    products : Ragged, int32
        Rows of `product_ids`, distinct within a session, in the order of their first visit.
        Sessions are in the order in which their users first appear in the events, those of one
        user by time.
    product_ids : Series
    counts
        events, sessions, products (visits kept) and pairs; visits that were dropped, each under
        one reason: null_user, null_time, bad_time (not a time), null_product, not_in_catalogue,
        repeated (the product was in the session already), truncated (products beyond
        max_products), single_product_sessions (sessions of one visit kept till then). All
        reasons and products add up to events.
    """

    products: Ragged
    product_ids: pl.Series
    counts: dict[str, int]

    @property
    def pairs(self) -> int:
        """Number of unordered pairs, the sum of n (n - 1) / 2 over the sessions."""
        return int(self.products.pairs.sum())


def parse_gap(text: str | timedelta | int) -> timedelta:
    """The longest pause within a session, from '45s', '30m', '2h', '1d', '1h30m' or minutes.

    Raises
    ------
    InputError
        It is not a duration, or not more than nothing.
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
    except OverflowError:
        pass
    if gap is None or gap <= timedelta(0):
        raise InputError(
            f"gap '{text}': give a duration of more than nothing, such as 45s, 30m, 1h30m or 1d"
        )
    return gap


def sessionize(
    events: Source,
    gap: str | timedelta | int = "30m",
    max_products: int = 10,
    *,
    columns: EventColumns | None = None,
    product_ids: pl.Series | None = None,
) -> Sessions:
    """Group visits into sessions (paper §3.1: duplicates removed, truncated to 10 products).

    Two consecutive visits of one user are in one session iff they are at most `gap` apart; visits
    of one user at the same time keep the order of the table. Visits of products that are not in
    the catalogue are dropped only after that, for they too show that the user was there. Then,
    within a session, the first visit of each product is kept and the first `max_products` of
    these; sessions of a single product are dropped.

    Times may be datetimes, dates, ISO 8601 text (without zone: taken as UTC) or numbers since an
    epoch, also as text. Numbers are seconds, milliseconds from a median of 1e11 on (as seconds
    that is the year 5138), microseconds from 1e14, nanoseconds from 1e17; whole numbers that all
    read as days yyyymmdd are dates.

    Parameters
    ----------
    events
        See `scan`.
    gap
        See `parse_gap`. With dates only, '1439m' keeps days apart.
    max_products
        At least 2.
    columns
        Names of the columns.
    product_ids
        Ids of the catalogue; without them, all products count and are numbered in the order in
        which they first appear. Compared with those of the events as numbers if both are whole
        numbers, else as text.

    Raises
    ------
    InputError
        See `scan`, `require_columns` and `parse_gap`; no event has a valid time; no product is
        in the catalogue; no session has two products.
    """
    limit = parse_gap(gap)
    if max_products < 2:
        raise InputError(
            f"`max_products` is {max_products}; a pair needs sessions of at least 2 products"
        )
    columns = columns or EventColumns()
    frame = scan(events, "events")
    require_columns(frame, asdict(columns), events)
    with readable(events):
        table = frame.select(**{role: pl.col(name) for role, name in asdict(columns).items()})
        visits = table.collect()

    where = describe(events)
    counts = {"events": len(visits)}
    visits, ticks_a_second = _valid(visits, columns, where, counts)
    user, row, product_ids = _numbered(visits, columns, where, product_ids)
    time = visits["time"].to_numpy()
    del visits
    user, time, row = _ordered(user, time, row)

    # gaps are compared in whole ticks: a difference of ticks is <= gap iff <= the gap rounded down
    gap_ticks = min(limit // _MICROSECOND * ticks_a_second // 1_000_000, 2**63 - 1)
    session: npt.NDArray[np.int32] = _session_of(user, time, gap_ticks)
    del user, time

    known = row >= 0
    counts["not_in_catalogue"] = len(row) - int(known.sum())
    if counts["not_in_catalogue"]:
        session, row = session[known], row[known]
    first = _first_visits(session, row, len(product_ids))
    counts["repeated"] = len(row) - int(first.sum())
    session, row = session[first], row[first]

    lengths = np.diff(np.flatnonzero(np.diff(session, prepend=-1, append=-1)))
    place = np.arange(len(row)) - np.repeat(offsets_of(lengths)[:-1], lengths)
    counts["truncated"] = int((place >= max_products).sum())
    counts["single_product_sessions"] = int((lengths == 1).sum())
    kept = (place < max_products) & np.repeat(lengths > 1, lengths)
    lengths = np.minimum(lengths[lengths > 1], max_products)
    products = Ragged(row[kept], offsets_of(lengths))
    counts["sessions"] = len(products)
    counts["products"] = len(products.values)
    counts["pairs"] = int(products.pairs.sum())
    if not len(products):
        counted = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise InputError(
            f"{where}: no session has two products ({counted}): give a larger --gap (it is "
            f"{limit}), or check --user-column, --time-column and --product-column"
        )
    return Sessions(products, product_ids, counts)


def _valid(
    visits: pl.DataFrame, columns: EventColumns, where: str, counts: dict[str, int]
) -> tuple[pl.DataFrame, int]:
    """Visits with user, time (int64 ticks) and product, all valid; and the ticks of a second."""
    if visits.is_empty():
        raise InputError(f"{where}: there are no events, only columns: give a table with rows")
    raw = visits["time"]
    time, ticks_a_second = _ticks(raw, columns.time, where)
    visits = visits.with_columns(
        normalize_ids(visits["user"], columns.user, where),
        normalize_ids(visits["product"], columns.product, where),
        time=time,
        without_time=raw.is_null(),
    )
    dropped = {
        "null_user": pl.col("user").is_null(),
        "null_time": pl.col("without_time"),
        "bad_time": pl.col("time").is_null(),
        "null_product": pl.col("product").is_null(),
    }
    for reason, condition in dropped.items():
        before = len(visits)
        if visits.select(condition.any()).item():
            visits = visits.filter(~condition)
        counts[reason] = before - len(visits)
    if visits.is_empty():
        counted = ", ".join(f"{reason} {counts[reason]}" for reason in dropped if counts[reason])
        raise InputError(
            f"{where}: no event has user, time and product ({counted}): check --user-column, "
            "--time-column and --product-column"
        )
    return visits.drop("without_time"), ticks_a_second


def _ticks(time: pl.Series, name: str, where: str) -> tuple[pl.Series, int]:
    """Times as int64 ticks, null where there is none; and the number of ticks in a second."""
    dtype = time.dtype
    if isinstance(dtype, pl.Datetime):
        return time.to_physical(), {"ms": 10**3, "us": 10**6, "ns": 10**9}[dtype.time_unit]
    if dtype == pl.Date:
        return time.cast(pl.Datetime("ms")).to_physical(), 10**3
    if dtype.is_numeric():
        ticks, ticks_a_second = _ticks_of_numbers(time)
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        ticks, ticks_a_second = _ticks_of_text(time.cast(pl.String))
    elif dtype == pl.Null:
        return time.cast(pl.Int64), 1
    else:
        raise InputError(
            f"{where}: column '{name}' ({dtype}) can't hold times: name another with --time-column"
        )
    if ticks.null_count() == len(ticks) and time.null_count() < len(time):
        example = time.drop_nulls()[0]
        raise InputError(
            f"{where}: column '{name}' holds no times but values such as '{example}': write ISO "
            "8601 or seconds since 1970, or name another column with --time-column"
        )
    return ticks, ticks_a_second


def _ticks_of_numbers(time: pl.Series) -> tuple[pl.Series, int]:
    """Numbers since an epoch; the unit is told by their median."""
    whole = time.dtype.is_integer()
    if not whole:
        time = time.cast(pl.Float64)
        time = time.set(~time.is_finite(), None)
    known = time.drop_nulls()  # a million of them tell the unit as well as all, in little memory
    median = known.gather_every(max(1, len(known) // 1_000_000)).abs().median()
    if not isinstance(median, int | float):
        return time.cast(pl.Int64), 1
    if 19_000_101 <= median <= 21_001_231:  # as seconds: days in 1970
        days = time.cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if days.null_count() == time.null_count():
            return days.cast(pl.Datetime("ms")).to_physical(), 10**3
    unit = next((10**e for start, e in ((17, 9), (14, 6), (11, 3)) if median >= 10**start), 1)
    if whole:
        return time.cast(pl.Int64, strict=False), unit
    scale = max(10**6 // unit, 1)  # fractions to the microsecond
    return (time * scale).round().cast(pl.Int64, strict=False), unit * scale


def _ticks_of_text(time: pl.Series) -> tuple[pl.Series, int]:
    """ISO 8601, date and time or date alone, also in one column; or else numbers."""
    text = time.str.strip_chars()
    # each form is tried on what the former ones left: with the commonest first, mostly one is
    sample = text.drop_nulls().head(100)
    forms = sorted(_TIME_FORMS, key=lambda form: _microseconds(sample, form).null_count())
    ticks = _microseconds(text, forms[0])
    for form in forms[1:]:
        left = (ticks.is_null() & text.is_not_null()).arg_true()
        if len(left) == 0:
            break
        ticks = ticks.scatter(left, _microseconds(text.gather(left), form))
    if ticks.null_count() < len(ticks):
        return ticks, 10**6
    numbers = text.cast(pl.Float64, strict=False)
    whole = text.cast(pl.Int64, strict=False)
    return _ticks_of_numbers(whole if whole.null_count() == numbers.null_count() else numbers)


def _microseconds(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, strict=False, time_unit="us").to_physical()


def _numbered(
    visits: pl.DataFrame, columns: EventColumns, where: str, product_ids: pl.Series | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], pl.Series]:
    """Users numbered by first appearance, rows of `product_ids` (-1: not there), `product_ids`."""
    with ThreadPoolExecutor(1) as beside:  # Arrow's kernels use one thread and free the lock
        users = beside.submit(factorize, visits["user"])
        if product_ids is None:
            product_ids, row = factorize(visits["product"].alias(columns.product))
        else:
            row = _rows(visits["product"], product_ids, where)
        return users.result()[1], row, product_ids


def _rows(products: pl.Series, product_ids: pl.Series, where: str) -> npt.NDArray[np.int32]:
    """The row of every product in the catalogue, -1 where it isn't there."""
    ids_there = normalize_ids(product_ids, "product_ids", "catalogue")
    here, there = products.dtype, ids_there.dtype
    common: pl.DataType = pl.String()
    if here == there:
        common = here
    elif here.is_integer() and there.is_integer() and pl.UInt64 not in (here, there):
        common = pl.Int64()
    ours, theirs = (s.rechunk().cast(common).to_arrow() for s in (products, ids_there))
    row: npt.NDArray[np.int32] = (
        pc.index_in(ours, value_set=theirs, skip_nulls=True).fill_null(-1).to_numpy()
    )
    if (row < 0).all():
        example = next(iter(ids_there.drop_nulls()), "nothing")
        raise InputError(
            f"{where}: none of the products visited is in the catalogue: '{products[0]}' here, "
            f"'{example}' there: check --product-column and that both tables use the same ids"
        )
    return row


def _ordered(
    user: npt.NDArray[np.int32], time: npt.NDArray[np.int64], row: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Sort by user, then time; ties keep their order."""
    if not _in_order(user, time):
        table = pl.DataFrame({"user": user, "time": time, "row": row})
        # two stable sorts by one key each take a third of the time of one sort by two keys, and
        # a log is often in order of time already
        if not table["time"].is_sorted():
            table = table.sort("time", maintain_order=True)
        table = table.sort("user", maintain_order=True)
        user, time, row = (table[name].to_numpy() for name in table.columns)
    return user, time, row


# Compiled, because NumPy would make several arrays as long as the events for each of these: what
# takes time here is memory.


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
    """The session of every visit, from 0: a user's visits with no pause longer than the gap."""
    session = np.zeros(len(user), np.int32)
    for visit in range(1, len(user)):
        before = visit - 1
        away = user[visit] != user[before] or time[visit] - time[before] > gap
        session[visit] = session[before] + away
    return session


def _first_visits(
    session: npt.NDArray[np.int32], row: npt.NDArray[np.int32], n_products: int
) -> npt.NDArray[np.bool_]:
    """Whether a visit is the first of its product in its session; sessions in ascending order."""
    # the keys of a session lie together, so this sort has little to move and beats a hash table
    key = session * np.int64(n_products) + row
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.ones(len(key), np.bool_)
    first[order[1:]] = key[1:] != key[:-1]
    return first
