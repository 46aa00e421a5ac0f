"""The products of the demo: facts about their purchases, tasks, neighbours and a map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from vitrina.data.catalogue import Catalogue
from vitrina.data.sources import completejourney_tables
from vitrina.encoder.title_encoder import unit_length
from vitrina.evaluation.task import Task


def product_table(catalogue: Catalogue) -> pl.DataFrame:
    """Return one row for each product of the catalogue, with facts about its purchases.

    Returns
    -------
    DataFrame
        The columns product_id, title, category, department, type, brand, purchases and households
        (null for products without purchases); rows in the catalogue's order.
    """
    data = completejourney_tables()
    described = pl.scan_parquet(data / "products.parquet").select(
        "product_id", "department", "brand", type="product_type"
    )
    bought = (
        pl.scan_parquet(data / "transactions.parquet")
        .group_by("product_id")
        .agg(purchases=pl.len(), households=pl.col("household_id").n_unique())
    )
    # a product without a category has the number -1, which becomes null
    category = catalogue.categories.gather(pl.Series(np.maximum(catalogue.product_category, 0)))
    # some products have several titles: the first stands for the product
    first_title = catalogue.product_titles.values[catalogue.product_titles.offsets[:-1]]
    rows = pl.DataFrame(
        {
            "product_id": catalogue.product_ids,
            "title": catalogue.titles.gather(first_title),
            "category": category.set(pl.Series(catalogue.product_category < 0), None),
        }
    )
    for other in (described, bought):
        rows = rows.join(other.collect(), on="product_id", how="left", maintain_order="left")
    return rows


def tasks(products: pl.DataFrame) -> list[Task]:
    """Return the demo's two tasks; their rows are those of the products.

    ``private_label``
        Whether the product's brand is 'Private' (the shop's own), not 'National'.
    ``repeat_purchase``
        Whether a product has 1.5 or more purchases per household that bought it. Products without
        purchases are left out.

    Parameters
    ----------
    products : DataFrame
        From `product_table`, with the column test (bool).
    """
    labels = products.select(
        private_label=pl.col("brand") == "Private",
        repeat_purchase=pl.col("purchases") / pl.col("households") >= 1.5,
    )
    test = products["test"]
    found = []
    for label in labels:
        labelled = label.is_not_null()
        # no validation rows: settings are defaults or chosen by cross-validation
        found.append(
            Task(
                label.name,
                "binary",
                products["title"].to_list(),
                label.fill_null(False).to_numpy(),
                train=(labelled & ~test).arg_true().cast(pl.Int64).to_numpy(),
                validation=np.empty(0, np.int64),
                test=(labelled & test).arg_true().cast(pl.Int64).to_numpy(),
            )
        )
    return found


def nearest(
    products: pl.DataFrame, vectors: npt.NDArray[np.float32], queries: int = 6, k: int = 3
) -> pl.DataFrame:
    """Find the nearest titles, by cosine, of the most bought title of each large department.

    Only the nearest title of each other product type is kept: to any encoder, 'MILK 1 GA' is near
    'MILK 2 GA'.

    Parameters
    ----------
    products : DataFrame of n rows
        From `product_table`.
    vectors : ndarray of shape (n, d), float32
    queries : int, default 6
        Number of departments.
    k : int, default 3
        Number of neighbours of each title.

    Returns
    -------
    DataFrame
        The columns title, neighbour and cosine.
    """
    unit = unit_length(vectors)
    # one row for each title, with the sum of its products' purchases
    numbered = products.with_row_index("row").drop_nulls(["type", "department", "purchases"])
    titles = numbered.group_by("title", maintain_order=True).agg(
        pl.first("row", "type", "department"), pl.sum("purchases")
    )
    titles = titles.with_columns(size=pl.len().over("department"))
    # the most bought title of each of the largest departments
    most_bought = titles.sort("purchases", descending=True, maintain_order=True).unique(
        "department", keep="first", maintain_order=True
    )
    chosen = most_bought.sort("size", descending=True, maintain_order=True).head(queries)
    found = []
    # of each other type the nearest title; then the nearest types
    for row, kind, title in chosen.select("row", "type", "title").iter_rows():
        near = (
            titles.with_columns(cosine=unit[titles["row"].to_numpy()] @ unit[row])
            .filter(pl.col("type") != kind)
            .sort("cosine", descending=True)
            .unique("type", keep="first", maintain_order=True)
            .head(k)
        )
        found.append(near.select(pl.lit(title).alias("title"), neighbour="title", cosine="cosine"))
    return pl.concat(found)


def flat(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Map vectors of unit length to the plane: PCA to 50 dimensions, then t-SNE.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32
        Vectors of any length; they are normalised first.
    seed : int

    Returns
    -------
    ndarray of shape (n, 2), float32
    """
    # t-SNE's threads wait for each other: on a busy machine, one thread is 5 times as fast
    with threadpool_limits(1):
        fifty = PCA(50, random_state=seed).fit_transform(unit_length(vectors))
        plane = TSNE(2, init="pca", random_state=seed, max_iter=500)
        points: npt.NDArray[np.float32] = plane.fit_transform(fifty)
    return points
