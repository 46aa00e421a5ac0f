"""Reading a column of times: datetimes, dates, ISO 8601 text, or numbers in several units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from vitrina.data.tables import is_text
from vitrina.errors import InputError

TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""The units of times that are numbers."""

_TIME_FORMS = ["%Y-%m-%d"] + [
    f"%Y-%m-%d{between}{clock}{zone}"
    for between in "T "
    for clock in ("%H:%M:%S%.f", "%H:%M")
    for zone in ("", " %#z", " UTC")  # a space in a format matches any number of spaces
]
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# digits of a number that spells a day or a time, and what it spells
_CALENDAR_FORMS = {8: "days yyyymmdd", 12: "minutes yyyymmddHHMM", 14: "seconds yyyymmddHHMMSS"}
_YEAR = 31_556_952  # seconds, on average
# the starts of years, in seconds since 1970
_YEAR_1 = -62_135_596_800
_YEAR_1971 = 31_536_000
_YEAR_1995 = 788_918_400
_YEAR_2101 = 4_133_980_800
_YEAR_10000 = 253_402_300_800


@dataclass(frozen=True, eq=False)
class Times:
    """Times that were read from a column.

    Attributes
    ----------
    ticks : Series of Int64
        Ticks since 1970, null where there is no time.
    per_second : int
        Number of ticks in a second.
    form : str
        How the column was read, for `Sessions.time_note`.
    earliest : int
        Earliest time that counts, in seconds since 1970.
    """

    ticks: pl.Series
    per_second: int
    form: str
    earliest: int = 0


def read_times(time: pl.Series, name: str, where: str, unit: str | None) -> Times:
    """Read a column of times as `vitrina.data.sessions.sessionize` describes.

    Parameters
    ----------
    time : Series
        The column, of any type.
    name : str
        Its name, for messages.
    where : str
        Its table, for messages.
    unit : str or None
        A key of `TICKS_PER_SECOND`: what numbers count since 1970; None lets their median tell.

    Returns
    -------
    Times
        The ticks are null where there is no time of the years 1970 to 2100.

    Raises
    ------
    InputError
        If the column can't hold times, holds none, or its unit is unclear.
    """
    dtype = time.dtype
    if isinstance(dtype, pl.Datetime):
        times = Times(time.to_physical(), TICKS_PER_SECOND[dtype.time_unit], "datetimes")
    elif dtype == pl.Date:
        times = Times(time.cast(pl.Datetime("ms")).to_physical(), 10**3, "dates")
    elif dtype == pl.Null:
        times = Times(time.cast(pl.Int64), 1, "no times")
    elif dtype.is_numeric():
        times = _times_of_numbers(time, name, where, unit)
    elif is_text(dtype):
        times = _times_of_text(time.cast(pl.String), name, where, unit)
    else:
        raise InputError(
            f"{where}: column '{name}' ({dtype}) can't hold times: name another with `time_column`"
        )
    valid = _in_range(times)
    if valid.null_count() == len(time) and time.null_count() < len(time):
        raise InputError(
            f"{where}: column '{name}' holds no times but values such as '{_example(time, times)}':"
            " write ISO 8601 or seconds since 1970 (until 2100), or name another column with "
            "`time_column`"
        )
    return replace(times, ticks=valid)


def first_and_last_day(ticks: pl.Series, per_second: int) -> str:
    """Return the first and the last day of times, as '2023-01-01 … 2023-12-31'.

    Parameters
    ----------
    ticks : Series of Int64
        Ticks since 1970, at least one and none of them null.
    per_second : int
        Number of ticks in a second.
    """
    days = []
    for tick in (ticks.min(), ticks.max()):
        assert isinstance(tick, int)
        days.append(f"{datetime.fromtimestamp(tick // per_second, UTC):%Y-%m-%d}")
    return " … ".join(days)


def _example(time: pl.Series, times: Times) -> object:
    """The first value of a column of times, or its ticks if it is no date that Python can show."""
    if time.dtype.is_temporal():
        tick = times.ticks.drop_nulls()[0]
        if not _YEAR_1 <= tick // times.per_second < _YEAR_10000:
            return tick
    return time.drop_nulls()[0]


def _in_range(times: Times) -> pl.Series:
    """The ticks, null where they are outside the years that count.

    Differences of the others can't overflow, and dates that stand for no date (1678, 9999) can't
    share a session.
    """
    ticks = times.ticks
    lowest, highest = ticks.min(), ticks.max()
    if not isinstance(lowest, int) or not isinstance(highest, int):  # there are no times
        return ticks
    first = times.earliest * times.per_second
    end = _YEAR_2101 * times.per_second
    # 1970-01-01 00:00:00 among later times is a zero that stands for no time
    if lowest <= 0 and first == 0 and _median(ticks) >= _YEAR_1971 * times.per_second:
        first = 1
    if lowest >= first and highest < end:
        return ticks
    return ticks.set((ticks < first) | (ticks >= end), None)


def _median(numbers: pl.Series) -> float:
    """The median; NaN if there are no numbers."""
    # about a million numbers are enough, and need little memory
    known = numbers.drop_nulls()
    sample = known.gather_every(max(1, len(known) // 1_000_000))
    # "higher" gives a number of the column: the mean of two could have another number of digits
    median = sample.quantile(0.5, interpolation="higher")
    return float("nan") if median is None else median


def _times_of_numbers(time: pl.Series, name: str, where: str, unit: str | None) -> Times:
    """Times from numbers; their median tells how to read them (see `sessionize`)."""
    is_whole = time.dtype.is_integer()
    if is_whole:
        time = time.cast(pl.Int64, strict=False)
    if time.dtype == pl.Float32 and not bool((time.abs() < 2**24).all()):
        raise InputError(
            f"{where}: column '{name}' ({time.dtype}) rounds times of today by minutes: write "
            "Float64, whole numbers or datetimes"
        )
    if not is_whole:
        time = time.cast(pl.Float64)
        time = time.set(~time.is_finite(), None)
    earliest = 0
    if unit is None:
        median = _median(time)
        calendar = _calendar_times(time, median)
        if calendar is not None:
            return calendar
        unit = _likely_unit(median)
        _require_modern(median, unit, name, where)
        # numbers that would be in 1970 are in another unit, or zeros for no time
        earliest = _YEAR_1971
    form = f"{_UNIT_NAMES[unit]} since 1970"
    per_second = TICKS_PER_SECOND[unit]
    if is_whole:
        return Times(time, per_second, form, earliest)
    # keep fractions down to the microsecond
    scale = max(10**6 // per_second, 1)
    ticks = (time * scale).round().cast(pl.Int64, strict=False)
    return Times(ticks, per_second * scale, form, earliest)


def _calendar_times(time: pl.Series, median: float) -> Times | None:
    """Times from numbers that spell them, such as 20240229; None if few numbers do."""
    for digits, form in _CALENDAR_FORMS.items():
        # all are read like those of 14 digits
        scale = 10 ** (14 - digits)
        first = 19_700_101_000_000 // scale
        end = 21_010_101_000_000 // scale
        if not first <= median < end:
            continue
        number = time.set(~((time >= first) & (time < end) & (time % 1 == 0)), None)
        text = (number.cast(pl.Int64) * scale).cast(pl.String)
        moment = text.str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="ms")
        valid = len(moment) - moment.null_count()
        if 2 * valid >= len(time) - time.null_count():
            return Times(moment.to_physical(), 10**3, form)
    return None


def _likely_unit(median: float) -> str:
    """The unit of numbers since 1970 with this median."""
    if median >= 10**17:
        return "ns"
    if median >= 10**14:
        return "us"
    if median >= 10**11:
        return "ms"
    return "s"


def _require_modern(median: float, unit: str, name: str, where: str) -> None:
    """Raise an error if the median would be before 1995, when there were no shops to browse."""
    seconds = median / TICKS_PER_SECOND[unit]
    if not seconds < _YEAR_1995:
        return
    year = f"in {1970 + int(seconds // _YEAR)}" if seconds >= 0 else "before 1970"
    # from 1954 to 2064
    hint = " (Excel's days: save them as dates)" if 20_000 <= median <= 60_000 else ""
    raise InputError(
        f"{where}: column '{name}' holds numbers such as {median:.15g}, which as "
        f"{_UNIT_NAMES[unit]} since 1970 would be {year}{hint}: write ISO 8601, or set "
        "`time_unit` if a unit is meant"
    )


def _times_of_text(time: pl.Series, name: str, where: str, unit: str | None) -> Times:
    """Times of ISO 8601 text (dates, or dates with times, also mixed), or else of numbers."""
    text = time.str.strip_chars()
    # the formats that fit the first rows best come first: usually one fits all, and a format is
    # tried only on rows that the formats before it could not read
    sample = text.drop_nulls().head(100)
    forms = sorted(_TIME_FORMS, key=lambda form: _microseconds(sample, form).null_count())
    ticks = _microseconds(text, forms[0])
    for form in forms[1:]:
        unread = (ticks.is_null() & text.is_not_null()).arg_true()
        if len(unread) == 0:
            break
        ticks = ticks.scatter(unread, _microseconds(text.gather(unread), form))
    if ticks.null_count() < len(ticks):
        return Times(ticks, 10**6, "ISO 8601")
    # whole numbers stay whole: as floats, nanoseconds would not be exact
    numbers = text.cast(pl.Float64, strict=False)
    whole_numbers = text.cast(pl.Int64, strict=False)
    if whole_numbers.null_count() == numbers.null_count():
        numbers = whole_numbers
    return _times_of_numbers(numbers, name, where, unit)


def _microseconds(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, strict=False, time_unit="us").to_physical()
