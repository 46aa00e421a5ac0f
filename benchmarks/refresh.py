"""Refresh a vector file after 1 % of the titles changed, compared with embedding everything again.

    python benchmarks/refresh.py [ROWS [FILTERS]]

A catalogue has one new, one deleted and ten changed rows in a thousand. Both commands run in a
process of their own, and their files must be equal. The vectors have 8 · FILTERS numbers; there are
128 filters by default. A million rows of this size need 8 GB of disk space. To measure memory with
ten million rows, give 32 filters: 20 GB.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from bench import catalogues, fresh_process, record
from vitrina import Normalizer, TitleEncoder, TitleTokenizer
from vitrina.encoder.weights import initial_weights
from vitrina.files import file_digest

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
FILTERS = int(sys.argv[2]) if len(sys.argv) > 2 else 128
ROUNDS = 3 if ROWS <= 1_000_000 else 1

COMMAND = """
import sys
from vitrina.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0
"""


def main() -> None:
    titles = [title for some in catalogues().values() for title in some]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = untrained(titles)
        encoder.save(folder / "encoder")
        before = catalogue(titles)
        before.write_parquet(folder / "before.parquet", row_group_size=100_000)
        edited(before).write_parquet(folder / "after.parquet", row_group_size=100_000)
        del before
        rates, ratios, peaks = [], [], []
        for _ in range(ROUNDS):
            embed(folder, "before", "vectors")
            refreshed, peak = refresh(folder)
            full, full_peak = embed(folder, "after", "full")
            digests = {file_digest(folder / f"{which}.parquet") for which in ("vectors", "full")}
            assert len(digests) == 1, "the refreshed file is not that of a full run"
            (folder / "full.parquet").unlink()
            rates.append((ROWS / refreshed, ROWS / full))
            ratios.append(full / refreshed)
            peaks.append((peak, full_peak))
        sizes = [(folder / f"{which}.parquet").stat().st_size for which in ("changes", "vectors")]
        report(rates, ratios, peaks, encoder.weights.width)
        record(f"{caption(encoder.weights.width)}, change file", sizes[0] / sizes[1], "of the file")


def untrained(titles: list[str]) -> TitleEncoder:
    """Return an encoder of the given number of filters. Training does not change its speed."""
    tokenizer = TitleTokenizer.train(titles[:100_000], Normalizer("en"))
    with_words = tokenizer.with_word_vectors(titles[:60_000], 4 * FILTERS)
    return TitleEncoder(initial_weights(with_words, filters=FILTERS))


def catalogue(titles: list[str]) -> pl.DataFrame:
    rows = np.arange(ROWS)
    title = pl.Series(titles).gather(rows % len(titles))
    return pl.DataFrame({"product_id": rows, "title": title, "price": rows % 1000 / 10})


def edited(table: pl.DataFrame) -> pl.DataFrame:
    """Change ten titles in a thousand, leave out one, and add one."""
    part = pl.Series(np.random.default_rng(0).integers(0, 1000, len(table)))
    changed = pl.when(part < 10).then(pl.col("title") + " new").otherwise("title")
    table = table.with_columns(title=changed).filter(part != 10)
    added = pl.int_range(ROWS, ROWS + ROWS // 1000, eager=True)
    return pl.concat([table, table.head(len(added)).with_columns(product_id=added)])


def embed(folder: Path, source: str, out: str) -> tuple[float, float]:
    files = folder / "encoder", folder / f"{source}.parquet"
    return command("embed", *files, "--out", folder / f"{out}.parquet", "--key", "product_id")


def refresh(folder: Path) -> tuple[float, float]:
    files = folder / "encoder", folder / "after.parquet"
    outputs = folder / "vectors.parquet", "--changes", folder / "changes.parquet"
    return command("refresh", *files, "--vectors", *outputs)


def command(*arguments: str | Path) -> tuple[float, float]:
    """Run a command of vitrina; returns its seconds and its peak memory in MiB."""
    return fresh_process(COMMAND, *map(Path, arguments), Path("--force"), Path("--quiet"))


def caption(width: int) -> str:
    return f"refresh of {ROWS:,} rows of {width:,} numbers, 1 % changed"


def report(
    rates: list[tuple[float, float]],
    ratios: list[float],
    peaks: list[tuple[float, float]],
    width: int,
) -> None:
    name = caption(width)
    refreshed, full = np.median(rates, axis=0)
    record(name, refreshed, "rows/s", peer="full run", peer_value=full, ratios=ratios)
    refresh_peak, full_peak = np.max(peaks, axis=0) / 1024
    record(f"{name}, memory", refresh_peak, "GiB", peer="full run", peer_value=full_peak)


if __name__ == "__main__":
    main()
