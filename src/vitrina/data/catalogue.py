"""The catalogue: products with their titles and category."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.data.tables import (
    Source,
    as_text,
    describe,
    factorize,
    is_text,
    normalize_ids,
    readable,
    require_columns,
    scan,
)
from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of


@dataclass(frozen=True)
class CatalogueColumns:
    """Names of the columns of a table of products."""

    product: str = "product_id"
    title: str = "title"
    category: str | None = "category"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Products with their titles and category (paper §3.1).

    Attributes
    ----------
    product_ids : Series, any dtype, n_products
        Unique ids in the order of their first appearance.
    titles : Series of String
        Unique raw titles in the order of their first appearance.
    product_titles : Ragged, int32, n_products rows
        Rows of `titles` for every product, in the order of their first appearance. A product may
        appear under several titles: all are kept, each a view of it.
    categories : Series of String
        Names of the distinct categories that a product has here, sorted.
    product_category : array, int32, shape (n_products,)
        Row of `categories`, -1 where no category is known.
    counts
        rows, products, titles, categories; rows dropped: null_product, null_title (also blank
        titles), repeated_row (product and title already listed); products with several_titles,
        several_categories (the first is kept), without_category.
    """

    product_ids: pl.Series
    titles: pl.Series
    product_titles: Ragged
    categories: pl.Series
    product_category: npt.NDArray[np.int32]
    counts: dict[str, int]

    def without_titles(self, titles: Collection[str]) -> Catalogue:
        """A catalogue less every product that carries one of the given raw titles.

        Pre-training uses it to keep clear of the titles of downstream test sets. Titles and
        categories of no remaining product go too. In `counts`, what was counted on reading
        stays; products, titles, categories and the properties of products are of the remaining
        ones, and held_out is the number of products that left.

        Raises
        ------
        InputError
            No product remains.
        """
        banned = self.titles.is_in(pl.Series(list(titles), dtype=pl.String).implode()).to_numpy()
        product = np.repeat(np.arange(len(self.product_ids)), self.product_titles.lengths)
        keep = np.ones(len(self.product_ids), np.bool_)
        keep[product[banned[self.product_titles.values]]] = False
        if not keep.any():
            raise InputError(
                f"each of the {len(keep)} products carries a held-out title: hold out fewer titles"
            )
        views = self.product_titles.take(np.flatnonzero(keep))
        used, values = np.unique(views.values, return_inverse=True)
        category = self.product_category[keep]
        used_categories = np.unique(category[category >= 0])
        known = np.searchsorted(used_categories, category).astype(np.int32)
        kept = Catalogue(
            self.product_ids.filter(pl.Series(keep)),
            self.titles.gather(used),
            Ragged(values.astype(np.int32), views.offsets),
            self.categories.gather(used_categories),
            np.where(category >= 0, known, np.int32(-1)),
            {},
        )
        held_out = self.counts.get("held_out", 0) + int((~keep).sum())
        counts = self.counts | kept._sizes() | {"held_out": held_out}
        return replace(kept, counts=counts)

    def _sizes(self) -> dict[str, int]:
        return {
            "products": len(self.product_ids),
            "titles": len(self.titles),
            "categories": len(self.categories),
            "several_titles": int((self.product_titles.lengths > 1).sum()),
            "without_category": int((self.product_category < 0).sum()),
        }


def read_catalogue(source: Source, columns: CatalogueColumns | None = None) -> Catalogue:
    """Read a catalogue: one row for a product, or several for one with several titles.

    Parameters
    ----------
    source
        See `scan`.
    columns
        Names of the columns. A category column called 'category' (the default) may be absent, or
        may be given as None: then no product has a category.

    Returns
    -------
    Catalogue

    Raises
    ------
    InputError
        See `scan` and `require_columns`; titles are not text; no row has a product and a title.
    """
    columns = columns or CatalogueColumns()
    frame = scan(source, "catalogue")
    name = describe(source)
    with readable(source):
        absent = columns.category not in frame.collect_schema().names()
    wanted = {role: column for role, column in asdict(columns).items() if column is not None}
    if absent and columns.category == CatalogueColumns().category:
        del wanted["category"]
    require_columns(frame, wanted, source)
    with readable(source):
        table = frame.select(**{role: pl.col(column) for role, column in wanted.items()}).collect()

    rows = len(table)
    product = normalize_ids(table["product"], columns.product, name)
    title = table["title"]
    if is_text(title) or title.dtype == pl.Null:
        title = as_text(title)
        known = title.drop_nulls()
        # in CSV all columns are text, so a column of prices, say, shows only in its values
        usable = known.is_empty() or known.cast(pl.Float64, strict=False).null_count() > 0
    else:
        usable = False
    if not usable:
        raise InputError(
            f"{name}: column '{columns.title}' ({title.dtype}) holds no titles but "
            f"{title.drop_nulls().head(1).to_list()}: name the column of titles with "
            "--title-column"
        )
    if "category" in wanted:
        if table["category"].dtype.is_nested() or table["category"].dtype == pl.Binary:
            raise InputError(
                f"{name}: column '{columns.category}' ({table['category'].dtype}) must hold one "
                "category a row: name another with --category-column"
            )
        category = as_text(table["category"])
    else:
        category = pl.Series(dtype=pl.String).extend_constant(None, rows)
    table = pl.DataFrame({"product": product, "title": title, "category": category})

    with_product = table.drop_nulls("product")
    valid = with_product.drop_nulls("title")
    if valid.is_empty():
        raise InputError(
            f"{name}: no row of {rows} has a product and a title ({rows - len(with_product)} "
            f"without product, {len(with_product)} without title): check --product-column and "
            "--title-column"
        )
    product_ids, product_rows = factorize(valid["product"])
    titles, title_rows = factorize(valid["title"])
    codes = pl.DataFrame({"product": product_rows, "title": title_rows, "name": valid["category"]})
    views = codes.select("product", "title").unique(maintain_order=True)
    views_of = views.sort("product", maintain_order=True)
    lengths = np.bincount(views_of["product"].to_numpy(), minlength=len(product_ids))

    listed = codes.select("product", "name").drop_nulls().unique(maintain_order=True)
    first = listed.unique("product", keep="first", maintain_order=True)
    categories = first["name"].unique().sort().alias("category")
    product_category = np.full(len(product_ids), -1, np.int32)
    product_category[first["product"].to_numpy()] = categories.search_sorted(first["name"])

    catalogue = Catalogue(
        product_ids.alias("product_id"),
        titles.alias("title"),
        Ragged(views_of["title"].to_numpy().astype(np.int32), offsets_of(lengths)),
        categories,
        product_category,
        {},
    )
    counts = {
        "rows": rows,
        "null_product": rows - len(with_product),
        "null_title": len(with_product) - len(valid),
        "repeated_row": len(valid) - len(views),
        "several_categories": len(
            listed.filter(pl.col("product").is_duplicated()).unique("product")
        ),
    }
    return replace(catalogue, counts=counts | catalogue._sizes())
