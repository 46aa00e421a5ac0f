"""Word vectors against a naive TF-IDF and a full singular value decomposition."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from vitrina.hashing import FNV_START
from vitrina.ragged import Ragged
from vitrina.text.ngrams import NGRAM_BIT
from vitrina.text.word_vectors import MAX_FEATURES, WordVectors

FORMS = [
    "red shoe size 42",
    "red shoes",
    "blue shoe blue lace",
    "oak table",
    "round oak table",
    "table lamp red",
    "lámpara roja",
    "lámpara azul azul",
]


def of_texts(vectors: WordVectors, texts: list[str]) -> npt.NDArray[np.int16]:
    return vectors.of_texts(Ragged.from_bytes([text.encode() for text in texts]))


def fnv(key: bytes) -> int:
    value = int(FNV_START)
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return (value ^ (value >> 33)) & (NGRAM_BIT - 1)


def parts_of(text: str) -> Counter[int]:
    """Hashes of the words of a text and of their n-grams of 2 to 5 bytes."""
    found: Counter[int] = Counter()
    for word in text.split():
        found[fnv(word.encode())] += 1
        padded = b" " + word.encode() + b" "
        for size in range(2, 6):
            for start in range(len(padded) - size + 1):
                found[fnv(padded[start : start + size]) | NGRAM_BIT] += 1
    return found


def naive_vectors(forms: list[str], dim: int) -> tuple[dict[int, npt.NDArray[np.float64]], float]:
    """The vector of each word or n-gram, and the ratio of the last singular values."""
    counts = [parts_of(form) for form in forms]
    frequency = Counter(part for count in counts for part in count)
    kept = sorted(part for part, number in frequency.items() if number >= 2)
    weight = {part: np.log((1 + len(forms)) / (1 + frequency[part])) + 1 for part in kept}
    for is_ngram in (False, True):
        block = [part for part in kept if (part >= NGRAM_BIT) == is_ngram]
        squares = [(count[part] * weight[part]) ** 2 for part in block for count in counts]
        for part in block:
            weight[part] /= np.sqrt(sum(squares) / len(forms))
    matrix = np.array([[count[part] * weight[part] for part in kept] for count in counts])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    _, values, components = np.linalg.svd(matrix)
    assert values[dim - 1] > 1.05 * values[dim]  # the dimensions are well defined
    return {part: weight[part] * components[:dim, i] for i, part in enumerate(kept)}, values[dim]


def test_vectors_are_those_of_a_naive_lsa() -> None:
    vectors = WordVectors.fit(FORMS, 3)
    naive, _ = naive_vectors(FORMS, 3)
    texts = [*FORMS, "unknown shoelaces", "table"]
    found = of_texts(vectors, texts).astype(float)
    expected = np.array(
        [
            sum((n * naive[p] for p, n in parts_of(t).items() if p in naive), np.zeros(3))
            for t in texts
        ]
    )
    # equal up to one scale and the sign of each dimension
    scale = np.linalg.norm(found) / np.linalg.norm(expected)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * scale * signs, atol=0.02 * np.abs(found).max())
    assert (vectors.hashes.tolist()) == sorted(naive)


def test_the_vector_of_a_text_is_the_sum_of_its_words_vectors() -> None:
    vectors = WordVectors.fit(FORMS, 3)
    words = of_texts(vectors, ["red", "shoe", "42"]).astype(float)
    whole = of_texts(vectors, ["red shoe 42"])[0].astype(float)
    np.testing.assert_allclose(whole, words.sum(axis=0), atol=2)  # rounded once or thrice


def test_unseen_words_get_the_vector_of_their_parts() -> None:
    vectors = WordVectors.fit(FORMS, 3)
    tables, table, lamp = of_texts(vectors, ["tables", "table", "lamp"]).astype(float)
    assert not np.array_equal(tables, table)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in ((tables, table), (tables, lamp))
    ]
    assert cosines[0] > 0.9 > cosines[1]
    assert not of_texts(vectors, ["", "xyz"]).any()


def test_the_same_titles_give_the_same_vectors(grocery_titles: list[str]) -> None:
    forms = [title.lower() for title in grocery_titles[:500]]
    one, again = WordVectors.fit(forms, 16, seed=3), WordVectors.fit(forms, 16, seed=3)
    np.testing.assert_array_equal(one.rows, again.rows)
    np.testing.assert_array_equal(one.scale, again.scale)
    words = sorted({word for form in forms for word in form.split()})
    largest = np.abs(of_texts(one, words).astype(int)).max()
    assert 0.98 * (1 << 13) < largest <= (1 << 13) + 1  # the range of an int16 is used


def test_numbers_beyond_the_range_get_its_limits() -> None:
    vectors = WordVectors.fit(FORMS, 3)
    found = of_texts(vectors, ["red shoe table lamp " * 500])
    assert np.abs(found.astype(int)).max() == 32_767


@pytest.mark.parametrize("forms", [[], ["one"], ["a", "b"]])
def test_titles_without_shared_parts(forms: list[str]) -> None:
    vectors = WordVectors.fit(forms, 4)
    assert vectors.dim == 4
    assert not of_texts(vectors, ["one a b"]).any()


def test_the_most_frequent_parts_are_kept() -> None:
    rng = np.random.default_rng(0)
    words = [
        "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz0123456789"), 12)) for _ in range(4_000)
    ]
    forms = [f"common {word}" for word in words for _ in range(2)]
    vectors = WordVectors.fit(forms, 2)
    assert len(vectors.hashes) == MAX_FEATURES
    assert set(parts_of("common")) <= set(vectors.hashes.tolist())
