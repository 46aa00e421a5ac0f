"""Make the tables of the standing report from the raw data: labels and pre-training data.

    python benchmarks/prepare.py ../shared/data build/tables

Pre-training on Open e-commerce sees none of its tasks' products. Pre-training on the other shops
sees the products of training titles; `vitrina evaluate` holds out the others. Listings of eBay and
of Mercado Libre have no visits: listings of one search or of one category are used as a session.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from vitrina.data.catalogue import read_catalogue
from vitrina.data.sources import completejourney_tables, load_public_dataset
from vitrina.demo.demo_products import product_table
from vitrina.evaluation.protocol import split_titles
from vitrina.files import atomic_path
from vitrina.hashing import unit_hash
from vitrina.text.normalize import Normalizer

TASKS_SHARE = 0.2  # share of Open e-commerce's titles that are for the tasks
PAGE = 8  # listings of one search or category in a session
EBAY_USERS = 1_000_000  # eBay's events are joined with Open e-commerce's: other user numbers
# Categories that need a licence, that are sold to adults only, or that couriers refuse. They stand
# for listings that a marketplace forbids.
RESTRICTED = [
    "MEDICATION",
    "OTC_MEDICATION",
    "ANIMAL_MEDICATION",
    "ABIS_DRUGSTORE",
    "SYRINGE",
    "MEDICAL_TEST_STRIP",
    "NUTRITIONAL_SUPPLEMENT",
    "HERBAL_SUPPLEMENT",
    "MINERAL_SUPPLEMENT",
    "DIETARY_SUPPLEMENTS",
    "ANIMAL_NUTRITIONAL_SUPPLEMENT",
    "PROTEIN_SUPPLEMENT_POWDER",
    "VITAMIN",
    "ANIMAL_VITAMIN",
    "PESTICIDE",
    "PEST_CONTROL_DEVICE",
    "PET_PEST_CONTROL",
    "INSECT_REPELLENT",
    "WEED_MOSS_CONTROL_AGENT",
    "KITCHEN_KNIFE",
    "KNIFE",
    "UTILITY_KNIFE",
    "SWORD",
    "AIR_GUN",
    "AIR_GUN_PROJECTILE",
    "ELECTROSHOCK_WEAPON",
    "MECHANICAL_LIGHTER",
    "LIGHTER_FLUID",
    "SOLID_FIRE_FUEL",
    "ALCOHOLIC_BEVERAGE",
    "SEXUAL_STIMULATION_DEVICE",
    "SEXUAL_WELLNESS",
]


def main(data: Path, out: Path) -> None:
    open_ecommerce(data / "open_ecommerce", out)
    ebay(data / "ebay", out)
    complete_journey(out)
    online_retail(data / "online_retail.parquet", out)
    mercado_libre(data / "mercadolibre", out)


def open_ecommerce(data: Path, out: Path) -> None:
    products = pl.read_parquet(data / "products.parquet").drop_nulls("title")
    purchases = pl.read_parquet(data / "purchases.parquet")
    by_user = purchases.group_by("product_id", "user").agg(days=pl.col("date").n_unique())
    facts = purchases.group_by("product_id").agg(price=pl.col("price").median())
    facts = facts.join(
        by_user.group_by("product_id").agg(repeat=(pl.col("days") >= 2).any()), on="product_id"
    )
    keys = Normalizer("en")(products["title"])
    parts = split_titles(keys, {"tasks": TASKS_SHARE, "pretraining": 1 - TASKS_SHARE}, seed=1)
    tasks = products[parts["tasks"]].join(facts, on="product_id", how="left", maintain_order="left")
    write(
        tasks.with_columns(restricted=pl.col("category").is_in(RESTRICTED)).with_columns(
            # products that were free or bought with points have no price to predict
            log_price_usd=pl.when(pl.col("price") > 0).then(pl.col("price")).log()
        ),
        out / "open_ecommerce_tasks.parquet",
    )
    write(products[parts["pretraining"]], out / "open_ecommerce_products.parquet")
    write(
        purchases.select("user", "product_id", timestamp="date"),
        out / "open_ecommerce_events.parquet",
    )


def ebay(data: Path, out: Path) -> None:
    """Use the listings of one search as weak sessions; the search term is also their category."""
    listings = pl.read_parquet(data / "listings.parquet").drop_nulls(["title", "search_term"])
    listings = listings.select("title", category="search_term")
    write_weak_sessions(listings, "ebay", EBAY_USERS, out)


def write_weak_sessions(listings: pl.DataFrame, name: str, first_user: int, out: Path) -> None:
    """Write listings as products, and pages of the listings of one category as sessions.

    A category is a user, who visits one page of its listings per day. The order of the listings
    depends on their titles alone. A listing without a category is in no session.
    """
    order = [unit_hash("page", title) for title in listings["title"]]
    listings = listings.with_columns(order=pl.Series(order)).sort("category", "order")
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    listings = listings.with_columns(product_id=pl.format("{} {}", pl.lit(name), number))
    write(listings.select("product_id", "title", "category"), out / f"{name}_products.parquet")
    events = listings.drop_nulls("category").select(
        user=first_user + pl.col("category").rank("dense").cast(pl.Int32),
        product_id="product_id",
        timestamp=pl.date(2020, 1, 1) + pl.duration(days=number.over("category") // PAGE),
    )
    write(events, out / f"{name}_events.parquet")


def complete_journey(out: Path) -> None:
    source = load_public_dataset("completejourney")
    catalogue = read_catalogue(source.products)
    table = product_table(catalogue)
    bought = pl.scan_parquet(completejourney_tables() / "transactions.parquet")
    paid = bought.filter(pl.col("quantity") > 0, pl.col("sales_value") > 0)
    price = paid.group_by("product_id").agg(
        unit_price=(pl.col("sales_value") / pl.col("quantity")).median()
    )
    table = table.join(price.collect(), on="product_id", how="left", maintain_order="left")
    write(
        table.with_columns(
            private_label=pl.col("brand") == "Private",
            repeat=pl.col("purchases") / pl.col("households") >= 1.5,
        ),
        out / "complete_journey_tasks.parquet",
    )
    write(
        table.select("product_id", "title", "category"), out / "complete_journey_products.parquet"
    )
    write(source.events.collect(), out / "complete_journey_events.parquet")


def online_retail(file: Path, out: Path) -> None:
    """Use the invoices of a gift wholesaler as users, so that each is a session.

    Cancelled invoices and rows without a price are left out: their descriptions are remarks on
    damage and the like. So are postage, fees and vouchers, whose codes don't start with 5 digits.
    """
    is_good = pl.col("StockCode").str.contains(r"^\d{5}")
    paid = (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0)
    is_cancelled = pl.col("InvoiceNo").str.starts_with("C")
    rows = pl.read_parquet(file).filter(is_good, paid, ~is_cancelled)
    rows = rows.drop_nulls("Description").with_columns(
        product_id=pl.col("StockCode").str.to_uppercase(),
        title=pl.col("Description").str.strip_chars(),
    )
    # a product's title is its most frequent description
    titles = rows.group_by("product_id", "title").len()
    titles = titles.sort("product_id", "len", "title", descending=[False, True, False])
    titles = titles.unique("product_id", keep="first", maintain_order=True).drop("len")
    write(titles, out / "online_retail_products.parquet")
    facts = rows.group_by("product_id").agg(price_gbp=pl.col("UnitPrice").median())
    # of invoices without a customer, nobody knows whether they are repeat purchases
    by_customer = rows.drop_nulls("CustomerID").group_by("product_id")
    repeats = by_customer.agg(
        repeat=pl.col("InvoiceNo").n_unique() / pl.col("CustomerID").n_unique() >= 1.25
    )
    tasks = titles.join(facts, on="product_id", maintain_order="left")
    tasks = tasks.join(repeats, on="product_id", how="left", maintain_order="left")
    write(tasks, out / "online_retail_tasks.parquet")
    events = rows.select(
        "product_id", user="InvoiceNo", timestamp=pl.col("InvoiceDate").str.to_datetime()
    )
    write(events, out / "online_retail_events.parquet")


def mercado_libre(data: Path, out: Path) -> None:
    """Use Argentine listings of one category as weak sessions; the tasks are on other countries'.

    The category of the tasks' listings is the label of a task, so pre-training doesn't see it.
    These listings get their site as category, and are in no session.
    """
    listings = pl.read_parquet(data / "listings_multisite.parquet")
    # goods with Spanish titles: no houses, no services, and not the Brazilian site
    kept = ~pl.col("category").is_in(["Inmuebles", "Servicios"]) & (pl.col("site") != "MLB")
    listings = listings.filter(kept)
    write(listings, out / "mercado_libre_tasks.parquet")
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    products = listings.select(
        pl.format("mercado libre {}", number).alias("product_id"), "title", category="site"
    )
    write(products, out / "mercado_libre_products.parquet")

    argentina = pl.read_parquet(data / "listings_argentina.parquet")
    levels = [f"category_{level}" for level in range(1, 5)]
    path = pl.concat_str(levels, separator=" > ", ignore_nulls=True)
    # without any level, the path would be an empty text
    argentina = argentina.select("title", category=pl.when(path != "").then(path))
    write_weak_sessions(argentina, "mercado_libre_argentina", 0, out)


def write(table: pl.DataFrame, file: Path) -> None:
    with atomic_path(file) as temporary:
        table.write_parquet(temporary)
    print(f"{file}: {len(table):,} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
