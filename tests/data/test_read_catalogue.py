"""Reading catalogues from real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data.catalogue import Catalogue, CatalogueColumns, read_catalogue
from vitrina.data.tables import normalize_ids
from vitrina.errors import InputError


def views(catalogue: Catalogue) -> dict[object, list[str]]:
    return {
        product: catalogue.titles.gather(rows).to_list()
        for product, rows in zip(catalogue.product_ids, catalogue.product_titles, strict=True)
    }


def categories(catalogue: Catalogue) -> dict[object, str | None]:
    names = [*catalogue.categories.to_list(), None]
    return {
        product: names[row]
        for product, row in zip(catalogue.product_ids, catalogue.product_category, strict=True)
    }


ROWS = pl.DataFrame(
    [
        (7, "Zapato rojo", "shoes"),
        (3, "Mesa", None),
        (None, "Silla", "home"),
        (7, "ZAPATO ROJO", "boots"),
        (5, None, "toys"),
        (5, " \t", "toys"),
        (3, "Mesa", "home"),
        (9, "Mesa", " "),
        (7, "Zapato rojo", "shoes"),
    ],
    schema=["product_id", "title", "category"],
    orient="row",
)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_read_catalogue(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"products.{suffix}"
    if suffix == "parquet":
        ROWS.write_parquet(path)
    elif suffix == "csv":
        ROWS.write_csv(path)
    else:
        ROWS.write_ndjson(path)
    catalogue = read_catalogue(path)
    key = str if suffix == "csv" else int
    assert views(catalogue) == {
        key(7): ["Zapato rojo", "ZAPATO ROJO"],
        key(3): ["Mesa"],
        key(9): ["Mesa"],
    }
    assert categories(catalogue) == {key(7): "shoes", key(3): "home", key(9): None}
    assert catalogue.categories.to_list() == ["home", "shoes"]
    assert catalogue.titles.to_list() == ["Zapato rojo", "Mesa", "ZAPATO ROJO"]
    assert catalogue.product_titles.values.dtype == np.int32
    assert catalogue.product_category.dtype == np.int32
    assert catalogue.counts == {
        "rows": 9,
        "products": 3,
        "titles": 3,
        "categories": 2,
        "null_product": 1,
        "null_title": 2,
        "repeated_row": 2,
        "several_titles": 1,
        "several_categories": 1,
        "without_category": 1,
    }


def test_the_category_column_may_be_absent() -> None:
    table = ROWS.drop("category")
    for columns in (None, CatalogueColumns(category=None)):
        catalogue = read_catalogue(table, columns)
        assert catalogue.product_category.tolist() == [-1, -1, -1]
        assert catalogue.counts["without_category"] == 3
        assert len(catalogue.categories) == 0
    with pytest.raises(InputError, match=r"no column 'domain'.*`category_column`"):
        read_catalogue(table, CatalogueColumns(category="domain"))


def test_categories_of_numbers_and_of_categoricals() -> None:
    table = pl.DataFrame({"product_id": ["a", "b"], "title": ["A", "B"], "category": [10, 9]})
    assert read_catalogue(table).categories.to_list() == ["10", "9"]
    text = pl.col("category", "title").cast(pl.String).cast(pl.Categorical)
    assert read_catalogue(table.with_columns(text)).categories.to_list() == ["10", "9"]
    with pytest.raises(InputError, match="must hold one category a row"):
        read_catalogue(table.with_columns(category=pl.lit([["x"], ["y"]])))


def test_titles_must_be_text(tmp_path: Path) -> None:
    table = pl.DataFrame({"product_id": [1, 2], "title": [9.5, 12.0]})
    with pytest.raises(InputError, match=r"holds no titles but.*9.5.*`title_column`"):
        read_catalogue(table)
    for title in (["a"], b"a", {"es": "a"}):
        with pytest.raises(InputError, match=r"holds no titles but"):
            read_catalogue(pl.DataFrame({"product_id": [1], "title": [title]}))
    table.write_csv(tmp_path / "products.csv")  # in CSV all columns are text
    with pytest.raises(InputError, match=r"products\.csv.*holds no titles but.*9.5"):
        read_catalogue(tmp_path / "products.csv")


def test_ids_as_floats_are_whole_numbers() -> None:
    table = pl.DataFrame({"product_id": [4.0, float("nan"), None, 2.0], "title": list("abcd")})
    assert read_catalogue(table).product_ids.to_list() == [4, 2]
    with pytest.raises(InputError, match=r"'product_id' .Float64. can't hold ids"):
        read_catalogue(table.with_columns(product_id=pl.Series([0.5, 1, 2, 3])))


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_floats_are_ids_only_as_far_as_they_are_exact(dtype: type[pl.DataType]) -> None:
    exact = 2**24 if dtype == pl.Float32 else 2**53
    known = normalize_ids(pl.Series([exact - 1, 1 - exact, None], dtype=dtype), "id", "events.csv")
    assert known.to_list() == [exact - 1, 1 - exact, None]
    for number in (exact, -exact, 1e19, float("inf")):
        with pytest.raises(InputError, match=r"events.csv: column 'id' .* can't hold ids") as error:
            normalize_ids(pl.Series([1, number], dtype=dtype), "id", "events.csv")
        assert "\n" not in str(error.value)


def test_a_catalogue_without_any_product(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("product_id,title\n1,\n,x\n")
    with pytest.raises(InputError, match=r"no row of 2 has a product and a title .1 without pro"):
        read_catalogue(tmp_path / "p.csv")
    (tmp_path / "header.csv").write_text("product_id,title\n")
    with pytest.raises(InputError, match="no row of 0"):
        read_catalogue(tmp_path / "header.csv")


ANY_ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 5),
        st.none() | st.sampled_from(["", " ", "a", "b", "c"]),
        st.none() | st.sampled_from(["", "X", "Y"]),
    ),
    max_size=25,
)
SCHEMA = {"product_id": pl.Int64, "title": pl.String, "category": pl.String}


@settings(deadline=None)
@given(ANY_ROWS, st.sets(st.sampled_from(["a", "b", "zz"])))
def test_catalogue_against_plain_python(
    rows: list[tuple[int | None, str | None, str | None]], banned: set[str]
) -> None:
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    expected_views: dict[int, list[str]] = {}
    expected_categories: dict[int, str | None] = {}
    for product, title, category in rows:
        if product is None or title is None or not title.strip():
            continue
        titles = expected_views.setdefault(product, [])
        if title not in titles:
            titles.append(title)
        expected_categories[product] = expected_categories.get(product) or category or None
    if not expected_views:
        with pytest.raises(InputError):
            read_catalogue(table)
        return
    catalogue = read_catalogue(table)
    assert list(views(catalogue).items()) == list(expected_views.items())
    assert categories(catalogue) == expected_categories
    counts = catalogue.counts
    dropped = counts["null_product"] + counts["null_title"] + counts["repeated_row"]
    assert counts["rows"] - dropped == len(catalogue.product_titles.values)

    left = {p: titles for p, titles in expected_views.items() if not banned & set(titles)}
    if not left:
        with pytest.raises(InputError, match="held-out title"):
            catalogue.without_titles(banned)
        return
    rest = catalogue.without_titles(banned)
    assert list(views(rest).items()) == list(left.items())
    assert categories(rest) == {p: expected_categories[p] for p in left}
    assert set(rest.titles) == {title for titles in left.values() for title in titles}
    assert set(rest.categories) == {expected_categories[p] for p in left} - {None}
    assert rest.counts["held_out"] == len(expected_views) - len(left)
    assert rest.counts["products"] == len(left)
