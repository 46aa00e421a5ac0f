"""Vectors in DuckDB: load a vector file, apply the changes of a refresh, search.

python duckdb_store.py ENCODER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
from vector_files import VectorFiles, say, write_files


def main() -> None:
    """Run the recipe in a folder that is deleted afterwards."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(sys.argv[1]), Path(folder))
        with duckdb.connect(str(Path(folder) / "store.duckdb")) as store:
            load(store, files)
            apply_changes(store, files)
            refuse_another_encoder(store)
            check(store, files)


def load(store: duckdb.DuckDBPyConnection, files: VectorFiles) -> None:
    """Make a table that takes vectors of one encoder only, and fill it."""
    width = files.encoder.weights.width
    store.execute(f"""
        create table products (
            product_id bigint primary key,
            title text,
            vector float[{width}] not null,
            encoder text not null check (encoder = '{files.digest}')
        )
    """)
    store.execute(f"insert into products from read_parquet('{files.vectors}')")


def apply_changes(store: duckdb.DuckDBPyConnection, files: VectorFiles) -> None:
    """Apply the change file of `vitrina refresh`."""
    store.execute(f"""
        merge into products
        using read_parquet('{files.changes}') as new
        on products.product_id = new.product_id
        when matched and new.operation = 'delete' then delete
        when matched then update
            set title = new.title, vector = new.vector, encoder = new.encoder
        when not matched and new.operation = 'upsert' then
            insert values (new.product_id, new.title, new.vector, new.encoder)
    """)


def refuse_another_encoder(store: duckdb.DuckDBPyConnection) -> None:
    """The check of the column refuses vectors of another encoder."""
    try:
        store.execute("insert into products select -1, title, vector, 'x' from products limit 1")
    except duckdb.ConstraintException:
        say("a vector of another encoder is refused")
    else:
        raise SystemExit("a vector of another encoder was taken")


def check(store: duckdb.DuckDBPyConnection, files: VectorFiles) -> None:
    """Compare the table with the file, and its neighbours with exact ones."""
    table = store.execute(
        "select product_id, vector from products order by product_id"
    ).fetchnumpy()
    files.require_equal(table["product_id"].tolist(), np.stack(table["vector"]))
    width = files.encoder.weights.width
    nearest = store.execute(
        f"""
        select product_id from products
        order by array_cosine_distance(vector, $query::float[{width}]) limit 10
        """,
        {"query": files.query.tolist()},
    ).fetchall()
    files.require_nearest([product_id for (product_id,) in nearest])


if __name__ == "__main__":
    main()
