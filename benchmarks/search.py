"""Search in a million products: build time, memory, queries per second and recall@10.

    python benchmarks/search.py [ROWS [ENCODER]]

Titles are real ones, each time with one word of another title. The encoder is trained on the shop's
sessions for a minute, unless the folder of one is given: the vectors of an untrained encoder are no
task for a graph. The peer of the scan is faiss's scan of float32 vectors. The peer of the graph is
faiss's HNSW, which searches as far as a recall of 0.95 needs. All get the same queries, in one
batch, and the same threads.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import polars as pl

from bench import OURS, OWN, SHARED, by_turns, catalogues, compare, fresh_process, record
from vitrina import TitleEncoder, TitleIndex
from vitrina.compiled import default_threads
from vitrina.encoder.title_encoder import unit_length

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
ENCODER = Path(sys.argv[2]) if len(sys.argv) > 2 else None
QUERIES = 1_000
ROUNDS = 5
RECALL = 0.95
SCAN, GRAPH = "faiss scan", "faiss HNSW"

TRAIN = """
import sys
from vitrina.cli import main
out, folder = sys.argv[1:]
source = ["open-ecommerce", "--source-dir", folder] if folder != "." else ["completejourney"]
try:
    main(["train", "--source", *source, "--out", out, "--max-minutes", "1"])
except SystemExit as ended:
    assert ended.code == 0
"""
BUILD = """
import sys
from vitrina import TitleEncoder, TitleIndex
encoder, table, out, method = sys.argv[1:]
TitleIndex.build(TitleEncoder.load(encoder), table, method=method).save(out)
"""
OPEN = """
import sys
from vitrina import TitleEncoder, TitleIndex
encoder, index = sys.argv[1:]
TitleIndex.load(index, TitleEncoder.load(encoder)).query(["a title of its own"])
"""


def main() -> None:
    faiss.omp_set_num_threads(default_threads())
    titles = list(varied(ROWS + QUERIES))
    queries = titles[ROWS:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = trained(folder / "encoder")
        table = pl.DataFrame({"product_id": range(ROWS), "title": titles[:ROWS]})
        table.write_parquet(folder / "table.parquet")
        for method in ("exact", "usearch"):
            build(folder, method)
        exact = TitleIndex.load(folder / "exact", encoder)
        graph = TitleIndex.load(folder / "usearch", encoder)
        vectors = unit_length(encoder.encode(titles[:ROWS]))
        asked = unit_length(encoder.encode(queries))
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        similarity, _ = flat.search(asked, 10)
        floor = similarity[:, -1]
        report_recall("scan", found_by(exact, queries), vectors, asked, floor)
        report_recall("graph", found_by(graph, queries), vectors, asked, floor)
        compare(
            f"{ROWS:,} products, scan",
            by_turns(
                {
                    OURS: (QUERIES, lambda: exact.query(asked)),
                    SCAN: (QUERIES, lambda: flat.search(asked, 10)),
                },
                ROUNDS,
            ),
            "queries/s",
            {},
        )
        hnsw = peer_graph(vectors, asked, floor)
        compare(
            f"{ROWS:,} products, graph",
            by_turns(
                {
                    OURS: (QUERIES, lambda: graph.query(asked)),
                    GRAPH: (QUERIES, lambda: hnsw.search(asked, 10)),
                },
                ROUNDS,
            ),
            "queries/s",
            {},
        )
        for what, index in (("scan", exact), ("graph", graph)):
            one_by_one(what, index, queries[:100])


def trained(folder: Path) -> TitleEncoder:
    """The encoder, in a folder."""
    if ENCODER is None:
        shop = SHARED / "open_ecommerce"
        fresh_process(TRAIN, folder, shop if shop.exists() else Path())
    else:
        TitleEncoder.load(ENCODER).save(folder)
    return TitleEncoder.load(folder)


def varied(count: int) -> Iterator[str]:
    """Real titles, in each of which one word is replaced by one of another title."""
    rng = random.Random(0)
    titles = next(iter(catalogues().values()))
    rng.shuffle(titles)
    for i in range(count):
        words = titles[i % len(titles)].split()
        others = rng.choice(titles).split()
        if words and others:
            words[rng.randrange(len(words))] = rng.choice(others)
        yield " ".join(words)


def build(folder: Path, method: str) -> None:
    """Build and save an index, and open it for a first query, each in a new process."""
    name = f"{ROWS:,} products, {method}"
    files = [folder / "encoder", folder / "table.parquet", folder / method]
    seconds, peak = fresh_process(BUILD, *files, Path(method))
    record(f"{name}: build and measure the recall", ROWS / seconds, "rows/s")
    record(f"{name}: build, memory", peak / 1024, "GiB")
    size = sum(file.stat().st_size for file in (folder / method).iterdir())
    record(f"{name}: folder", size / 2**30, "GiB")
    seconds, own = fresh_process(OPEN, folder / "encoder", folder / method, memory=OWN)
    record(f"{name}: open and query once", seconds, "s")
    record(f"{name}: memory besides the mapped files", own / 1024, "GiB")


def found_by(index: TitleIndex, queries: list[str]) -> npt.NDArray[np.int64]:
    found = index.query(queries, 10)
    return found["product_id"].to_numpy().reshape(len(queries), 10)


def recall_of(rows: Any, vectors: Any, asked: Any, floor: Any) -> float:
    """The share of the rows found that are at least as similar as the tenth nearest."""
    similarity = np.einsum("qkd,qd->qk", vectors[rows], asked)
    return float((similarity >= floor[:, None] - 2e-6).mean())


def report_recall(what: str, rows: Any, vectors: Any, asked: Any, floor: Any) -> None:
    recall = recall_of(rows, vectors, asked, floor)
    record(f"{ROWS:,} products, {what}: recall@10", recall, "", goal=RECALL)


def peer_graph(vectors: Any, asked: Any, floor: Any) -> Any:
    """A graph of faiss with as many links, which searches as far as the recall needs."""
    hnsw = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    hnsw.hnsw.efConstruction = 128
    start = time.perf_counter()
    hnsw.add(vectors)
    seconds = time.perf_counter() - start
    record(f"{ROWS:,} products, {GRAPH}: build without encoding", ROWS / seconds, "rows/s")
    for expansion in (16, 32, 64, 128, 256, 512):
        hnsw.hnsw.efSearch = expansion
        recall = recall_of(hnsw.search(asked, 10)[1], vectors, asked, floor)
        if recall >= RECALL:
            break
    record(f"{ROWS:,} products, {GRAPH}: recall@10", recall, "")
    return hnsw


def one_by_one(what: str, index: TitleIndex, queries: list[str]) -> None:
    """The latency of a query from its title."""
    took = []
    for query in queries:
        start = time.perf_counter()
        index.query([query])
        took.append(time.perf_counter() - start)
    name = f"{ROWS:,} products, {what}: one title, median"
    record(name, 1e3 * statistics.median(took), "ms")


if __name__ == "__main__":
    main()
