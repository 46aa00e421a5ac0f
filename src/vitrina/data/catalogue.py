"""The catalogue: products with their titles and categories."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

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
    read_columns,
    readable,
    require_columns,
    scan,
)
from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of


@dataclass(frozen=True)
class CatalogueColumns:
    """Names of the columns of a table of products.

    Attributes
    ----------
    product, title : str
    category : str or None
        None if the products have no category.
    """

    product: str = "product_id"
    title: str = "title"
    category: str | None = "category"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Products with their titles and categories (paper §3.1).

    Attributes
    ----------
    product_ids : Series of length n_products
        Unique ids, of any dtype, in the order of their first appearance.
    titles : Series of String
        Unique raw titles in the order of their first appearance.
    product_titles : Ragged of n_products rows, int32
        Rows of `titles` for every product, in the order of their first appearance. If a product
        appears under several titles, all are kept, and each is a view of the product.
    categories : Series of String
        Names of the distinct categories of the products, sorted.
    product_category : ndarray of shape (n_products,), int32
        Row of `categories` for every product; -1 if its category is unknown.
    counts : dict of str to int
        ``rows``, ``products``, ``titles`` and ``categories``. Dropped rows: ``null_product``,
        ``null_title`` (also blank titles) and ``repeated_row`` (an earlier row has the same product
        and title). Products with ``several_titles``, with ``several_categories`` (the first is
        kept), and ``without_category``.
    """

    product_ids: pl.Series
    titles: pl.Series
    product_titles: Ragged
    categories: pl.Series
    product_category: npt.NDArray[np.int32]
    counts: dict[str, int]

    def without_titles(self, titles: Collection[str]) -> Catalogue:
        """Remove every product that has one of the given titles.

        Pre-training uses it to exclude the titles of downstream test sets. Titles and categories
        that no remaining product has are removed, too.

        Parameters
        ----------
        titles : collection of str
            Raw titles.

        Returns
        -------
        Catalogue
            Its `counts` describe the remaining products, except for the counts of rows, which
            stay as they were after reading, and ``held_out``, the number of removed products.

        Raises
        ------
        InputError
            If no product remains.
        """
        banned = self.titles.is_in(pl.Series(list(titles), dtype=pl.String).implode()).to_numpy()
        # the product of every view
        product = np.repeat(np.arange(len(self.product_ids)), self.product_titles.lengths)
        keep = np.ones(len(self.product_ids), np.bool_)
        keep[product[banned[self.product_titles.values]]] = False
        if not keep.any():
            raise InputError(
                f"each of the {len(keep)} products has a held-out title: hold out fewer titles"
            )
        # number the titles and categories that are still used, from 0
        views = self.product_titles.take(np.flatnonzero(keep))
        used_titles, title_rows = np.unique(views.values, return_inverse=True)
        category = self.product_category[keep]
        used_categories = np.unique(category[category >= 0])
        category_rows = np.searchsorted(used_categories, category).astype(np.int32)
        remaining = Catalogue(
            self.product_ids.filter(pl.Series(keep)),
            self.titles.gather(used_titles),
            Ragged(title_rows.astype(np.int32), views.offsets),
            self.categories.gather(used_categories),
            np.where(category >= 0, category_rows, np.int32(-1)),
            {},
        )
        held_out = self.counts.get("held_out", 0) + int((~keep).sum())
        counts = self.counts | remaining._sizes() | {"held_out": held_out}
        return replace(remaining, counts=counts)

    def _sizes(self) -> dict[str, int]:
        return {
            "products": len(self.product_ids),
            "titles": len(self.titles),
            "categories": len(self.categories),
            "several_titles": int((self.product_titles.lengths > 1).sum()),
            "without_category": int((self.product_category < 0).sum()),
        }


def read_catalogue(source: Source, columns: CatalogueColumns | None = None) -> Catalogue:
    """Read a catalogue: one row for each product, or several for one with several titles.

    Parameters
    ----------
    source : path, list of paths, or polars frame
        See `scan`.
    columns : CatalogueColumns, optional
        Names of the columns. If the category column has its default name, 'category', it may be
        absent; then no product has a category.

    Returns
    -------
    Catalogue

    Raises
    ------
    InputError
        If the table can't be read or a column is missing (see `scan` and `require_columns`), if
        the titles are not text, or if no row has both a product and a title.
    """
    columns = columns or CatalogueColumns()
    where = describe(source)
    table = _read_columns(source, columns)
    product = normalize_ids(table["product"], columns.product, where)
    title = _as_titles(table["title"], columns.title, where)
    if "category" in table.columns:
        category = _as_categories(table["category"], columns.category, where)
    else:
        category = pl.Series(dtype=pl.String).extend_constant(None, len(table))
    table = pl.DataFrame({"product": product, "title": title, "category": category})

    with_product = table.drop_nulls("product")
    valid = with_product.drop_nulls("title")
    without_product = len(table) - len(with_product)
    without_title = len(with_product) - len(valid)
    if valid.is_empty():
        raise InputError(
            f"{where}: no row of {len(table)} has a product and a title ({without_product} "
            f"without product, {without_title} without title): check `product_column` and "
            "`title_column`"
        )
    counts = {
        "rows": len(table),
        "null_product": without_product,
        "null_title": without_title,
    }
    catalogue = _build(valid)
    return replace(catalogue, counts=counts | catalogue.counts | catalogue._sizes())


def _read_columns(source: Source, columns: CatalogueColumns) -> pl.DataFrame:
    """Read the columns product, title and, unless it may be absent and is, category."""
    frame = scan(source, "catalogue")
    with readable(source):
        existing = frame.collect_schema().names()
    wanted = {"product": columns.product, "title": columns.title}
    has_default_name = columns.category == CatalogueColumns().category
    if columns.category is not None and (columns.category in existing or not has_default_name):
        wanted["category"] = columns.category
    require_columns(frame, wanted, source)
    return read_columns(frame, wanted, source)


def _as_titles(title: pl.Series, name: str | None, where: str) -> pl.Series:
    """Titles as text, null where blank; InputError if the column holds something else."""
    is_usable = False
    if is_text(title.dtype) or title.dtype == pl.Null:
        title = as_text(title)
        known = title.drop_nulls()
        # all columns of CSV files are text, so a column of prices shows only by its values
        is_usable = known.is_empty() or known.cast(pl.Float64, strict=False).null_count() > 0
    if not is_usable:
        raise InputError(
            f"{where}: column '{name}' ({title.dtype}) holds no titles but "
            f"{title.drop_nulls().head(1).to_list()}: name the column of titles with "
            "`title_column`"
        )
    return title


def _as_categories(category: pl.Series, name: str | None, where: str) -> pl.Series:
    """Categories as text, null where blank; InputError if a row may hold several."""
    if category.dtype.is_nested() or category.dtype == pl.Binary:
        raise InputError(
            f"{where}: column '{name}' ({category.dtype}) must hold one category a row: name "
            "another with `category_column`"
        )
    return as_text(category)


def _build(table: pl.DataFrame) -> Catalogue:
    """The catalogue of a table without null products and titles.

    Its counts are only those of repeated rows and of products with several categories.
    """
    product_ids, product_rows = factorize(table["product"])
    titles, title_rows = factorize(table["title"])
    codes = pl.DataFrame(
        {"product": product_rows, "title": title_rows, "category": table["category"]}
    )

    # the distinct titles of every product, in the order of their first appearance
    views = codes.select("product", "title").unique(maintain_order=True)
    views_by_product = views.sort("product", maintain_order=True)
    lengths = np.bincount(views_by_product["product"].to_numpy(), minlength=len(product_ids))
    product_titles = Ragged(
        views_by_product["title"].to_numpy().astype(np.int32), offsets_of(lengths)
    )

    # a product's category is the first that is known
    listed = codes.select("product", "category").drop_nulls().unique(maintain_order=True)
    first = listed.unique("product", keep="first", maintain_order=True)
    categories = first["category"].unique().sort()
    product_category = np.full(len(product_ids), -1, np.int32)
    product_category[first["product"].to_numpy()] = categories.search_sorted(first["category"])

    several_categories = listed.filter(pl.col("product").is_duplicated()).unique("product")
    return Catalogue(
        product_ids.alias("product_id"),
        titles.alias("title"),
        product_titles,
        categories,
        product_category,
        {
            "repeated_row": len(table) - len(views),
            "several_categories": len(several_categories),
        },
    )
