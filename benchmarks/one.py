"""Latency of one title at a time, as in a service, and of the first vector of a new process.

python benchmarks/one.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import catalogues, fresh_process, record, untrained_weights
from vitrina import TitleEncoder

FIRST = """
import sys
from vitrina import TitleEncoder
encoder = TitleEncoder.load(sys.argv[1])
encoder.transform(["a title of its own"])
"""


def main() -> None:
    source, titles = next(iter(catalogues().items()))
    encoder = TitleEncoder(untrained_weights(titles))
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(Path(folder) / "encoder")
        encoder = TitleEncoder.load(Path(folder) / "encoder")
        latency(source, encoder, titles[:20_000])
        cold_start(Path(folder) / "encoder")


def latency(source: str, encoder: TitleEncoder, titles: list[str]) -> None:
    encoder.transform(titles)
    took = []
    for title in titles:
        start = time.perf_counter()
        encoder.transform([title])
        took.append(time.perf_counter() - start)
    micro = np.array(took) * 1e6
    name = f"{source}: one title"
    record(f"{name}, median", float(np.median(micro)), "µs", goal=50, at_most=True)
    record(f"{name}, p99", float(np.quantile(micro, 0.99)), "µs", goal=150, at_most=True)


def cold_start(encoder: Path) -> None:
    runs = [fresh_process(FIRST, encoder) for _ in range(8)]
    # the first run may compile
    seconds, peaks = zip(*runs[1:], strict=True)
    name = "a fresh process: import, load, encode one title"
    record(f"{name}, median", statistics.median(seconds), "s", goal=0.7, at_most=True)
    record(f"{name}, memory", max(peaks), "MiB", goal=250, at_most=True)


if __name__ == "__main__":
    main()
