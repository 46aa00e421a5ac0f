"""Which queries have a known word, and files of queries."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from vitrina.errors import InputError
from vitrina.search.queries import UnknownWords, read_queries
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def large_tokenizer(grocery_titles: list[str]) -> TitleTokenizer:
    return TitleTokenizer.train(grocery_titles, Normalizer("en"), vocab_size=3_000)


def test_titles_are_known_and_random_letters_are_not(
    large_tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    titles = [title for title in grocery_titles if len(title) > 3]
    assert len(UnknownWords(large_tokenizer, titles).rows) < 0.01 * len(titles)
    rng = random.Random(0)
    nonsense = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(500)]
    assert len(UnknownWords(large_tokenizer, nonsense).rows) > 0.95 * len(nonsense)


def test_a_word_of_one_ideogram_can_be_known() -> None:
    titles = ["赤い靴", "青い靴", "白い靴 大", "靴 小", "鞄 大"] * 20
    tokenizer = TitleTokenizer.train(titles, Normalizer(), vocab_size=20)
    assert UnknownWords(tokenizer, ["靴", "猫", "x"]).rows == {1, 2}


def test_files_of_queries(tmp_path: Path) -> None:
    text = tmp_path / "queries.txt"
    text.write_text("apple\n\n  \nmilk, 1 l\n", "utf-8")
    assert read_queries(text) == ["apple", "milk, 1 l"]
    table = tmp_path / "queries.csv"
    pl.DataFrame({"title": ["apple", None, " "], "q": ["a", "b", "c"]}).write_csv(table)
    assert read_queries(table) == ["apple"]
    assert read_queries(table, "q") == ["a", "b", "c"]
    numbers = tmp_path / "numbers.parquet"
    pl.DataFrame({"title": [1, 2]}).write_parquet(numbers)
    empty = tmp_path / "empty.txt"
    empty.touch()
    latin = tmp_path / "latin.txt"
    latin.write_bytes("año".encode("latin-1"))
    for file, column, expected in [
        (table, "x", "no column 'x'"),
        (numbers, "title", "holds no text"),
        (empty, "title", "has no queries"),
        (latin, "title", "can't be read as UTF-8"),
        (tmp_path / "none.txt", "title", "no such file"),
        (tmp_path / "none.csv", "title", "no such file"),
    ]:
        with pytest.raises(InputError, match=r"^[^\n]*$") as error:
            read_queries(file, column)
        assert expected in str(error.value)
