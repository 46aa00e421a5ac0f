"""Sessions from a Parquet file of events to files on disk: rate and peak memory.

    python benchmarks/sessions.py [EVENTS]

There are a fifth as many users as events, and a million products, some of them much more popular
than others. Events are in the order of time, as in a log. The peer is straightforward pandas code.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import OURS, compare, fresh_process, record

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000_000
PLAIN = 3_000_000  # events of the comparison with pandas, which would take minutes for all

SESSIONIZE = """
import sys
import numpy as np
from vitrina import sessionize
sessions = sessionize(sys.argv[1])
np.save(sys.argv[2] + ".values.npy", sessions.products.values)
np.save(sys.argv[2] + ".offsets.npy", sessions.products.offsets)
"""
PANDAS = """
import sys
import numpy as np
import pandas as pd
events = pd.read_parquet(sys.argv[1]).sort_values(["user", "timestamp"], kind="stable")
pause = events.groupby("user")["timestamp"].diff()
session = (pause.isna() | (pause > 1800)).cumsum()
events = events.assign(session=session).drop_duplicates(["session", "product_id"])
events = events[events.groupby("session").cumcount() < 10]
size = events.groupby("session")["product_id"].transform("size")
events = events[size > 1]
lengths = events.groupby("session").size().to_numpy()
np.save(sys.argv[2] + ".values.npy", events["product_id"].to_numpy())
np.save(sys.argv[2] + ".offsets.npy", np.concatenate([[0], lengths.cumsum()]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "all.parquet", EVENTS)
        files = folder / "all.parquet", folder / "all"
        runs = [fresh_process(SESSIONIZE, *files) for _ in range(5)]
        took, peaks = zip(*runs, strict=True)
        title = f"{EVENTS:,} events, Parquet to sessions"
        record(f"{title}, median of 5", EVENTS / statistics.median(took), "events/s", goal=3e6)
        record(f"{title}, slowest of 5", EVENTS / max(took), "events/s")
        record(f"{title}, memory", max(peaks) / 1024, "GiB", goal=4, at_most=True)
        write(folder / "some.parquet", PLAIN)
        rates: dict[str, list[float]] = {OURS: [], "pandas": []}
        for _ in range(3):
            for way, program in ((OURS, SESSIONIZE), ("pandas", PANDAS)):
                seconds, _ = fresh_process(program, folder / "some.parquet", folder / way)
                rates[way].append(PLAIN / seconds)
        lengths = [np.load(folder / f"{way}.offsets.npy")[-1] for way in rates]
        assert lengths[0] == lengths[1], lengths  # both keep the same number of visits
        compare(f"{PLAIN:,} events, Parquet to sessions", rates, "events/s", {})


def write(path: Path, events: int) -> None:
    """Write random events, five million at a time to save memory."""
    rng = np.random.default_rng(0)
    users = max(1, events // 5)
    schema = pa.schema({"user": pa.int64(), "timestamp": pa.int64(), "product_id": pa.int64()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, events, 5_000_000):
            n = min(5_000_000, events - start)
            # users come back soon, which makes sessions of a few visits
            first = rng.integers(0, users, n)
            again = np.where(rng.random(n) < 0.7, np.roll(first, rng.integers(1, 20)), first)
            time = 1_700_000_000 + (start + np.arange(n)) // 50
            product = (1_000_000 * rng.random(n) ** 3).astype(np.int64)
            writer.write_table(pa.table([again, time, product], schema=schema))


if __name__ == "__main__":
    main()
