"""Embed a catalogue from Parquet to Parquet with the command line: rate and peak memory.

    python benchmarks/embed.py [ROWS]

Ten million rows write 40 GB. Give a smaller number if there is less disk space.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench import catalogues, fresh_process, record, untrained_weights
from vitrina import TitleEncoder

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000

EMBED = """
import sys
from vitrina.cli import main
encoder, catalogue, vectors = sys.argv[1:]
try:
    main(["embed", encoder, catalogue, "--out", vectors])
except SystemExit as ended:
    assert ended.code == 0
"""


def main() -> None:
    titles = [title for some in catalogues().values() for title in some]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TitleEncoder(untrained_weights(titles)).save(folder / "encoder")
        table = pa.table({"product_id": range(len(titles)), "title": titles})
        with pq.ParquetWriter(folder / "catalogue.parquet", table.schema) as writer:
            for start in range(0, ROWS, len(titles)):
                writer.write_table(table.slice(0, ROWS - start), row_group_size=100_000)
        files = [folder / "encoder", folder / "catalogue.parquet", folder / "vectors.parquet"]
        seconds, peak = fresh_process(EMBED, *files)
        assert pl.scan_parquet(files[2]).select(pl.len()).collect().item() == ROWS
        name = f"{ROWS:,} rows, Parquet to Parquet"
        record(name, ROWS / seconds, "rows/s")
        record(f"{name}, memory", peak / 1024, "GiB", goal=1.5, at_most=True)


if __name__ == "__main__":
    main()
