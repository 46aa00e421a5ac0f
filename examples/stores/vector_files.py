"""What the recipes start from: a vector file, and the changes of a refresh."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina import TitleEncoder, embed_file, refresh_file
from vitrina.data.sources import completejourney_tables

ROWS = 5_000
QUERY = "chocolate milk 1 gal"


@dataclass(frozen=True)
class VectorFiles:
    """Files in a folder, and what a store must hold in the end.

    Attributes
    ----------
    encoder : TitleEncoder
    vectors : Path
        Written by `vitrina embed`.
    changes : Path
        Written by `vitrina refresh`: upserts and deletes.
    after : Path
        What `vectors` became by the refresh.
    """

    encoder: TitleEncoder
    vectors: Path
    changes: Path
    after: Path

    @property
    def digest(self) -> str:
        """The digest of the encoder."""
        return self.encoder.weights.digest

    @property
    def query(self) -> npt.NDArray[np.float32]:
        """The vector of a title that a person searches for."""
        vector: npt.NDArray[np.float32] = self.encoder.encode([QUERY])[0]
        return vector

    def require_equal(self, ids: list[int], vectors: npt.NDArray[np.float32]) -> None:
        """Stop unless a store has the keys and vectors of `after`, to the last bit."""
        table = pl.read_parquet(self.after).sort("product_id")
        if ids != table["product_id"].to_list():
            raise SystemExit("the store has other products")
        if vectors.astype(np.float32).tobytes() != table["vector"].to_numpy().tobytes():
            raise SystemExit("the store has other vectors")
        say(f"{len(ids):,} vectors, equal to the last bit")

    def require_nearest(self, ids: list[int], k: int = 10) -> None:
        """Stop unless these are the products nearest to the query, by exact cosines."""
        table = pl.read_parquet(self.after)
        vectors = table["vector"].to_numpy().astype(np.float64)
        cosines = vectors @ self.query.astype(np.float64)
        cosines /= np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)
        row = dict(zip(table["product_id"].to_list(), range(len(table)), strict=True))
        found = np.array([cosines[row[product_id]] for product_id in ids])
        # products with the same vector may come in any order
        if not np.allclose(found, np.sort(cosines)[::-1][:k], atol=1e-6):
            raise SystemExit("the store finds other products")
        say(f"nearest to '{QUERY}': {table['title'][row[ids[0]]]}")


def write_files(encoder: Path, folder: Path) -> VectorFiles:
    """Embed a catalogue, and refresh it: of 5,000 products, some are renamed, gone or new."""
    model = TitleEncoder.load(encoder)
    products = pl.read_parquet(completejourney_tables() / "products.parquet")
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    titles = products.select(title.alias("title"))["title"].unique().drop_nulls().sort()
    known = pl.DataFrame({"product_id": range(ROWS), "title": titles[1 : ROWS + 1]})
    renamed = pl.col("product_id") % 100 == 0
    title = pl.when(renamed).then(pl.col("title") + " new").otherwise("title")
    today = known.with_columns(title=title)
    added = pl.DataFrame({"product_id": [ROWS], "title": [QUERY.upper()]})
    today = pl.concat([today.filter(pl.col("product_id") % 100 != 1), added])
    files = VectorFiles(
        model, folder / "vectors.parquet", folder / "changes.parquet", folder / "after.parquet"
    )
    for path in (files.vectors, files.after):
        embed_file(model, known, path, key_column="product_id", quiet=True)
    counts = refresh_file(model, today, files.after, changes=files.changes, quiet=True)
    say(f"refreshed: {counts}")
    return files


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
