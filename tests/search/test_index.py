"""The index: against a dictionary, brute force and its own folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError, MissingExtraError
from vitrina.search.index import Method, TitleIndex
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def titles(grocery_titles: list[str]) -> list[str]:
    return [title for title in grocery_titles if title.strip()][:600]


@pytest.fixture(scope="module")
def table(titles: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "product_id": [f"p{i}" for i in range(600)],
            "title": titles,
            "category": [["drinks", "food", None][i % 3] for i in range(600)],
            "price": [i % 7 + 0.5 for i in range(600)],
            "stock": [i % 5 for i in range(600)],
            "new": [i % 2 == 0 for i in range(600)],
        }
    )


KEPT = ("category", "price", "stock", "new")


@pytest.fixture(scope="module")
def index(encoder: TitleEncoder, table: pl.DataFrame) -> TitleIndex:
    return TitleIndex.build(encoder, table, columns=KEPT)


def brute_force(
    encoder: TitleEncoder, titles: Sequence[str], query: str
) -> list[tuple[float, int]]:
    """(cosine, row), best first."""
    vectors = unit_length(encoder.encode([query, *titles]).astype(float))
    cosines = vectors[1:] @ vectors[0]
    return [(float(cosines[row]), row) for row in np.argsort(-cosines, kind="stable")]


@pytest.mark.parametrize("k", [1, 10, 1_000])
def test_equals_brute_force(
    encoder: TitleEncoder, table: pl.DataFrame, index: TitleIndex, k: int
) -> None:
    queries = ["apple sauce 24 oz", "orange juice"]
    found = index.query(queries, k)
    assert found.columns == ["query", "similarity", *table.columns]
    for number, query in enumerate(queries):
        expected = brute_force(encoder, table["title"].to_list(), query)[:k]
        rows = found.filter(query=number)
        similarity = [cosine for cosine, _ in expected]
        np.testing.assert_allclose(rows["similarity"], similarity, atol=3e-5)
        floor = similarity[-1] - 3e-5
        allowed = {f"p{row}" for cosine, row in expected if cosine >= floor}
        assert k < 600 or set(rows["product_id"]) == allowed
        assert rows.join(table, on=table.columns, how="inner", nulls_equal=True).height == len(rows)
    assert index.recall == 1.0


def test_titles_and_vectors_give_the_same(encoder: TitleEncoder, index: TitleIndex) -> None:
    by_title = index.query(["apple juice", "dog food"], 5)
    assert index.query(encoder.encode(["apple juice", "dog food"]), 5).equals(by_title)
    assert index.query("dog food", 5).drop("query").equals(by_title.filter(query=1).drop("query"))


def test_a_filter_leaves_what_has_the_value(table: pl.DataFrame, index: TitleIndex) -> None:
    conditions: list[tuple[dict[str, Any], pl.Expr]] = [
        ({"category": "food"}, pl.col("category") == "food"),
        ({"category": None}, pl.col("category").is_null()),
        ({"stock": 3}, pl.col("stock") == 3),
        ({"stock": "3", "new": "true"}, (pl.col("stock") == 3) & pl.col("new")),
        ({"new": False}, ~pl.col("new")),
        ({"price": np.float64(2.5)}, pl.col("price") == 2.5),
        ({"stock": "many"}, pl.lit(False)),
        ({"category": "cars"}, pl.lit(False)),
        ({"product_id": "p7"}, pl.col("product_id") == "p7"),
    ]
    for where, expected in conditions:
        found = index.query("apple", 600, where)
        assert set(found["product_id"]) == set(table.filter(expected)["product_id"]), where
    with pytest.raises(InputError, match="no column 'colour'; it has: product_id, title, cat"):
        index.query("apple", where={"colour": "red"})


def test_equal_titles_keep_the_order_of_the_index(encoder: TitleEncoder) -> None:
    table = pl.DataFrame({"product_id": range(300), "title": ["dog food"] * 300})
    index = TitleIndex.build(encoder, table)
    assert index.query("dog food", 20)["product_id"].to_list() == list(range(20))
    index.upsert(table[:5])
    assert index.query("dog food", 300)["product_id"].to_list() == [*range(5, 300), *range(5)]


def test_a_query_without_a_known_word_finds_nothing(index: TitleIndex) -> None:
    titles = ["qxzw vvkq", "apple", "", "!?", "qxzw apple"]
    assert index.unknown_queries(titles) == {0, 2, 3}
    assert set(index.query(titles, 2)["query"]) == {1, 4}
    assert index.query("qxzw").is_empty()


def test_a_word_of_the_titles_is_known(encoder: TitleEncoder) -> None:
    table = pl.DataFrame({"product_id": [1], "title": ["The QXZW, 3 pcs"]})
    index = TitleIndex.build(encoder, table)
    assert index.unknown_queries(["qxzw", "QXZW!", "qxz", "vvkq"]) == {2, 3}
    assert index.query("Qxzw")["product_id"].to_list() == [1]
    assert index.recall is None  # there is no other title to find


# ids are few, so that changes meet
CHANGES = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"),
            st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40)), max_size=8),
        ),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 12), max_size=6)),
        st.tuples(st.just("save"), st.just([])),
    ),
    max_size=8,
)


@pytest.mark.parametrize("method", ["exact", "usearch"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
def test_changes_equal_those_of_a_dictionary(
    encoder: TitleEncoder,
    titles: list[str],
    tmp_path: Path,
    method: Method,
    changes: list[tuple[str, list[Any]]],
) -> None:
    if method == "usearch":
        pytest.importorskip("usearch")
    twin = {3: titles[0]}
    index = TitleIndex.build(
        encoder, pl.DataFrame({"product_id": [3], "title": [twin[3]]}), method=method
    )
    for kind, what in changes:
        if kind == "save":
            index.save(tmp_path / "index", force=True)
            index = TitleIndex.load(tmp_path / "index", encoder)
        elif kind == "delete":
            assert index.delete(what) == len({*what} & {*twin})
            for product in what:
                twin.pop(product, None)
        else:
            rows = [(product, titles[title]) for product, title in what]
            new = {product for product, _ in rows} - {*twin}
            schema = {"product_id": pl.Int64, "title": pl.String}
            counts = index.upsert(pl.DataFrame(rows, schema, orient="row"))
            assert counts["added"] == len(new)
            for product, title in rows:
                twin.pop(product, None)  # a changed product comes last
                twin[product] = title
        check_equal(encoder, index, twin)


def check_equal(encoder: TitleEncoder, index: TitleIndex, twin: dict[int, str]) -> None:
    """Every product is found, by its exact cosine, and of equal ones the older first."""
    assert len(index) == len(twin)
    found = index.query("apple juice 64 oz", 100)
    assert dict(found.select("product_id", "title").iter_rows()) == twin
    if not twin:
        return
    products, titles = list(twin), list(twin.values())
    ranked = brute_force(encoder, titles, "apple juice 64 oz")
    cosines = {products[row]: cosine for cosine, row in ranked}
    expected = [cosines[product] for product in found["product_id"]]
    np.testing.assert_allclose(found["similarity"], expected, atol=3e-5)
    place = {product: number for number, product in enumerate(products)}
    rows = list(found.select("similarity", "product_id").iter_rows())
    assert rows == sorted(rows, key=lambda row: (-row[0], place[row[1]]))


def test_a_saved_index_is_the_same(
    encoder: TitleEncoder, table: pl.DataFrame, index: TitleIndex, tmp_path: Path
) -> None:
    index.save(tmp_path / "index")
    loaded = TitleIndex.load(tmp_path / "index", encoder)
    assert loaded.query("apple", 600).equals(index.query("apple", 600))
    assert loaded.query("apple", 600).schema == index.query("apple", 600).schema
    assert (loaded.recall, loaded.method, loaded.columns) == (1.0, "exact", table.columns)
    with pytest.raises(InputError, match="exists already"):
        index.save(tmp_path / "index")
    # an index replaces itself, although its vectors are mapped from the folder
    loaded.delete(["p1"])
    loaded.save(tmp_path / "index", force=True)
    again = TitleIndex.load(tmp_path / "index")
    assert len(again) == 599
    assert again.query(encoder.encode(["apple"]), 600).equals(loaded.query("apple", 600))
    with pytest.raises(InputError, match="without an `encoder`"):
        again.query("apple")


def test_another_encoder_is_refused(
    encoder: TitleEncoder, tokenizer: TitleTokenizer, index: TitleIndex, tmp_path: Path
) -> None:
    index.save(tmp_path / "index")
    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))
    with pytest.raises(InputError) as error:
        TitleIndex.load(tmp_path / "index", other)
    message = str(error.value)
    assert encoder.weights.digest[:12] in message
    assert other.weights.digest[:12] in message
    assert "\n" not in message
    with pytest.raises(InputError, match=r"shape \(1, 32\); it must be \(n, 64\)"):
        index.query(np.ones((1, 32), np.float32))


def seal_again(folder: Path) -> None:
    """Write a manifest with the right checksums, as an attacker would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["config.json", "vectors.safetensors", "rows.safetensors"])
def test_a_damaged_folder_is_refused(index: TitleIndex, tmp_path: Path, name: str) -> None:
    index.save(tmp_path / "index")
    file = tmp_path / "index" / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="checksum differs"):
        TitleIndex.load(tmp_path / "index")
    file.write_bytes(data[:-2])
    with pytest.raises(InputError, match=name):
        TitleIndex.load(tmp_path / "index")
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        TitleIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", "x"),
        ("encoder", 5),
        ("method", "fast"),
        ("method", []),
        ("recall_at_10", 2),
        ("expansion", 0),
        ("width", 65),
        ("width", 10**9),
        ("rows", 601),
        ("rows", True),
        ("columns", []),
        ("columns", [{"name": "product_id", "type": "text"}] * 6),
        ("columns", [{"name": f"c{i}", "type": "number"} for i in range(6)]),
        ("columns", [{"name": f"c{i}", "type": {}} for i in range(6)]),
    ],
)
def test_a_forged_config_is_refused(
    index: TitleIndex, tmp_path: Path, field: str, value: Any
) -> None:
    index.save(tmp_path / "index")
    file = tmp_path / "index" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {field: value}))
    seal_again(tmp_path / "index")
    with pytest.raises(InputError) as error:
        TitleIndex.load(tmp_path / "index")
    assert "\n" not in str(error.value)


def test_forged_rows_are_refused(index: TitleIndex, tmp_path: Path) -> None:
    """Offsets out of order, text that is no UTF-8, numbers that are none, one product twice."""
    index.save(tmp_path / "index")
    file = tmp_path / "index" / "rows.safetensors"
    whole = file.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])

    def forged(array: str, place: int, value: bytes) -> None:
        first = start + header[array]["data_offsets"][0] + place
        file.write_bytes(whole[:first] + value + whole[first + len(value) :])
        seal_again(tmp_path / "index")
        with pytest.raises(InputError, match=r"rows\.safetensors: is damaged"):
            TitleIndex.load(tmp_path / "index")

    forged("offsets0", 0, b"\1")
    forged("offsets1", 4, b"\xff\xff\xff\xff")
    forged("offsets1", 4 * 600, b"\0\0\0\0")
    forged("text1", 0, b"\xff")
    forged("text3", 0, b"x")  # a price
    forged("text5", 0, b"T")  # neither true nor false
    forged("text0", 2, b"p0")  # p0 and p1
    file.write_bytes(whole)
    seal_again(tmp_path / "index")
    assert len(TitleIndex.load(tmp_path / "index")) == 600


def test_a_forged_graph_is_refused(encoder: TitleEncoder, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    table = pl.DataFrame({"product_id": range(50), "title": ["dog food"] * 50})
    TitleIndex.build(encoder, table, method="usearch").save(tmp_path / "index")
    assert TitleIndex.load(tmp_path / "index", encoder).method == "usearch"
    file = tmp_path / "index" / "graph.safetensors"
    whole = file.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    first_key = start + header["keys"]["data_offsets"][0]
    graph = start + header["file"]["data_offsets"][0]
    for place, what in ((first_key + 3, "keys"), (graph + 1, "cut short"), (graph + 4, "rows of")):
        data = bytearray(whole)
        data[place] ^= 0xFF
        file.write_bytes(data)
        seal_again(tmp_path / "index")
        with pytest.raises(InputError, match=rf"graph\.safetensors: is damaged \(.*{what}"):
            TitleIndex.load(tmp_path / "index", encoder)


def test_the_measured_recall_is_that_of_the_results(
    encoder: TitleEncoder, table: pl.DataFrame, index: TitleIndex
) -> None:
    """Vectors that are not those of the titles lower it as much as a naive count says."""
    titles = table["title"].to_list()
    wrong = TitleIndex.build(encoder, table)
    shuffled = np.random.default_rng(0).permutation(600)
    half = np.where(np.arange(600) % 2, np.arange(600), shuffled)
    wrong._vectors = wrong._vectors[half]
    measured = wrong.measure_recall()
    sample = np.sort(np.random.default_rng(0).choice(600, 200, replace=False))
    hits = 0
    for row in sample.tolist():
        expected = [pair for pair in brute_force(encoder, titles, titles[row]) if pair[1] != row]
        cosine_of = {other: cosine for cosine, other in expected}
        ids = wrong.query(encoder.encode([titles[row]]), 11)["product_id"]
        others = [int(product[1:]) for product in ids if product != f"p{row}"][:10]
        hits += sum(cosine_of[other] >= expected[9][0] - 2e-6 for other in others)
    assert measured == pytest.approx(hits / 2_000)
    assert measured is not None
    assert measured < 0.9
    assert index.measure_recall() == 1.0


def test_tables_that_do_not_fit(encoder: TitleEncoder, index: TitleIndex) -> None:
    good = pl.DataFrame({"product_id": [1], "title": ["milk"], "n": [1]})
    cases: list[tuple[pl.DataFrame, dict[str, Any], str]] = [
        (good, {"product_column": "sku"}, "no column 'sku'"),
        (good, {"columns": ["colour"]}, "no column 'colour'"),
        (good, {"columns": ["title"]}, "'title' is named twice"),
        (good.rename({"n": "query"}), {"columns": ["query"]}, "'query': the results have"),
        (good.rename({"n": "x" * 201}), {"columns": ["x" * 201]}, "can't keep this name"),
        (good, {"method": "fast"}, "`method` is 'fast'"),
        (good.clear(), {}, "no row has a product and a title"),
        (good.with_columns(product_id=pl.lit(1.5)), {}, "can't hold ids"),
        (good.with_columns(n=[[1, 2]]), {"columns": ["n"]}, "has no single value"),
    ]
    for source, options, expected in cases:
        with pytest.raises(InputError, match=r"^[^\n]*$") as error:
            TitleIndex.build(encoder, source, **options)
        assert expected in str(error.value)
    before = index.query("apple", 600)
    for k in (0, 10_001):
        with pytest.raises(InputError, match="it must be from 1 to 10,000"):
            index.query("apple", k)
    changed = pl.DataFrame(
        {"product_id": ["p1"], "title": ["x"], "category": ["y"], "price": ["dear"]}
    ).with_columns(stock=1, new=True)
    with pytest.raises(InputError, match="column 'price' holds 'dear', the index has Float64"):
        index.upsert(changed)
    assert index.query("apple", 600).equals(before)


def test_ids_and_values_of_text_files(encoder: TitleEncoder, tmp_path: Path) -> None:
    """All columns of a CSV file are text; those of an index of numbers become numbers again."""
    table = pl.DataFrame({"product_id": [1, 2, 3], "title": ["milk", "", "tea"], "n": [1, 2, None]})
    index = TitleIndex.build(encoder, table, columns=["n"])
    assert len(index) == 2
    table.with_columns(title=pl.lit("coffee")).write_csv(tmp_path / "new.csv")
    counts = index.upsert(tmp_path / "new.csv")
    assert (counts["added"], counts["replaced"], counts["null_title"]) == (1, 2, 0)
    found = index.query("coffee").sort("product_id")
    assert found.select("product_id", "n").rows() == [(1, 1), (2, 2), (3, None)]
    assert index.delete(["2", "x", None]) == 1
    assert index.delete([3.0]) == 1
    with pytest.raises(InputError, match="several types"):
        index.delete([1, "x"])
    assert index.query("coffee")["product_id"].to_list() == [1]


def test_from_a_number_of_products_on_there_is_a_graph(
    encoder: TitleEncoder, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr("vitrina.search.index._GRAPH_FROM", 500)
    index = TitleIndex.build(encoder, table[:499], columns=KEPT)
    assert index.method == "exact"
    index.upsert(table[300:])
    assert index.method == "usearch"
    recall = index.measure_recall()
    assert recall is not None
    assert recall >= 0.97
    exact = TitleIndex.build(encoder, table, columns=KEPT, method="exact")
    # a filter and many neighbours are exact
    for options in ({"k": 600}, {"k": 5, "where": {"stock": 3}}):
        found = index.query("apple juice", **options)
        expected = exact.query("apple juice", **options)
        assert found["similarity"].equals(expected["similarity"])
    index.delete(table["product_id"][:300])
    assert index.method == "usearch"
    assert len(index.query("apple juice", 100)) == 100


def test_threads_may_query_at_once(encoder: TitleEncoder, table: pl.DataFrame) -> None:
    pytest.importorskip("usearch")
    index = TitleIndex.build(encoder, table, method="usearch")
    titles = table["title"].to_list()[:60]
    expected = [index.query(title, 5) for title in titles]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda title: index.query(title, 5), titles)
            assert all(a.equals(b) for a, b in zip(found, expected, strict=True))


def test_without_usearch_the_message_names_the_extra(
    encoder: TitleEncoder, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.compiled", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitrina\[index\]'"):
        TitleIndex.build(encoder, table, method="usearch")
    assert TitleIndex.build(encoder, table).method == "exact"
