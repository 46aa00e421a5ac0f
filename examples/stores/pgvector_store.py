"""Vectors in PostgreSQL with pgvector: load, apply the changes of a refresh, index, search.

python pgvector_store.py ENCODER [CONNECTION]

Without a connection such as postgresql:///shop, it starts the server of the package pgserver.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
from pgvector.psycopg import register_vector
from vector_files import VectorFiles, say, write_files


def main() -> None:
    """Run the recipe in a folder that is deleted afterwards."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(sys.argv[1]), Path(folder))
        if len(sys.argv) > 2:
            run(sys.argv[2], files)
            return
        import pgserver

        server = pgserver.get_server(Path(folder) / "database")
        try:
            run(server.get_uri(), files)
        finally:
            server.cleanup()


def run(connection: str, files: VectorFiles) -> None:
    """All steps, in a schema of their own that is dropped afterwards."""
    with psycopg.connect(connection, autocommit=True) as store:
        store.execute("create extension if not exists vector")
        store.execute("drop schema if exists vitrina_example cascade")
        store.execute("create schema vitrina_example")
        store.execute("set search_path to vitrina_example, public")
        register_vector(store)
        version = store.execute("select extversion from pg_extension where extname = 'vector'")
        say(f"PostgreSQL {store.info.server_version // 10_000}, pgvector {version.fetchone()[0]}")
        load(store, files)
        apply_changes(store, files)
        refuse_another_encoder(store)
        check(store, files)
        store.execute("drop schema vitrina_example cascade")


def load(store: psycopg.Connection[Any], files: VectorFiles) -> None:
    """Make a table that takes vectors of one encoder only, and fill it."""
    store.execute(f"""
        create table products (
            product_id bigint primary key,
            title text,
            vector vector({files.encoder.weights.width}) not null,
            encoder text not null check (encoder = '{files.digest}')
        )
    """)
    copy_into(store, "products", pl.read_parquet(files.vectors))


def copy_into(store: psycopg.Connection[Any], table: str, rows: pl.DataFrame) -> None:
    """Copy rows in PostgreSQL's binary form, which keeps each bit of the vectors."""
    columns = ["product_id", "title", "vector", "encoder"]
    rows = rows.select(columns)
    copying = f"copy {table} ({', '.join(columns)}) from stdin with (format binary)"
    with store.cursor().copy(copying) as copy:
        copy.set_types(["int8", "text", "vector", "text"])
        for product_id, title, vector, encoder in rows.iter_rows():
            copy.write_row((product_id, title, np.array(vector, np.float32), encoder))


def apply_changes(store: psycopg.Connection[Any], files: VectorFiles) -> None:
    """Apply the change file of `vitrina refresh` in one transaction."""
    changes = pl.read_parquet(files.changes)
    deleted = changes.filter(pl.col("operation") == "delete")["product_id"].to_list()
    with store.transaction():
        store.execute("create temporary table upserts (like products) on commit drop")
        copy_into(store, "upserts", changes.filter(pl.col("operation") == "upsert"))
        store.execute("delete from products where product_id = any(%s)", [deleted])
        store.execute("""
            insert into products select * from upserts
            on conflict (product_id) do update set
                title = excluded.title, vector = excluded.vector, encoder = excluded.encoder
        """)


def refuse_another_encoder(store: psycopg.Connection[Any]) -> None:
    """The check of the column refuses vectors of another encoder."""
    try:
        store.execute("insert into products select -1, title, vector, 'x' from products limit 1")
    except psycopg.errors.CheckViolation:
        say("a vector of another encoder is refused")
    else:
        raise SystemExit("a vector of another encoder was taken")


def check(store: psycopg.Connection[Any], files: VectorFiles) -> None:
    """Compare the table with the file, and its neighbours with exact ones, without an index."""
    table = store.execute("select product_id, vector from products order by product_id").fetchall()
    ids = [product_id for product_id, _ in table]
    files.require_equal(ids, np.stack([as_array(vector) for _, vector in table]))
    nearest = "select product_id from products order by vector <=> %s limit 10"
    exact = [row[0] for row in store.execute(nearest, [files.query]).fetchall()]
    files.require_nearest(exact)
    store.execute("create index on products using hnsw (vector vector_cosine_ops)")
    store.execute("set enable_seqscan = off")  # a planner would scan so small a table
    found = [row[0] for row in store.execute(nearest, [files.query]).fetchall()]
    say(f"with an HNSW index: {len(set(found) & set(exact))} of the 10 nearest")


def as_array(vector: Any) -> np.ndarray:
    """A vector of pgvector as an array; newer versions of its package return an own class."""
    return vector if isinstance(vector, np.ndarray) else vector.to_numpy()


if __name__ == "__main__":
    main()
