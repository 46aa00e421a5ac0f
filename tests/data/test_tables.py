"""Reading tables and catalogues from real files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data.stream import add_columns
from vitrina.data.tables import (
    Catalogue,
    CatalogueColumns,
    ids,
    read_catalogue,
    readable,
    require_columns,
    scan,
)
from vitrina.errors import InputError

TABLE = pl.DataFrame({"id": ["1", "2", "3"], "title": ["uno", "dos, más", 'tres "3"']})
CSV = TABLE.write_csv().encode()
TSV = TABLE.write_csv(separator="\t").encode()
JSON_LINES = TABLE.write_ndjson().encode()


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.csv.gz", gzip.compress(CSV)),
        ("a.tsv", TSV),
        ("a.tsv.gz", gzip.compress(TSV)),
        ("a.jsonl", JSON_LINES),
        ("a.ndjson", JSON_LINES),
        ("a.jl", JSON_LINES),
        ("a.json-lines", JSON_LINES),
        ("a.jl.gz", gzip.compress(JSON_LINES)),
    ],
)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert scan(tmp_path / name, "events").collect().equals(TABLE)
    assert scan(str(tmp_path / name), "events").collect().equals(TABLE)


def test_parquet_and_frames(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", TABLE, TABLE.lazy()):
        assert scan(source, "events").collect().equals(TABLE)


def test_several_files_and_globs_keep_their_order(tmp_path: Path) -> None:
    for i in (2, 10, 1):
        (tmp_path / f"part-{i:02}.csv").write_text(f"id\n{i}\n")
    given_order = [tmp_path / "part-10.csv", tmp_path / "part-01.csv"]
    assert scan(given_order, "events").collect()["id"].to_list() == ["10", "1"]
    for pattern in ("part-*.csv", "part-[0-9]?.csv"):
        assert scan(tmp_path / pattern, "events").collect()["id"].to_list() == ["1", "2", "10"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "part-02.csv").write_text("id\n22\n")
    assert scan(f"{tmp_path}/*/part-02.csv", "x").collect()["id"].to_list() == ["22"]
    assert scan(f"{tmp_path}/**/part-02.csv", "x").collect()["id"].to_list() == ["22", "2"]


def test_a_file_named_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("id\n7\n")
    (tmp_path / "a1.csv").write_text("id\n8\n")
    assert scan(tmp_path / "a[1].csv", "events").collect()["id"].to_list() == ["7"]


def test_ids_in_csv_keep_leading_zeros_and_may_turn_to_text_late(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n" + "0525514023\n" * 20_000 + "B07PXGQC1Q\n")
    column = scan(tmp_path / "a.csv", "events").collect()["id"]
    assert column[0] == "0525514023"
    assert column[-1] == "B07PXGQC1Q"


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        scan(tmp_path / "no.csv", "events")
    assert one_line(error) == f"events: {tmp_path / 'no.csv'}: no such file: check the path"
    with pytest.raises(InputError, match=r"catalogue: no file matches .*no\*\.csv"):
        scan(tmp_path / "no*.csv", "catalogue")
    with pytest.raises(InputError, match="titles: no file given"):
        scan([], "titles")


def test_unknown_extensions_folders_empty_and_mixed_files(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.xlsx: unknown extension: use \.parquet, .*\.csv"):
        scan(tmp_path / "a.xlsx", "events")
    (tmp_path / "a.parquet.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"all but Parquet also with .gz"):
        scan(tmp_path / "a.parquet.gz", "events")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(JSON_LINES))
    with pytest.raises(InputError, match=r"parts is a folder: .*parts/\*\.jsonl\.gz"):
        scan(folder, "events")
    for suffix in ("csv", "parquet", "jsonl"):
        (tmp_path / f"empty.{suffix}").touch()
        with pytest.raises(InputError, match=rf"empty\.{suffix} is empty"):
            scan(tmp_path / f"empty.{suffix}", "events")
    (tmp_path / "b.csv").write_bytes(CSV)
    TABLE.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"different formats: .*b\.csv \(CSV\), .*\(Parquet\)"):
        scan(tmp_path / "b.*", "events")


def damaged(folder: Path) -> dict[str, Path]:
    """Files that break off or hold rubbish in the middle, each of another kind."""
    numbers = pl.DataFrame({"id": range(50_000), "title": "x"})
    numbers.write_parquet(folder / "whole.parquet")
    parquet = (folder / "whole.parquet").read_bytes()
    zipped = gzip.compress(numbers.write_csv().encode())
    lines = numbers.head(100).write_ndjson().encode()
    middle = len(parquet) // 4
    files = {
        "truncated.parquet": parquet[:-100],
        "rubbish.parquet": parquet[:100] + b"\xff" * middle + parquet[100 + middle :],
        "notparquet.parquet": b"user,timestamp,product_id\n",
        "truncated.csv.gz": zipped[: len(zipped) // 2],
        "rubbish.csv.gz": zipped[:200] + b"\0" * 500 + zipped[700:],
        "truncated.jsonl": lines[:-10],
        "truncated.jsonl.gz": gzip.compress(lines * 50)[:-100],
        "ragged.csv": b"id,title\n1,a\n2,b,c\n",
        "latin1.csv": "id,title\n1,más\n".encode("latin1"),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    for name, path in damaged(tmp_path).items():
        with pytest.raises(InputError) as error, readable(path):
            scan(path, "events").collect()
        assert f"{path}: can't be read (" in one_line(error), name


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl"])
def test_latin_1_is_told_apart_from_damage(tmp_path: Path, name: str) -> None:
    table = pl.DataFrame({"product_id": ["1", "2"], "title": ["más", "año"]})
    text = table.write_ndjson() if "json" in name else None
    content = (text or table.write_csv(separator="\t" if "tsv" in name else ",")).encode("latin1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError) as error:
        read_catalogue(tmp_path / name)
    assert one_line(error).startswith(f"{tmp_path / name}: can't be read (")
    assert one_line(error).endswith("): save it as UTF-8 (in Excel: 'CSV UTF-8')")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("título,id\n".encode("latin1"), "save it as UTF-8 (in Excel: 'CSV UTF-8')"),
        ("id,título\n1,más\n".encode("utf-16"), "is in UTF-16 or no text: save it as UTF-8"),
        ("id,título\n1,más\n".encode("utf-16-le"), "is in UTF-16 or no text: save it as UTF-8"),
        (
            "id;título\n1;más, muy\n".encode(),
            "no column 'título'; there are: id;título: save it wi",
        ),
        ("id\ttítulo\n1\tmás\n".encode(), "tabs are between the columns: rename it to .tsv"),
    ],
)
def test_a_header_that_shows_how_a_text_was_saved(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        require_columns(scan(path, "catalogue"), {"title": "título"}, path)
    message = one_line(error)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\0" not in message


def test_files_that_may_not_be_read() -> None:
    with TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder, closed = Path(name), Path(name) / "closed"
        closed.mkdir()
        (closed / "a.csv").write_bytes(CSV)
        (folder / "a.csv").write_bytes(CSV)
        (folder / "a.csv").chmod(0)
        closed.chmod(0)
        folder.chmod(0o755)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            for path in (folder / "a.csv", closed / "a.csv", closed):
                with pytest.raises(InputError, match="right to read it") as error:
                    add_columns(path, folder / "out.parquet", "title", dict, title="x", quiet=True)
                assert f"{path}: can't be read (Permission denied" in one_line(error)
        finally:
            if was_root:
                os.seteuid(0)
            closed.chmod(0o700)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"events: .*xx\.csv: can't be read \(File name too long\)"
    ):
        scan(tmp_path / ("x" * 300 + ".csv"), "events")


def test_the_damaged_one_among_several_is_named(tmp_path: Path) -> None:
    bad = damaged(tmp_path)["truncated.csv.gz"]
    (tmp_path / "a.csv").write_bytes(CSV)
    files = [tmp_path / "a.csv", bad]
    with pytest.raises(InputError, match=r"truncated\.csv\.gz: can't be read"), readable(files):
        scan(files, "events").collect()
    # a lazy frame knows its files too
    frame = scan(files, "events").filter(pl.col("id") != "0")
    with pytest.raises(InputError, match=r"truncated\.csv\.gz: can't be read"), readable(frame):
        frame.collect()


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "1.parquet")
    TABLE.rename({"title": "name"}).write_parquet(tmp_path / "2.parquet")
    files = tmp_path / "*.parquet"
    with pytest.raises(InputError) as error, readable(files):
        scan(files, "events").collect()
    assert "1.parquet and 1 more can't be read together" in one_line(error)


def test_require_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    frame = scan(path, "events")
    require_columns(frame, {"product": "id", "title": "title"}, path)
    require_columns(frame, ["id"], path)
    with pytest.raises(InputError) as error:
        require_columns(frame, {"product": "id", "time": "timestamp"}, path)
    assert one_line(error) == (
        f"{path}: no column 'timestamp'; there are: id, title: name it with --time-column"
    )
    with pytest.raises(InputError, match="the table given: no column 'x'"):
        require_columns(TABLE.lazy(), ["x"], TABLE)


# --- catalogues ---


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
    with pytest.raises(InputError, match=r"no column 'domain'.*--category-column"):
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
    with pytest.raises(InputError, match=r"holds no titles but.*9.5.*--title-column"):
        read_catalogue(table)
    for title in (["a"], b"a", {"es": "a"}):
        with pytest.raises(InputError, match=r"holds no titles but"):
            read_catalogue(pl.DataFrame({"product_id": [1], "title": [title]}))
    table.write_csv(tmp_path / "products.csv")  # where all columns are text
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
    known = ids(pl.Series([exact - 1, 1 - exact, None], dtype=dtype), "id", "events.csv")
    assert known.to_list() == [exact - 1, 1 - exact, None]
    for number in (exact, -exact, 1e19, float("inf")):
        with pytest.raises(InputError, match=r"events.csv: column 'id' .* can't hold ids") as error:
            ids(pl.Series([1, number], dtype=dtype), "id", "events.csv")
        one_line(error)


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
