"""Vectors through Feast: apply, materialize, join at a time, push, and fetch or compute online.

    python run.py ENCODER [--redis] [--rows N]

Each step compares the vectors with those of the encoder, bit by bit, and the script stops at the
first difference. At the end it measures how long fetched and computed vectors take.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

HERE = Path(__file__).parent
SPRING = datetime(2026, 3, 1, tzinfo=UTC)
SUMMER = datetime(2026, 6, 1, tzinfo=UTC)
RENAMED = 0  # the product whose title changes in summer


def main() -> None:
    """Read the options, and run everything in a folder that is deleted afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", type=Path, help="folder of an encoder")
    parser.add_argument("--redis", action="store_true", help="online store: a redis-server")
    parser.add_argument("--rows", type=int, default=2_000, help="products in the catalogue")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vitrina-feast-") as folder:
        # features.py and the YAML files read these
        os.environ["VITRINA_FEAST_DATA"] = folder
        os.environ["VITRINA_ENCODER"] = str(arguments.encoder.absolute())
        server = redis_server(Path(folder)) if arguments.redis else nullcontext()
        with server:
            run(Path(folder), arguments.rows, "_redis" if arguments.redis else "")


def run(data: Path, rows: int, store_kind: str) -> None:
    """All steps, each with its check."""
    from feast import FeatureStore

    catalogues = write_history(data, rows)
    say(f"history: {rows:,} products in spring, one title changed in summer")

    import features

    store = FeatureStore(HERE, fs_yaml_file=HERE / f"feature_store{store_kind}.yaml")
    store.apply(features.OBJECTS)
    say(f"apply: {features.STORED}, {features.COMPUTED}")

    join_at_a_time(store, catalogues)
    start = time.perf_counter()
    store.materialize(SPRING.replace(month=1), SUMMER.replace(month=12))
    say(f"materialize: {rows:,} vectors in {time.perf_counter() - start:.1f} s")
    summer = catalogues[-1]
    check_online(store, summer["product_id"].to_list(), summer["title"].to_list())
    check_computed(store, summer["title"].to_list()[:100])
    push_a_new_product(store, rows)
    tell_times(store, summer)


def write_history(data: Path, rows: int) -> list[pl.DataFrame]:
    """Write the vector file of spring and the changes of summer; returns both catalogues."""
    from loaded_encoder import encoder

    from vitrina import embed_file, refresh_file
    from vitrina.data.sources import completejourney_tables

    names = pl.read_parquet(completejourney_tables() / "products.parquet")
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    titles = names.select(title.alias("title")).drop_nulls().unique().sort("title")["title"]
    spring = pl.DataFrame({"product_id": range(rows), "title": titles[1 : rows + 1]})
    spring = spring.with_columns(updated_at=pl.lit(SPRING))
    renamed = pl.col("product_id") == RENAMED
    summer = spring.with_columns(
        title=pl.when(renamed).then(pl.lit("ORGANIC APPLE SAUCE 24 OZ")).otherwise("title"),
        updated_at=pl.when(renamed).then(pl.lit(SUMMER)).otherwise("updated_at"),
    )
    history = data / "history"
    history.mkdir()
    vectors, changes = data / "vectors.parquet", data / "changes.parquet"
    embed_file(encoder(), spring, vectors, key_column="product_id", quiet=True)
    shutil.copyfile(vectors, history / "spring.parquet")
    refresh_file(encoder(), summer, vectors, changes=changes, quiet=True)
    # a deleted product has no vector; models that ask for it get its last one
    upserts = pl.read_parquet(changes).filter(pl.col("operation") == "upsert").drop("operation")
    upserts.write_parquet(history / "summer.parquet")
    return [spring, summer]


def join_at_a_time(store: Any, catalogues: list[pl.DataFrame]) -> None:
    """Training data: each label gets the vector that its product had at the time of the label."""
    import features

    spring, summer = catalogues
    ids = [RENAMED, RENAMED, RENAMED, 7]
    times = [SPRING.replace(month=2), SPRING.replace(month=4), SUMMER.replace(month=7)]
    times.append(times[-1])
    labels = pd.DataFrame({"product_id": ids, "event_timestamp": times, "label": [1, 1, 0, 0]})
    feature = f"{features.STORED}:vector"
    joined = store.get_historical_features(entity_df=labels, features=[feature]).to_df()
    joined = joined.sort_values(["product_id", "event_timestamp"])["vector"].to_list()
    # Feast's file store leaves out the first label: its product had no vector yet
    titles = [spring["title"][RENAMED], summer["title"][RENAMED], spring["title"][7]]
    require_equal(joined, titles, "get_historical_features")


def check_online(store: Any, ids: list[int], titles: list[str]) -> None:
    """Fetch all vectors from the online store."""
    require_equal(fetch(store, ids), titles, "get_online_features, fetched")


def check_computed(store: Any, titles: list[str]) -> None:
    """Let the on-demand view compute the vectors of titles."""
    require_equal(compute(store, titles), titles, "get_online_features, computed")


def push_a_new_product(store: Any, product_id: int) -> None:
    """A product of this minute: its vector is pushed, and can be fetched at once."""
    import features
    from loaded_encoder import encoder

    title = "zapatillas running mujer 42"
    row = {
        "product_id": [product_id],
        "updated_at": [SUMMER.replace(month=12)],
        "vector": [encoder().encode([title])[0]],
        "encoder": [features.DIGEST],
    }
    store.push(features.PUSHED, pd.DataFrame(row))
    require_equal(fetch(store, [product_id]), [title], "push")


def fetch(store: Any, ids: list[int]) -> list[Any]:
    """The stored vectors of products."""
    import features

    keys = [{"product_id": product_id} for product_id in ids]
    feature = f"{features.STORED}:vector"
    return store.get_online_features([feature], entity_rows=keys).to_dict()["vector"]


def compute(store: Any, titles: list[str]) -> list[Any]:
    """The vectors of titles, through the on-demand view."""
    import features

    rows = [{"title": title} for title in titles]
    feature = f"{features.COMPUTED}:computed_vector"
    return store.get_online_features([feature], entity_rows=rows).to_dict()["computed_vector"]


def require_equal(vectors: list[Any], titles: list[str], step: str) -> None:
    """Stop unless these are the encoder's vectors of the titles, to the last bit."""
    from loaded_encoder import encoder

    expected = encoder().encode(titles)
    found = np.array([np.asarray(vector, np.float64) for vector in vectors])
    narrow = found.astype(np.float32)
    # Feast returns Python's floats: none of them may have more digits than a float32
    if not (found == narrow).all() or narrow.tobytes() != expected.tobytes():
        raise SystemExit(f"{step}: other vectors than the encoder's")
    say(f"{step}: {len(titles):,} vectors, equal to the last bit")


def tell_times(store: Any, catalogue: pl.DataFrame) -> None:
    """Median time of a request for 1 product and for 100, each time for other products."""
    from loaded_encoder import encoder

    for n in (1, 100):
        ids, titles = [], []
        for seed in range(43):
            products = catalogue.sample(n, seed=seed)
            ids.append(products["product_id"].to_list())
            titles.append(products["title"].to_list())
        fetched = median_ms(lambda batch: fetch(store, batch), ids)
        computed = median_ms(lambda batch: compute(store, batch), titles)
        alone = median_ms(encoder().encode, titles)
        say(
            f"{n} products: fetched {fetched:.2f} ms, computed by the view {computed:.2f} ms, "
            f"by the encoder alone {alone:.3f} ms"
        )


def median_ms(call: Callable[[Any], Any], batches: list[Any]) -> float:
    """Median milliseconds of a call; the first three batches are not counted."""
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        call(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[3:]))


@contextmanager
def redis_server(folder: Path) -> Iterator[None]:
    """A redis-server of our own on a free port of the loopback."""
    if shutil.which("redis-server") is None:
        raise SystemExit("there is no redis-server; apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    os.environ["VITRINA_FEAST_REDIS"] = f"127.0.0.1:{port}"
    try:
        wait_for(port, server)
        yield
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server takes connections."""
    for _ in range(100):
        if server.poll() is not None:
            raise SystemExit("redis-server ended; another program may have taken its port")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("redis-server does not answer")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
