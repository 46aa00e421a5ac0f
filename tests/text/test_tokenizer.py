"""Pieces of titles, compared with those of SentencePiece."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrina.errors import InputError
from vitrina.text import tokenizer as tokenizer_module
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import MIN_PIECES, PAD, UNKNOWN, TitleTokenizer

TITLES = st.lists(st.none() | st.text(max_size=20) | st.text("ab ñ1.-é", max_size=20), max_size=6)


def fresh(tokenizer: TitleTokenizer) -> TitleTokenizer:
    return TitleTokenizer(tokenizer.model, tokenizer.normalizer)


def rows(tokenizer: TitleTokenizer, titles: list[str | None] | list[str]) -> list[list[int]]:
    return [row.tolist() for row in tokenizer(titles)]


def test_training_twice_gives_the_same_bytes(grocery_titles: list[str]) -> None:
    models = [
        TitleTokenizer.train(iter(grocery_titles), Normalizer("en"), vocab_size=300).model
        for _ in range(2)
    ]
    assert models[0] == models[1]
    assert (
        TitleTokenizer.train(grocery_titles[::-1], Normalizer("en"), vocab_size=250).model
        != models[0]
    )


def test_the_number_of_pieces(tokenizer: TitleTokenizer, grocery_titles: list[str]) -> None:
    assert len(tokenizer) == 500
    small = TitleTokenizer.train(grocery_titles[:20], Normalizer("en"))
    assert 20 < len(small) < 1_000  # fewer than the 30,000 requested
    assert max(max(row) for row in rows(small, grocery_titles)) < len(small)


def test_pieces_equal_sentencepiece_s_own(
    tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    own = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    normal = tokenizer.normalizer(grocery_titles)
    assert len(set(normal)) > 2_000
    for row, expected in zip(rows(tokenizer, grocery_titles), own.encode(normal), strict=True):
        assert row == expected + [PAD] * (MIN_PIECES - len(expected))
    # the pieces, joined, are the normalised title
    title = "Apple SAUCE 24.5 Oz"
    assert "".join(tokenizer.pieces(title)) == "▁apple▁sauce▁24.5▁oz"


def test_pieces_are_those_of_the_words(
    tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    for title, row in zip(grocery_titles[:300], rows(tokenizer, grocery_titles), strict=False):
        words = [[p for p in r if p != PAD] for r in rows(fresh(tokenizer), title.split())]
        assert [piece for piece in row if piece != PAD] == list(chain.from_iterable(words))


def test_short_titles_are_padded_at_the_end(tokenizer: TitleTokenizer) -> None:
    assert rows(tokenizer, ["", None, "!"]) == [[PAD] * 5] * 3
    (row,) = rows(tokenizer, ["a"])
    assert len(row) == MIN_PIECES == 5
    assert PAD not in row[: len(row) - row.count(PAD)]
    assert tokenizer.pieces("") == []
    assert rows(tokenizer, []) == []


def test_unknown_letters(tokenizer: TitleTokenizer) -> None:
    (row,) = rows(tokenizer, ["語"])
    assert UNKNOWN in row


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TITLES)
def test_what_is_remembered_never_shows(
    tokenizer: TitleTokenizer, titles: list[str | None]
) -> None:
    warm = rows(tokenizer, titles)
    assert warm == rows(fresh(tokenizer), titles)
    assert warm == [rows(tokenizer, [title])[0] for title in titles]
    for row in warm:
        assert len(row) >= MIN_PIECES
        used = len(row) - row.count(PAD)
        assert PAD not in row[:used]
        assert used == 0 or len(row) == max(used, MIN_PIECES)


def test_a_memory_that_overflows(
    tokenizer: TitleTokenizer, grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(tokenizer, grocery_titles)
    monkeypatch.setattr(tokenizer_module, "_WORDS_KEPT", 20)
    small = fresh(tokenizer)
    for start in range(0, len(grocery_titles), 50):
        batch = grocery_titles[start : start + 50]
        assert rows(small, batch) == expected[start : start + 50]
        # at most the words stored before and the words of this batch
        assert len(small._words) <= 20 + len(set(" ".join(batch).split()))


def test_threads_share_a_tokenizer(
    tokenizer: TitleTokenizer, grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(tokenizer, grocery_titles)
    monkeypatch.setattr(
        tokenizer_module, "_WORDS_KEPT", 300
    )  # small, so that words are also dropped
    shared = fresh(tokenizer)

    def work(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(grocery_titles))
        parts = np.array_split(order, 40)
        return all(
            rows(shared, [grocery_titles[i] for i in part]) == [expected[i] for i in part]
            for part in parts
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_titles_of_any_length(tokenizer: TitleTokenizer) -> None:
    long = "apple " * 20_000
    (row,) = rows(tokenizer, [long])
    assert row == [p for p in rows(tokenizer, ["apple"])[0] if p != PAD] * 20_000
    (row,) = rows(tokenizer, ["apple" * 20_000])
    assert len(row) > 1_000


def test_bad_corpora() -> None:
    for titles in ([], [None, "", "¡!"]):
        with pytest.raises(InputError, match=r"^titles: no title has a word after normalisation; "):
            TitleTokenizer.train(titles, Normalizer("es"))
    for pieces in (5, 0, -1):
        with pytest.raises(
            InputError, match=rf"^`vocab_size` is {pieces}, smaller than [^\n]* raise it$"
        ):
            TitleTokenizer.train(["abc def ghi"], Normalizer("en"), vocab_size=pieces)


def test_no_model(tokenizer: TitleTokenizer) -> None:
    for model in (b"", b"not a model", bytes(100), tokenizer.model[:-3], tokenizer.model[5:]):
        with pytest.raises(InputError, match=r"^tokenizer: not a SentencePiece model [^\n]*$"):
            TitleTokenizer(model, Normalizer("en"))
