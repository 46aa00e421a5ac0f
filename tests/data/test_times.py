"""Times: understood, or refused in one line, but never guessed wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data.sessions import Sessions, sessionize
from vitrina.errors import InputError

SECONDS = [1_700_000_000, 1_700_000_060]
DAYS = [20240229, 20240229, 20240301, 20240301]


def read(times: Any, gap: str = "30m", time_unit: str | None = None) -> Sessions:
    """Sessions of one user, whose n-th visit is to product n."""
    time = pl.Series(times)
    events = pl.DataFrame({"user": 1, "timestamp": time, "product_id": range(len(time))})
    return sessionize(events, gap, time_unit=time_unit)


def lists(sessions: Sessions) -> list[list[int]]:
    return [sessions.product_ids.gather(rows).to_list() for rows in sessions.products]


@pytest.mark.parametrize("bad", [0, 20240230, 20241301, 2024123, 17, -20240101, 99999999])
@pytest.mark.parametrize("write", [int, float, str])
def test_bad_days_among_days_are_bad_times(write: Callable[[int], object], bad: int) -> None:
    sessions = read([write(day) for day in [*DAYS, bad]], "1439m")
    assert lists(sessions) == [[0, 1], [2, 3]]
    assert sessions.counts["bad_time"] == 1
    assert sessions.time_note == "timestamp: days yyyymmdd, 2024-02-29 … 2024-03-01"


def test_days_with_fractions_and_rounded_days() -> None:
    assert read([20240229.0, 20240229.0, 20240229.5], "1439m").counts["bad_time"] == 1
    with pytest.raises(InputError, match=r"'timestamp' .Float32. rounds times of today"):
        read(pl.Series(DAYS, dtype=pl.Float32), "1439m")
    assert len(read(pl.Series([0, 1], dtype=pl.Float32), time_unit="s").products) == 1


MOMENTS = [
    datetime(2024, 2, 29, 23, 50),
    datetime(2024, 2, 29, 23, 55),
    datetime(2024, 3, 1, 0, 10),
    datetime(2024, 3, 2, 12, 0),
    datetime(2024, 3, 2, 12, 1),
]


@pytest.mark.parametrize("write", [int, float, str])
@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        ("%Y%m%d%H%M%S", "seconds yyyymmddHHMMSS"),
        ("%Y%m%d%H%M", "minutes yyyymmddHHMM"),
    ],
)
def test_numbers_of_14_and_12_digits(
    write: Callable[[str], object], pattern: str, form: str
) -> None:
    numbers = [moment.strftime(pattern) for moment in MOMENTS]
    bad = "9" * len(numbers[0])
    sessions = read([write(number) for number in [*numbers, bad]])
    assert lists(sessions) == [[0, 1, 2], [3, 4]]
    assert sessions.counts["bad_time"] == 1
    assert sessions.time_note == f"timestamp: {form}, 2024-02-29 … 2024-03-02"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.datetimes(datetime(1995, 1, 2), datetime(2100, 12, 31)), min_size=2))
def test_every_spelling_gives_the_same_sessions(moments: list[datetime]) -> None:
    moments = [moment.replace(microsecond=0) for moment in moments]
    moments.append(moments[0])
    expected = lists(read(moments, "300d"))
    time = pl.Series(moments)
    spellings = [time.dt.strftime("%Y%m%d%H%M%S").cast(pl.Int64), time.dt.strftime("%Y-%m-%d %T")]
    spellings += [time.dt.epoch(unit) for unit in ("s", "ms", "us", "ns")]
    for spelling in spellings:
        assert lists(read(spelling, "300d")) == expected
        assert lists(read(spelling.cast(pl.String), "300d")) == expected


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (range(5), "numbers such as 2, which as seconds since 1970 would be in 1970: write ISO"),
        ([45292, 45293], "would be in 1970 (Excel's days: save them as dates): write ISO 8601"),
        ([45292.5, 45292.51], "such as 45292.51, which as seconds since 1970 would be in 1970"),
        (["45292.5", "45292.51"], "(Excel's days: save them as dates)"),
        ([20241399] * 3, "such as 20241399, which as seconds since 1970 would be in 1970"),
        ([0, 0, 0, 20240101], "such as 0, which as seconds since 1970 would be in 1970"),
        ([-5, -4], "would be before 1970"),
        ([-1e300] * 2, "would be before 1970"),
        # Windows' and .NET's hundreds of nanoseconds, and Chrome's microseconds since 1601
        ([133_500_000_000_000_000] * 2, "which as nanoseconds since 1970 would be in 1974"),
        ([638_500_000_000_000_000] * 2, "which as nanoseconds since 1970 would be in 1990"),
        ([13_350_000_000_000_000] * 2, "holds no times but values such as '13350000000000000'"),
        ([5 * 10**10] * 2, "holds no times but values such as '50000000000'"),
        ([202413991299] * 2, "such as 202413991299, which as milliseconds since 1970 would be in"),
    ],
)
def test_numbers_that_are_refused(times: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(times)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_unit_that_is_set() -> None:
    assert lists(read(range(3), time_unit="s")) == [[0, 1, 2]]
    assert lists(read([0, 3600, 7200], time_unit="ms")) == [[0, 1, 2]]
    assert lists(read(["0", "3600", "3601"], time_unit="s")) == [[1, 2]]
    assert read(DAYS, time_unit="s").time_note == (
        "timestamp: seconds since 1970, 1970-08-23 … 1970-08-23"
    )
    with pytest.raises(InputError, match="`time_unit` is 'h'; it must be one of s, ms, us, ns"):
        read([1, 2], time_unit="h")
    with pytest.raises(InputError, match="or set `time_unit` if a unit is meant"):
        read([1, 2])


def test_zeros_and_numbers_of_another_unit_are_bad_times() -> None:
    milliseconds = [second * 1000 for second in SECONDS]
    for times in (
        [*SECONDS, 0, 0],
        [*milliseconds, *milliseconds, *SECONDS],
        [*SECONDS, *SECONDS, *milliseconds],
        pl.Series([*SECONDS, 2**63, 2**64 - 1], dtype=pl.UInt64),
        pl.Series([*SECONDS, 2**100, -(2**100)], dtype=pl.Int128),
    ):
        sessions = read(times)
        assert sessions.counts["bad_time"] == 2
        assert len(sessions.products) == 1


SENTINELS = [
    datetime(1, 1, 1),
    datetime(1678, 1, 1),
    datetime(1899, 12, 30),
    datetime(1969, 12, 31),
]
SENTINELS += [datetime(2101, 1, 1), datetime(2262, 4, 11), datetime(9999, 12, 31)]
SENTINELS += [datetime(1970, 1, 1)] * 2


@pytest.mark.parametrize(
    "write",
    [
        lambda times: pl.Series(times),
        lambda times: pl.Series(times).cast(pl.Datetime("ms")),
        lambda times: pl.Series(times).cast(pl.Date),
        lambda times: pl.Series(times).dt.strftime("%Y-%m-%d %H:%M:%S"),
        lambda times: pl.Series(times).dt.replace_time_zone("UTC"),
        lambda times: pl.Series(times).dt.epoch("s"),
    ],
)
def test_dates_that_stand_for_no_date(write: Callable[[list[datetime]], pl.Series]) -> None:
    valid = [datetime(2024, 2, 29)] * 12
    sessions = read(write([*SENTINELS, *valid]), "1000000d")
    assert sessions.counts["bad_time"] == len(SENTINELS)
    assert len(sessions.products) == 1
    assert sessions.time_note.endswith("2024-02-29 … 2024-02-29")


def test_differences_do_not_overflow() -> None:
    # 1678 and 2262 in nanoseconds are 2**64 apart: their difference was negative
    extremes = pl.Series(["1678-01-01", "2262-04-11"]).str.to_datetime(time_unit="ns")
    with pytest.raises(InputError, match="holds no times but values such as '1678-01-01"):
        read(extremes)
    physical = pl.Series([-(2**63) + 1, 2**63 - 1]).cast(pl.Datetime("us"))
    with pytest.raises(InputError, match="holds no times"):
        read(physical)


def test_datetimes_in_1970_are_times() -> None:
    # public data sets without times use positions in the order of visits
    positions = pl.Series([0, 1, 2, 1800]).cast(pl.Datetime("us"))
    assert lists(read(positions)) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("times", "note"),
    [
        (SECONDS, "seconds since 1970, 2023-11-14 … 2023-11-14"),
        ([float(second) for second in SECONDS], "seconds since 1970, 2023-11-14 … 2023-11-14"),
        ([s * 1000 for s in SECONDS], "milliseconds since 1970, 2023-11-14 … 2023-11-14"),
        (
            [str(s * 10**9) for s in SECONDS],
            "nanoseconds since 1970, 2023-11-14 … 2023-11-14",
        ),
        ([date(2024, 1, 1)] * 2, "dates, 2024-01-01 … 2024-01-01"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2)], "datetimes, 2024-01-01 … 2024-01-02"),
        (["2024-01-01", "2024-01-01T00:20Z"], "ISO 8601, 2024-01-01 … 2024-01-01"),
    ],
)
def test_the_note_says_how_times_were_read(times: object, note: str) -> None:
    assert read(times, "1d").time_note == f"timestamp: {note}"


def test_the_note_names_only_days_of_valid_visits() -> None:
    times = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(3)]
    events = pl.DataFrame(
        {"user": ["a", "a", None], "timestamp": times, "product_id": ["x", "y", "z"]}
    )
    note = "timestamp: datetimes, 2024-01-01 … 2024-01-02"
    assert sessionize(events, "1d").time_note == note
