"""The titles of a table that are most similar to queries, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.search.similar import most_similar
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def table(grocery_titles: list[str]) -> pl.DataFrame:
    """More than one batch: each title occurs several times; some are altered, some missing."""
    rng = np.random.default_rng(0)
    titles: list[str | None] = [
        grocery_titles[i] for i in rng.integers(0, len(grocery_titles), 20_000)
    ]
    titles[::50] = [title and f"  {title.lower()}!" for title in titles[::50]]
    titles[7::100] = [None] * len(titles[7::100])
    return pl.DataFrame({"row": range(20_000), "title": titles})


def brute_force(encoder: TitleEncoder, table: pl.DataFrame, query: str) -> list[tuple[float, int]]:
    """(cosine, row) of the first row of every distinct title, best first, ties by row."""
    wanted = encoder.transform([query])[0].astype(float)
    seen, found = set(), []
    for row, title in table.select("row", "title").iter_rows():
        if title is None or title in seen:
            continue
        seen.add(title)
        vector = encoder.transform([title])[0].astype(float)
        cosine = vector @ wanted / (np.linalg.norm(vector) * np.linalg.norm(wanted))
        found.append((round(float(cosine), 5), row))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


@pytest.mark.parametrize("k", [1, 10, 40])
def test_most_similar_equals_brute_force(
    encoder: TitleEncoder, table: pl.DataFrame, tmp_path: Path, k: int
) -> None:
    table.write_parquet(tmp_path / "in.parquet")
    query = "apple sauce 24 oz"
    expected = brute_force(encoder, table, query)
    found = most_similar(encoder, tmp_path / "in.parquet", query, k=k)
    assert found.columns == ["row", "title", "similarity"]
    assert found["title"].n_unique() == len(found) == k
    similarity = found["similarity"].to_numpy()
    assert (np.diff(similarity) <= 0).all()
    np.testing.assert_allclose(similarity, [cosine for cosine, _ in expected[:k]], atol=2e-5)
    # nearly equal cosines may change places, equal ones may not
    floor = expected[k - 1][0] - 2e-5
    assert set(found["row"]) <= {row for cosine, row in expected if cosine >= floor}
    first_rows = table.unique("title", keep="first")
    assert found["row"].is_in(first_rows["row"].implode()).all()


def test_equal_vectors_keep_the_table_s_order(tokenizer: TitleTokenizer) -> None:
    encoder = TitleEncoder(initial_weights(tokenizer, dim=16))  # 512 numbers: sums that round
    # one vector, many spellings, over three batches of which the last is a single row
    ends = 2 * 16_384
    titles = [f"filler {i % 5}" for i in range(ends + 1)]
    spellings = {3: "APPLE", 4: "apple!", 16_000: "(Apple)", 16_384: "apple.", ends: "-apple-"}
    for row, title in spellings.items():
        titles[row] = title
    table = pl.DataFrame({"row": range(len(titles)), "title": titles})
    found = most_similar(encoder, table, "apple", k=5)
    assert found["row"].to_list() == list(spellings)
    assert found["similarity"].n_unique() == 1
    assert abs(found["similarity"][0] - 1) < 1e-6


def test_k_larger_than_the_table(encoder: TitleEncoder) -> None:
    table = pl.DataFrame({"title": ["apple", "pear", "apple", None], "price": [1, 2, 3, 4]})
    found = most_similar(encoder, table, "pear", k=100)
    assert found.select("title", "price").rows() == [("pear", 2), ("apple", 1)]


def test_what_can_not_be_compared(encoder: TitleEncoder) -> None:
    table = pl.DataFrame({"title": ["apple"], "n": [1]})
    cases = [
        (table, {"k": 0}, "`k` is 0; it must be from 1 to 10,000"),
        (table, {"title_column": "n"}, "the table given: column 'n' (Int64) holds no text"),
        (table, {"title_column": "x"}, "the table given: no column 'x'; there are: title, n"),
        (table.clear(), {}, "the table given: column 'title' has no titles"),
        (
            pl.DataFrame({"title": [None]}),
            {},
            "the table given: column 'title' has no titles",
        ),
        (
            table.with_columns(similarity=1),
            {},
            "the table given: has a column 'similarity' already",
        ),
    ]
    for source, settings, expected in cases:
        with pytest.raises(InputError) as error:
            most_similar(encoder, source, "apple", **settings)  # type: ignore[arg-type]
        assert str(error.value).startswith(expected)
        assert "\n" not in str(error.value)


def test_many_queries_are_as_each_alone(encoder: TitleEncoder, table: pl.DataFrame) -> None:
    queries = ["apple sauce 24 oz", "qxzw vvkq", "dog food", "apple sauce 24 oz"]
    found = most_similar(encoder, table, queries, k=7)
    assert found.columns == ["query", "row", "title", "similarity"]
    assert found["query"].to_list() == [0] * 7 + [2] * 7 + [3] * 7  # the second has no known word
    for number in (0, 2, 3):
        alone = most_similar(encoder, table, queries[number], k=7)
        assert found.filter(query=number).drop("query").equals(alone)


@pytest.mark.parametrize("query", ["qxzw vvkq", "!?", ""])
def test_a_query_without_a_known_word(encoder: TitleEncoder, query: str) -> None:
    table = pl.DataFrame({"title": ["apple", "pear"]})
    with pytest.raises(InputError, match="which has no word that the encoder or these titles know"):
        most_similar(encoder, table, query)
    assert most_similar(encoder, table, [query]).is_empty()
    late = pl.DataFrame({"title": ["apple"] * 20_000 + ["a qxzw"]})  # in the last batch
    assert set(most_similar(encoder, late, "QXZW")["title"]) == {"apple", "a qxzw"}


def test_ready_vectors_are_used(
    encoder: TitleEncoder, tokenizer: TitleTokenizer, table: pl.DataFrame, tmp_path: Path
) -> None:
    source = tmp_path / "vectors.parquet"
    embed_file(encoder, table, source, quiet=True)
    expected = most_similar(encoder, table, "dog food")
    assert most_similar(encoder, source, "dog food").equals(expected)
    # one vector moved to another title, behind those that are compared with the encoder's
    ready = pl.read_parquet(source)
    best = expected["row"][0]
    vectors = ready["vector"].to_numpy().copy()
    vectors[100] = vectors[best]
    changed = ready.with_columns(vector=pl.Series(vectors, dtype=ready.schema["vector"]))
    assert 100 in most_similar(encoder, changed, "dog food", k=2)["row"].to_list()

    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))
    theirs, ours = other.weights.digest[:12], encoder.weights.digest[:12]
    with pytest.raises(InputError, match=f"has vectors of the encoder {ours}, not of {theirs}; "):
        most_similar(other, source, "dog food")
    # a file of earlier versions, or of another program, doesn't name its encoder
    ready.drop("encoder").write_parquet(source)
    with pytest.raises(InputError, match="column 'vector' has vectors of another encoder"):
        most_similar(other, source, "dog food")
