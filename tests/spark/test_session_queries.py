"""Sessions by Spark against those by polars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrina.data.sessions import EventColumns, Sessions
from vitrina.data.sessions import sessionize as polars_sessionize
from vitrina.data.sources import load_public_dataset
from vitrina.errors import InputError
from vitrina.pretraining import settings as training
from vitrina.pretraining.from_tables import train_from_tables
from vitrina.spark import sessionize

# The clocks of New York, the session's time zone, go back from 2:00 to 1:00 on this day.
START = datetime(2024, 11, 3, tzinfo=UTC)
READY = EventColumns(user="session", time="position")


def frame(spark: Any, table: pl.DataFrame) -> Any:
    signed = table.with_columns(pl.col(pl.UInt32).cast(pl.Int64))  # Spark has no others
    # else times without a zone would be read in the session's
    spark.conf.set("spark.sql.timestampType", "TIMESTAMP_NTZ")
    made = spark.createDataFrame(signed.to_arrow(compat_level=pl.CompatLevel.oldest()))
    spark.conf.unset("spark.sql.timestampType")
    return made


def of_spark(result: Any) -> Counter[tuple[Any, ...]]:
    """The sessions' products, and a check of the positions and of the users."""
    rows = result.collect()
    sessions: dict[str, dict[int, Any]] = {}
    users: dict[str, set[Any]] = {}
    for row in rows:
        sessions.setdefault(row.session, {})[row.position] = row.product_id
        users.setdefault(row.session, set()).add(row.user)
    assert len(rows) == sum(map(len, sessions.values()))
    for session, products in sessions.items():
        assert sorted(products) == list(range(len(products)))
        (user,) = users[session]
        assert session.rpartition("-")[0] == str(user)
    return Counter(tuple(products[i] for i in sorted(products)) for products in sessions.values())


def of_polars(sessions: Sessions) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(sessions.product_ids.gather(rows).to_list()) for rows in sessions.products)


def expected(events: pl.DataFrame, *rest: Any, **options: Any) -> Counter[tuple[Any, ...]]:
    """The sessions of polars; none where it refuses a table without sessions."""
    try:
        return of_polars(polars_sessionize(events, *rest, **options))
    except InputError:
        return Counter()


def as_number(per_second: int) -> Callable[[pl.Expr], pl.Expr]:
    return lambda time: (
        time.dt.epoch("us") * max(per_second // 10**6, 1) // (max(10**6 // per_second, 1))
    )


# how a column of times is made from UTC, and its `time_unit`
TIMES: dict[str, tuple[Callable[[pl.Expr], pl.Expr], str | None]] = {
    "timestamp": (lambda time: time, None),
    "timestamp_ntz": (lambda time: time.dt.replace_time_zone(None), None),
    "s": (as_number(1), "s"),
    "ms": (as_number(10**3), "ms"),
    "us": (as_number(10**6), "us"),
    "ns": (as_number(10**9), "ns"),
}
VISITS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "v-1", "", None]),
        st.integers(0, 24),
        st.sampled_from([*range(8), None]),
    ),
    min_size=20,
    max_size=80,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    visits=VISITS,
    kind=st.sampled_from(sorted(TIMES)),
    minutes=st.sampled_from([9, 10, 30]),
    max_products=st.integers(2, 4),
    known=st.none() | st.sets(st.integers(0, 9)),
    seed=st.integers(0, 9),
)
def test_sessions_are_those_of_polars(
    spark: Any,
    visits: list[tuple[Any, int, Any]],
    kind: str,
    minutes: int,
    max_products: int,
    known: set[int] | None,
    seed: int,
) -> None:
    rows: list[tuple[Any, ...]] = [
        (user, START + timedelta(minutes=10 * t), product) for user, t, product in visits
    ]
    # times that are missing, stand for none, or lie outside the years that count
    wrong = [None, datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
    for time in [*wrong, datetime(2101, 1, 1, tzinfo=UTC)]:
        rows += [("u", time, 1), ("u", time, 2)]
    convert, time_unit = TIMES[kind]
    schema: dict[str, Any] = {
        "user": pl.String,
        "timestamp": pl.Datetime("us", "UTC"),
        "product_id": pl.Int64,
    }
    events = pl.DataFrame(rows, schema, orient="row").with_columns(convert(pl.col("timestamp")))
    product_ids = None if known is None else pl.Series("id", sorted(known), dtype=pl.Int64)
    wanted = expected(events, minutes, max_products, product_ids=product_ids, time_unit=time_unit)
    # Spark gets the rows in another order, with the order in a column
    shuffled = events.with_row_index("row").sample(fraction=1, shuffle=True, seed=seed)
    catalogue = None if product_ids is None else frame(spark, product_ids.to_frame())
    visits_of_spark = frame(spark, shuffled)
    assert kind in (time_unit, visits_of_spark.schema["timestamp"].dataType.simpleString())
    result = sessionize(
        visits_of_spark,
        minutes,
        max_products,
        product_ids=catalogue,
        time_unit=time_unit,
        order_column="row",
    )
    assert of_spark(result) == wanted


@pytest.mark.parametrize("kind", ["timestamp", "timestamp_ntz"])
def test_the_time_zone_of_the_session_has_no_influence(spark: Any, kind: str) -> None:
    """The visits are ten minutes apart in UTC, through the hour that New York has twice."""
    times = [START + timedelta(minutes=10 * i) for i in range(60)]
    events = pl.DataFrame({"user": "u", "timestamp": times, "product_id": range(60)})
    convert, _ = TIMES[kind]
    visits = frame(spark, events.with_columns(convert(pl.col("timestamp"))))
    assert of_spark(sessionize(visits, "10m", 60)) == {tuple(range(60)): 1}
    assert of_spark(sessionize(visits, "9m59s", 60)) == {}


def test_a_visit_outside_the_catalogue_bridges_a_pause(spark: Any) -> None:
    times = [START + timedelta(minutes=20 * i) for i in range(3)]
    events = pl.DataFrame({"user": "u", "timestamp": times, "product_id": ["a", "unknown", "b"]})
    catalogue = frame(spark, pl.DataFrame({"id": ["b", "a"]}))
    result = sessionize(frame(spark, events), "30m", product_ids=catalogue)
    assert of_spark(result) == {("a", "b"): 1}


def test_dates(spark: Any) -> None:
    days = [date(2024, 3, 9), date(2024, 3, 10), date(2024, 3, 11), date(2024, 3, 13)]
    events = pl.DataFrame({"user": 1, "timestamp": days, "product_id": [1, 2, 3, 4]})
    both = pl.concat([events, events.with_columns(pl.col("product_id") + 4)])
    for gap in ("1439m", "1d", "2d"):
        assert of_spark(
            sessionize(frame(spark, both.with_row_index("row")), gap, order_column="row")
        ) == expected(both, gap)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([1, 2], ["2", "1"]),
        (["1", "2"], [2, 1]),
        (pl.Series([1, 2], dtype=pl.Int16), [2, 1, None, 1]),
        (["a", "b"], ["b", "", "a", None]),
    ],
)
def test_ids_of_different_types_meet(spark: Any, ours: Any, theirs: Any) -> None:
    events = pl.DataFrame({"user": "u", "timestamp": [START, START], "product_id": ours})
    catalogue = frame(spark, pl.DataFrame({"id": theirs}))
    result = sessionize(frame(spark, events), product_ids=catalogue)
    assert of_spark(result) == {tuple(events["product_id"]): 1}
    assert (
        result.schema["product_id"].dataType == frame(spark, events).schema["product_id"].dataType
    )


def test_ties_without_an_order_are_in_the_order_of_the_products(spark: Any) -> None:
    products = [5, 3, 9, 1, 7]
    events = pl.DataFrame({"user": "u", "timestamp": START, "product_id": products})
    assert of_spark(sessionize(frame(spark, events), max_products=3)) == {(1, 3, 5): 1}


def test_the_first_of_several_visits_at_once_counts(spark: Any) -> None:
    events = pl.DataFrame(
        {"user": "u", "timestamp": START, "product_id": [7, 3, 7], "offset": [2, 1, 0]}
    )
    result = sessionize(frame(spark, events), order_column="offset")
    assert of_spark(result) == {(7, 3): 1}


def test_names_of_columns_stay(spark: Any) -> None:
    events = pl.DataFrame({"shopper": [1, 1], "when": START, "sku": ["a", "b"], "page": "x"})
    columns = EventColumns("shopper", "when", "sku")
    result = sessionize(frame(spark, events), columns=columns)
    assert result.columns == ["session", "position", "shopper", "when", "sku"]
    assert result.collect()[1].asDict() == {
        "session": "1-1",
        "position": 1,
        "shopper": 1,
        "when": result.collect()[0].when,
        "sku": "b",
    }


@pytest.fixture(scope="module")
def complete_journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the visits and the catalogue of The Complete Journey."""
    folder = tmp_path_factory.mktemp("complete-journey")
    data = load_public_dataset("completejourney")
    time = pl.col("timestamp").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    events = data.events.with_columns(time).with_row_index("row").collect()
    events.write_parquet(folder / "events.parquet")
    data.products.collect().write_parquet(folder / "products.parquet")
    return folder


def test_complete_journey_and_training_on_sessions_of_spark(
    spark: Any,
    complete_journey: Path,
    small_sizes: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = complete_journey / "events.parquet"
    products = pl.read_parquet(complete_journey / "products.parquet")
    # half of the catalogue, so that many visits are to unknown products
    some = products.filter(pl.col("product_id").hash(0) % 2 == 0)
    some.write_parquet(tmp_path / "products.parquet")
    catalogue = spark.read.parquet(str(tmp_path / "products.parquet")).select("product_id")
    result = sessionize(spark.read.parquet(str(events)), product_ids=catalogue, order_column="row")
    result.write.parquet(str(tmp_path / "sessions"))

    wanted = polars_sessionize(events, product_ids=some["product_id"].unique())
    assert wanted.counts["sessions"] > 50_000
    assert wanted.counts["not_in_catalogue"] > 500_000
    ready = str(tmp_path / "sessions" / "*.parquet")
    read = polars_sessionize(ready, columns=READY, time_unit="s")
    assert of_polars(read) == of_polars(wanted)
    assert read.counts["products"] == read.counts["events"]  # nothing is dropped twice

    # the first users only, because training on all takes minutes
    few = pl.scan_parquet(ready).filter(pl.col("user") < 20).collect()
    few.write_parquet(tmp_path / "few.parquet")
    encoder = train_from_tables(
        tmp_path / "few.parquet",
        tmp_path / "products.parquet",
        tmp_path / "encoder",
        training.preset("default", epochs=1, **small_sizes),
        event_columns=READY,
        time_unit="s",
        threads=1,
    )
    assert encoder.encode(["milk"]).any()
    sessions = few["session"].n_unique()
    assert f"sessions {sessions:,}" in capsys.readouterr().err


def test_mistakes_are_told_before_a_job_starts(spark: Any) -> None:
    events = frame(spark, pl.DataFrame({"user": "u", "timestamp": [START], "product_id": 1}))
    cases: list[tuple[str, dict[str, Any]]] = [
        ("`gap` is '0m'; it must be a positive duration", {"gap": "0m"}),
        ("`max_products` is 1; a pair needs", {"max_products": 1}),
        ("`time_unit` is 'h'; it must be one of s, ms", {"time_unit": "h"}),
        (
            "`events`: no column 'when'; there are: user, timestamp, product_id: name it with "
            "`columns.time`",
            {"columns": EventColumns(time="when")},
        ),
        ("no column 'offset'; .* name it with `order_column`", {"order_column": "offset"}),
        (
            "can't hold times: convert it",
            {"columns": EventColumns("product_id", "user", "timestamp")},
        ),
        (
            "'product_id' .int. holds numbers: set `time_unit`",
            {"columns": EventColumns("timestamp", "product_id", "user")},
        ),
        (
            "`events`: column 'timestamp' .timestamp. can't hold ids",
            {"columns": EventColumns("user", "product_id", "timestamp"), "time_unit": "s"},
        ),
        (
            "`product_ids` has the columns user, timestamp, product_id; give the ids alone",
            {"product_ids": events},
        ),
        (
            "`product_ids`: column 'timestamp' .* can't hold ids",
            {"product_ids": events.select("timestamp")},
        ),
        (
            "`product_ids` is of type Series; it must be a Spark data frame",
            {"product_ids": pl.Series([1])},
        ),
    ]
    for message, options in cases:
        with pytest.raises(InputError, match=message) as error:
            sessionize(events, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="`events` is of type DataFrame; it must be a Spark data"):
        sessionize(pl.DataFrame())  # type: ignore[arg-type]
    twice = events.select("*", events["user"].alias("user"))
    with pytest.raises(InputError, match="`events`: has 2 columns 'user': rename or drop one"):
        sessionize(twice)
    with pytest.raises(InputError, match="the columns 'Session' and 'session', which are one"):
        sessionize(events.withColumnRenamed("user", "Session"), columns=EventColumns("Session"))


def test_numbers_are_read_to_the_tick(spark: Any) -> None:
    """A gap of 1 s joins visits that are 10^9 ns apart, but not visits that are one more apart."""
    first = 1_700_000_000 * 10**9
    times = np.array([first, first + 10**9, first + 2 * 10**9 + 1, first + 3 * 10**9 + 1])
    events = pl.DataFrame({"user": "u", "timestamp": times, "product_id": [1, 2, 3, 4]})
    result = sessionize(frame(spark, events), "1s", time_unit="ns")
    assert of_spark(result) == {(1, 2): 1, (3, 4): 1}
