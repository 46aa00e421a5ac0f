"""Sessions against a plain Python implementation, and times in every format."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data.sessions import EventColumns, Sessions, parse_gap, sessionize
from vitrina.errors import InputError

START = datetime(2024, 2, 28, 23, 50)
SHARED = Path(__file__).parents[3] / "shared" / "data"


def lists(sessions: Sessions) -> list[list[object]]:
    return [sessions.product_ids.gather(rows).to_list() for rows in sessions.products]


def table(*visits: tuple[object, object, object]) -> pl.DataFrame:
    return pl.DataFrame(visits, schema=["user", "timestamp", "product_id"], orient="row")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30m", 30),
        ("45s", 0.75),
        ("1d", 1440),
        ("2h", 120),
        ("1h30m", 90),
        ("1439m", 1439),
        (" 1D2H3M4S ", 1440 + 123 + 4 / 60),
        (5, 5),
        (timedelta(minutes=7), 7),
    ],
)
def test_parse_gap(text: str | int | timedelta, minutes: float) -> None:
    assert parse_gap(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text", ["", "30", "m", "0m", "-5m", "30m1h", "1.5h", "30 m x", "٣m", "9" * 30 + "d", 0, -3]
)
def test_parse_gap_refuses(text: str | int) -> None:
    with pytest.raises(InputError, match="it must be a positive duration, such as 45s, 30m"):
        parse_gap(text)


def plain_sessions(
    visits: list[tuple[int, int, int]], gap: int, max_products: int, known: set[int]
) -> list[list[int]]:
    """The rules of sessionize in plain Python, one visit after the other."""
    result: list[list[int]] = []
    for user in dict.fromkeys(visit[0] for visit in visits):
        last: int | None = None
        for _, time, product in sorted((v for v in visits if v[0] == user), key=lambda v: v[1]):
            if last is None or time - last > gap:
                result.append([])
            last = time
            if product in known and product not in result[-1]:
                result[-1].append(product)
    return [session[:max_products] for session in result if len(session) > 1]


VISITS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 7)), min_size=1, max_size=60
)


@settings(deadline=None)
@given(VISITS, st.integers(1, 6), st.integers(2, 4), st.none() | st.sets(st.integers(0, 9)))
def test_sessions_against_plain_python(
    visits: list[tuple[int, int, int]], gap: int, max_products: int, known: set[int] | None
) -> None:
    events = pl.DataFrame(
        visits, schema=dict.fromkeys(["user", "timestamp", "product_id"], pl.Int64), orient="row"
    )
    everything = {visit[2] for visit in visits}
    expected = plain_sessions(visits, gap, max_products, everything if known is None else known)
    product_ids = None if known is None else pl.Series(sorted(known), dtype=pl.Int64)
    if not expected:
        with pytest.raises(InputError):
            sessionize(events, f"{gap}s", max_products, product_ids=product_ids, time_unit="s")
        return
    sessions = sessionize(events, f"{gap}s", max_products, product_ids=product_ids, time_unit="s")
    assert lists(sessions) == expected
    assert sessions.products.values.dtype == np.int32
    assert sessions.pairs == sum(len(s) * (len(s) - 1) // 2 for s in expected)
    counts = sessions.counts
    assert counts["pairs"] == sessions.pairs
    assert counts["sessions"] == len(expected)
    reasons = counts.keys() - {"events", "sessions", "pairs"}
    assert sum(counts[reason] for reason in reasons) == counts["events"] == len(visits)


def test_the_gap_itself_still_joins() -> None:
    def two(seconds: float) -> pl.DataFrame:
        later = START + timedelta(minutes=30, seconds=seconds)
        return table((1, START, "a"), (1, later, "b"), (2, START, "x"), (2, START, "y"))

    assert lists(sessionize(two(0), "30m")) == [["a", "b"], ["x", "y"]]
    assert lists(sessionize(two(1e-6), "30m")) == [["x", "y"]]
    # also in units that can't hold the gap exactly, or hold more digits than it needs
    for unit in ("ms", "us", "ns"):
        cast = pl.col("timestamp").dt.cast_time_unit(unit)
        assert len(sessionize(two(0).with_columns(cast), "30m").products) == 2
        assert len(sessionize(two(0.001).with_columns(cast), "30m").products) == 1


def test_a_visit_outside_the_catalogue_bridges_a_pause() -> None:
    events = table(
        (1, START, "a"),
        (1, START + timedelta(minutes=20), "unknown"),
        (1, START + timedelta(minutes=40), "b"),
    )
    sessions = sessionize(events, "30m", product_ids=pl.Series(["b", "a"]))
    assert lists(sessions) == [["a", "b"]]
    assert sessions.products[0].tolist() == [1, 0]
    assert sessions.counts["not_in_catalogue"] == 1


def test_repeated_truncated_and_single() -> None:
    many = [(1, START + timedelta(seconds=i), f"p{i % 13}") for i in range(15)]
    sessions = sessionize(table(*many, (2, START, "x"), (2, START, "x")))
    assert lists(sessions) == [[f"p{i}" for i in range(10)]]
    assert sessions.counts == {
        "events": 17,
        "null_user": 0,
        "null_time": 0,
        "bad_time": 0,
        "null_product": 0,
        "not_in_catalogue": 0,
        "repeated": 3,
        "truncated": 3,
        "single_product_sessions": 1,
        "sessions": 1,
        "products": 10,
        "pairs": 45,
    }
    assert sessions.truncated_share == pytest.approx(3 / 13)
    with pytest.raises(InputError, match="`max_products` is 1"):
        sessionize(table(*many), max_products=1)


def test_invalid_events_are_counted_by_their_first_reason() -> None:
    rows = [
        ("u", "2024-01-01", "a"),
        ("u", "2024-01-01", "b"),
        (None, None, "a"),
        ("", "2024-01-01", "a"),
        ("u", None, None),
        ("u", "yesterday", "a"),
        ("u", "2024-02-30", "a"),
        ("u", "2024-01-01", None),
    ]
    counts = sessionize(table(*rows)).counts
    reasons = ("null_user", "null_time", "bad_time", "null_product", "products")
    assert [counts[reason] for reason in reasons] == [2, 1, 2, 1, 2]


SAME_TIME = datetime(2024, 2, 29, 10, 0, 0)
SPELLINGS = {
    "ISO": "2024-02-29T10:00:00",
    "blank": "2024-02-29 10:00:00",
    "minutes": "2024-02-29 10:00",
    "fraction": "2024-02-29T10:00:00.000",
    "nanoseconds": "2024-02-29T10:00:00.000000000Z",
    "Z": "2024-02-29T10:00:00Z",
    "zone": "2024-02-29T12:00:00+02:00",
    "zone without colon": "2024-02-29 07:00:00.000-0300",
    "zone after a blank": "2024-02-29 10:00:00 +00:00",
    "UTC": "2024-02-29 10:00:00 UTC",
    "around": " 2024-02-29T10:00:00 ",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spellings_of_a_time(spelling: str) -> None:
    events = table(
        ("u", "2024-02-29T09:30:00", "a"),
        ("u", spelling, "b"),
        ("u", "2024-02-29 10:30:00Z", "c"),
        ("u", "2024-02-29 11:00:01", "d"),
    )
    assert lists(sessionize(events)) == [["a", "b", "c"]]


NUMBERS: dict[str, Callable[[datetime], object]] = {
    "seconds": lambda t: int(t.timestamp()),
    "milliseconds": lambda t: int(t.timestamp() * 1000),
    "microseconds": lambda t: int(t.timestamp()) * 10**6,
    "nanoseconds": lambda t: int(t.timestamp()) * 10**9,
    "float seconds": lambda t: t.timestamp(),
    "float milliseconds": lambda t: t.timestamp() * 1000,
    "text of seconds": lambda t: str(int(t.timestamp())),
    "text of fractions": lambda t: f"{t.timestamp():.3f}",
    "datetime": lambda t: t.replace(tzinfo=None),
    "datetime with zone": lambda t: t,
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_kinds_of_time_columns(tmp_path: Path, kind: str) -> None:
    start = datetime(2024, 2, 28, 23, 50, tzinfo=UTC)
    minutes = {"a": 0, "b": 30, "c": 61, "d": 62}
    write = NUMBERS[kind]
    events = table(*((1, write(start + timedelta(minutes=m)), p) for p, m in minutes.items()))
    assert lists(sessionize(events)) == [["a", "b"], ["c", "d"]]
    events.write_parquet(tmp_path / "events.parquet")
    events.write_csv(tmp_path / "events.csv")
    for file in tmp_path.iterdir():
        assert lists(sessionize(file)) == [["a", "b"], ["c", "d"]]


DAYS: dict[str, Callable[[date], object]] = {
    "date": lambda day: day,
    "ISO": str,
    "yyyymmdd": lambda day: int(f"{day:%Y%m%d}"),
    "text of yyyymmdd": "{:%Y%m%d}".format,
}


@pytest.mark.parametrize("write", DAYS.values(), ids=DAYS.keys())
def test_days(write: Callable[[date], object]) -> None:
    first, second = date(2024, 2, 29), date(2024, 3, 1)
    days = {"a": first, "b": first, "c": second, "d": second}
    events = table(*((1, write(day), product) for product, day in days.items()))
    assert lists(sessionize(events, "1439m")) == [["a", "b"], ["c", "d"]]
    assert lists(sessionize(events, "1d")) == [["a", "b", "c", "d"]]


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("soon", "column 'timestamp' holds no times but values such as 'soon'"),
        (float("nan"), "holds no times"),
        (True, "'timestamp' .Boolean. can't hold times: name another with `time_column`"),
        ([1], "can't hold times"),
        (None, "no event has user, time and product .null_time 2.: check"),
    ],
)
def test_columns_without_times(time: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sessionize(table((1, time, "a"), (1, time, "b")))


def test_ties_keep_the_order_of_the_table_whatever_the_threads() -> None:
    random = np.random.default_rng(3)
    n = 20_000
    events = pl.DataFrame(
        {
            "user": random.integers(0, 2_000, n),
            "timestamp": random.integers(0, 20, n) * 3600,
            "product_id": random.integers(0, 500, n),
        }
    )
    visits = list(events.iter_rows())
    expected = plain_sessions(visits, 1800, 10, set(range(500)))
    assert lists(sessionize(events, time_unit="s")) == expected
    # a table that is sorted by time already is sorted by user only
    by_time = events.sort("timestamp", maintain_order=True)
    assert sorted(lists(sessionize(by_time, time_unit="s"))) == sorted(expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([1, 2], ["2", "1"]),
        (["1", "2"], [2, 1]),
        ([1.0, 2.0], [2, 1]),
        (pl.Series([1, 2], dtype=pl.Int32), pl.Series([2, 1], dtype=pl.UInt64)),
        (pl.Series([1, 2**63 + 1], dtype=pl.UInt64), pl.Series([2**63 + 1, 1], dtype=pl.UInt64)),
        (pl.Series(["1", "2"], dtype=pl.Categorical), ["2", "1"]),
    ],
)
def test_ids_of_different_types_meet(ours: list[object], theirs: list[object]) -> None:
    events = pl.DataFrame({"user": "u", "timestamp": [1, 2], "product_id": ours})
    sessions = sessionize(events, product_ids=pl.Series(theirs), time_unit="s")
    assert [rows.tolist() for rows in sessions.products] == [[1, 0]]


def test_nothing_left_says_why(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    table((1, START, "a"), (2, START, "b"), (2, START, "zz")).write_parquet(path)
    with pytest.raises(InputError) as error:
        sessionize(path, product_ids=pl.Series(["a", "b"]))
    assert str(error.value) == (
        f"{path}: no session has two products (events 3, not_in_catalogue 1, "
        "single_product_sessions 2): give a larger `gap` (it is 0:30:00), or check "
        "`user_column`, `time_column` and `product_column`"
    )
    with pytest.raises(InputError, match=r"none of the visited products .*: 'a' here, '17' there"):
        sessionize(path, product_ids=pl.Series([17, 18]))
    with pytest.raises(InputError, match="there are no events, only columns"):
        sessionize(table((1, START, "a")).clear())
    with pytest.raises(InputError, match=r"no column 'when'.*user, timestamp.*`time_column`"):
        sessionize(path, columns=EventColumns(time="when"))
    with pytest.raises(InputError, match=r"column 'product_id' .List.Int64.. can't hold ids"):
        sessionize(table((1, START, [1])))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv.gz"
    rows = (f"{i},{i},{i * 7919 % 10007}\n" for i in range(20_000))
    pl.DataFrame({"x": ["user,timestamp,product_id\n" + "".join(rows)]}).write_csv(
        path.with_suffix(""), include_header=False, quote_style="never"
    )
    content = gzip.compress(path.with_suffix("").read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"events\.csv\.gz: can't be read"):
        sessionize(path)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the development data sets")
def test_sessions_of_open_ecommerce() -> None:
    path = SHARED / "open_ecommerce" / "purchases.parquet"
    sessions = sessionize(path, "1439m", columns=EventColumns(time="date"))
    assert len(sessions.products) == 47_652
