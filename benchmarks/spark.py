"""vitrina.spark on one machine: vectors against the encoder alone, sessions against polars.

    python benchmarks/spark.py [EVENTS]

Rates are for one core: items per second of processor time, summed over all processes and threads of
Spark, Java and Python. Other load on the machine then matters little. Spark computes all rows of
the result and drops them, except where the name of a figure says otherwise. It needs Java 17 or
newer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import monotonically_increasing_id

from bench import OURS, Work, catalogues, compare, untrained_weights
from sessions import write
from vitrina import TitleEncoder
from vitrina import sessionize as polars_sessionize
from vitrina.compiled import default_threads
from vitrina.spark import embed, sessionize

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
TITLES = 200_000
ROUNDS = 3


def main() -> None:
    cores = default_threads()
    spark = session(cores)
    with tempfile.TemporaryDirectory() as name:
        measure_vectors(spark, Path(name), cores)
        measure_sessions(spark, Path(name))
    spark.stop()


def session(cores: int) -> SparkSession:
    """A local session with a thread for each core."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.driver.memory": "4g",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(4 * cores),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{cores}]")
    for setting, value in settings.items():
        builder = builder.config(setting, value)
    return builder.getOrCreate()


def measure_vectors(spark: SparkSession, folder: Path, cores: int) -> None:
    """Compare `embed` with the encoder alone, which gets the titles in memory."""
    for source, catalogue in catalogues().items():
        titles = (catalogue * (TITLES // len(catalogue) + 1))[:TITLES]
        file = folder / f"{source}.parquet"
        pq.write_table(pa.table({"title": titles}), file, row_group_size=10_000)
        encoder = TitleEncoder(untrained_weights(catalogue), threads=cores)
        encoder.save(folder / "encoder", force=True)
        rows = spark.read.parquet(str(file)).repartition(2 * cores).cache()
        rows.count()
        out = str(folder / "vectors")

        vectors = embed(rows, folder / "encoder")
        contenders: dict[str, Work] = {
            OURS: (TITLES, partial(drop, vectors)),
            "to Parquet": (TITLES, partial(vectors.write.mode("overwrite").parquet, out)),
            "the encoder alone": (TITLES, partial(encode_all, encoder, pl.Series(titles))),
        }
        rates = by_turns_of_processor(contenders)
        name = f"{source}: titles → vectors in Spark, one core"
        compare(name, rates, "titles/s", {})
        rows.unpersist()


def encode_all(encoder: TitleEncoder, titles: pl.Series) -> None:
    """Encode titles in parts as large as those of `embed`."""
    for start in range(0, len(titles), 4_096):
        encoder.encode(titles.slice(start, 4_096))


def measure_sessions(spark: SparkSession, folder: Path) -> None:
    """Compare `sessionize` with that of polars."""
    file = folder / "events.parquet"
    write(file, EVENTS)

    visits = spark.read.parquet(str(file))
    ordered = visits.withColumn("offset", monotonically_increasing_id())
    catalogue = spark.range(1_000_000).toDF("product_id")
    ways = {
        OURS: sessionize(ordered, time_unit="s", order_column="offset"),
        "without order_column": sessionize(visits, time_unit="s"),
        "with a million product_ids": sessionize(
            ordered, time_unit="s", order_column="offset", product_ids=catalogue
        ),
    }
    contenders: dict[str, Work] = {}
    for name, sessions in ways.items():
        contenders[name] = EVENTS, partial(drop, sessions)
    contenders["polars"] = EVENTS, partial(polars_sessionize, file)
    rates = by_turns_of_processor(contenders)
    compare(f"{EVENTS:,} events → sessions in Spark, one core", rates, "events/s", {})


def by_turns_of_processor(contenders: Mapping[str, Work]) -> dict[str, list[float]]:
    """Measure the items per second of processor time of each contender, after an untimed run."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (items, work) in contenders.items():
            work()
            start = processor_seconds()
            work()
            rates[name].append(items / (processor_seconds() - start))
    return rates


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it has started, also indirectly."""
    ticks: dict[int, tuple[int, int]] = {}  # process -> its parent and its time
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            # the fields after the name, which may have blanks; see proc(5)
            fields = file.read_text().rpartition(")")[2].split()
            ticks[int(file.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    total = 0
    for process in ticks:
        ancestor = process
        while ancestor in ticks and ancestor != os.getpid():
            ancestor = ticks[ancestor][0]
        if ancestor == os.getpid():
            total += ticks[process][1]
    return total / os.sysconf("SC_CLK_TCK")


def drop(frame: DataFrame) -> None:
    """Compute all rows of a data frame."""
    frame.write.format("noop").mode("overwrite").save()


if __name__ == "__main__":
    main()
