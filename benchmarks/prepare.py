"""Make the tables of the standing report from the raw data: labels and pre-training data.

    python benchmarks/prepare.py ../shared/data build/tables

Pre-training on Open e-commerce sees none of the tasks' products. Pre-training on The Complete
Journey and on eBay sees the products of training titles; `vitrina evaluate` holds out the others.
eBay's listings have no visits: listings that were found by the same search are used as a session.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from vitrina.data.catalogue import read_catalogue
from vitrina.data.sources import completejourney_tables, load_public_dataset
from vitrina.demo.run import product_table
from vitrina.evaluation.protocol import split_titles
from vitrina.files import atomic_path
from vitrina.hashing import unit_hash
from vitrina.text.normalize import Normalizer

TASKS_SHARE = 0.2  # share of Open e-commerce's titles that are for the tasks
PAGE = 8  # listings of an eBay search in one session
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
    """Make weak sessions from searches.

    A search term is a user, who visits one page of its listings per day. The order of the listings
    depends on their titles alone. The term is also their category.
    """
    listings = pl.read_parquet(data / "listings.parquet").drop_nulls(["title", "search_term"])
    order = [unit_hash("page", title) for title in listings["title"]]
    listings = listings.with_columns(order=pl.Series(order)).sort("search_term", "order")
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    products = listings.select(
        pl.format("ebay {}", number).alias("product_id"), "title", category="search_term"
    )
    write(products, out / "ebay_products.parquet")
    events = listings.select(
        # these events are joined with Open e-commerce's, so their user numbers must differ
        user=1_000_000 + pl.col("search_term").rank("dense").cast(pl.Int32),
        product_id=products["product_id"],
        timestamp=pl.date(2020, 1, 1) + pl.duration(days=number.over("search_term") // PAGE),
    )
    write(events, out / "ebay_events.parquet")


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


def mercado_libre(data: Path, out: Path) -> None:
    """Keep goods with Spanish titles: no houses, no services, and not the Brazilian site."""
    listings = pl.read_parquet(data / "listings_multisite.parquet")
    kept = ~pl.col("category").is_in(["Inmuebles", "Servicios"]) & (pl.col("site") != "MLB")
    write(listings.filter(kept), out / "mercado_libre_tasks.parquet")


def write(table: pl.DataFrame, file: Path) -> None:
    with atomic_path(file) as temporary:
        table.write_parquet(temporary)
    print(f"{file}: {len(table):,} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
