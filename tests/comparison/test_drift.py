"""Samples of tables, and what has changed between two of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.comparison import title_sample
from vitrina.comparison.drift import measure_drift, text_statistics
from vitrina.comparison.title_sample import TitleTable, read_titles, sampled
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError


def table_of(titles: list[str]) -> TitleTable:
    return TitleTable("table", len(titles), 0, list(dict.fromkeys(titles)), {})


def test_a_table_is_read(tmp_path: Path) -> None:
    titles = ["milk", "milk", None, "", "--- !", "日本", "café 2"]
    kinds = ["a", "b", None, "a", "a", "a", "b"]
    pl.DataFrame({"name": titles, "kind": kinds}).write_parquet(tmp_path / "t.parquet")
    table = read_titles(tmp_path / "t.parquet", "name", "kind")
    assert (table.rows, table.empty) == (7, 3)
    assert table.titles == ["milk", "日本", "café 2"]
    assert table.shares == {"a": 4 / 7, "b": 2 / 7, "": 1 / 7}
    assert read_titles(tmp_path / "t.parquet", "name", None).shares == {}


@pytest.mark.parametrize(
    ("content", "category", "message"),
    [
        ({"name": ["milk"]}, None, "`title_column`"),
        ({"title": [1, 2]}, None, "column 'title' is not text"),
        ({"title": ["!", None]}, None, "column 'title' has no title"),
        ({"title": ["milk"]}, "kind", "`category_column`"),
        ({"title": ["milk"] * 10_001, "kind": list(range(10_001))}, "kind", "10,001 values"),
    ],
)
def test_tables_that_are_refused(
    tmp_path: Path, content: dict[str, list], category: str | None, message: str
) -> None:
    pl.DataFrame(content).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message) as error:
        read_titles(tmp_path / "t.parquet", "title", category)
    assert "t.parquet" in str(error.value)


@given(st.lists(st.text(min_size=1), min_size=1), st.lists(st.text(min_size=1), min_size=1))
def test_samples_overlap_as_their_tables(first: list[str], second: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(title_sample, "MOST_TITLES", 5)
        one, two = sampled(table_of(first), table_of(second))
    shared = set(first) & set(second)
    assert set(one) & shared == set(two) & shared
    assert set(one) <= set(first)
    for title in one.keys() & two.keys():
        assert one[title] == two[title]
    assert all(0 <= number < 1 for number in one.values())


def test_a_sample_has_about_the_wanted_size() -> None:
    titles = [f"title {number}" for number in range(3 * title_sample.MOST_TITLES)]
    (sample,) = sampled(table_of(titles))
    assert abs(len(sample) / title_sample.MOST_TITLES - 1) < 0.03
    assert abs(sum(sample.values()) / len(sample) - 0.5) < 0.01


def test_no_drift(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    table = table_of(grocery_titles)
    found = measure_drift(encoder, table, table)
    assert found.before == found.now
    assert found.before.new_words is not None
    assert 0 < found.before.new_words < 0.5
    assert found.frequent_new_words == []
    assert found.domain is not None
    assert found.domain.auc == 0.5
    assert (found.typical_before, found.shares, found.moved) == ([], [], None)


def test_drift(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    half = len(grocery_titles) // 2
    old, rest = grocery_titles[::2], grocery_titles[1::2]
    new = [f"zzcargador {number} 東京" for number in range(half // 4)]
    before = TitleTable("before", 100, 10, old, {"food": 0.75, "": 0.25})
    now = TitleTable("now", 100, 40, [*rest, *new], {"food": 0.5, "phones": 0.5})
    found = measure_drift(encoder, before, now)

    # words of half of the old titles, by brute force over the same samples
    first, second = sampled(before, now)
    normal = encoder.weights.tokenizer.normalizer
    known = {word for title in first if first[title] < 0.5 for word in normal([title])[0].split()}
    for sample, statistics in ((first, found.before), (second, found.now)):
        words = [
            word
            for title in sample
            if sample[title] >= 0.5
            for word in set(normal([title])[0].split())
        ]
        expected = sum(word not in known for word in words) / len(words)
        assert statistics.new_words == pytest.approx(expected)
    assert found.now.new_words is not None
    assert found.before.new_words is not None
    assert found.now.new_words > found.before.new_words + 0.05

    assert (found.before.empty, found.now.empty) == (0.1, 0.4)
    assert found.now.unknown_pieces > 0.01 > found.before.unknown_pieces
    assert found.now.unknown_pieces == text_statistics(encoder, now).unknown_pieces
    assert {word for word, _ in found.frequent_new_words[:2]} == {"zzcargador", "東京"}
    assert found.domain is not None
    assert found.domain.auc > found.domain.band[1]
    assert all(title in new for title in found.typical_now)
    assert all(title in old for title in found.typical_before)
    assert found.shares == [("phones", 0, 0.5), ("", 0.25, 0), ("food", 0.75, 0.5)]
    assert found.moved == 0.5

    few = measure_drift(encoder, before, table_of(rest[:50]))
    assert (few.domain, few.typical_now) == (None, [])
