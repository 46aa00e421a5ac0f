"""TF-IDF features against scikit-learn's and against a plain computation with dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from vitrina.classification.tfidf import HashedTfidf
from vitrina.text.normalize import Normalizer

NEW = " zyxwv qqqqq qqqqq"


@pytest.fixture(scope="module")
def forms(grocery_titles: list[str]) -> list[str]:
    """Normal forms of a few hundred real titles, in ASCII."""
    return [form for form in Normalizer("en")(grocery_titles[::5]) if form]


def hash_of(term: bytes, is_gram: bool) -> int:
    """64-bit FNV-1a, folded to 31 bits; the highest of 32 bits marks an n-gram."""
    value = 14695981039346656037
    for byte in term:
        value = (value ^ byte) * 1099511628211 % 2**64
    return (value ^ value >> 33) % 2**31 + is_gram * 2**31


def counts_of(form: str) -> tuple[Counter[int], Counter[int]]:
    """How often each word and each n-gram of a title occurs, by hash."""
    words, grams = Counter[int](), Counter[int]()
    for word in form.encode().split():
        words[hash_of(word, False)] += 1
        padded = b" " + word + b" "
        for size in (2, 3, 4, 5):
            for start in range(len(padded) - size + 1):
                grams[hash_of(padded[start : start + size], True)] += 1
    return words, grams


def test_features_are_those_of_scikit_learn(forms: list[str]) -> None:
    """New words have no column, but count in the length of the row."""
    tfidf = HashedTfidf.fit(forms)
    given = [*forms, *(form + NEW for form in forms)]
    blocks, hashes = [], []
    for is_gram, vectorizer in (
        (False, CountVectorizer(tokenizer=str.split, token_pattern=None)),
        (True, CountVectorizer(analyzer="char_wb", ngram_range=(2, 5))),
    ):
        counts = vectorizer.fit_transform(given)
        document_frequency = np.asarray((counts[: len(forms)] > 0).sum(axis=0))[0]
        idf = np.log((1 + len(forms)) / (1 + document_frequency)) + 1
        counts.data = 1 + np.log(counts.data)
        weighted = normalize(counts.multiply(idf).tocsr())
        is_known = document_frequency > 0
        assert not is_known.all()
        blocks.append(weighted[:, is_known])
        terms = vectorizer.get_feature_names_out()[is_known]
        hashes += [hash_of(term.encode(), is_gram) for term in terms]
    order = np.argsort(hashes)
    np.testing.assert_array_equal(tfidf.hashes, np.array(hashes)[order])  # and no two are equal
    expected = hstack(blocks).tocsr()[:, order]
    np.testing.assert_allclose(tfidf(given).toarray(), expected.toarray(), rtol=1e-12)


def test_features_of_any_letters_computed_with_dictionaries() -> None:
    fitted = ["año nuevo 1.5 l", "日本 茶 茶 茶", "a", "", "ñandú ñandú"]
    given = [*fitted, "año nuevo 日本", "другой a", "x" * 50]
    tfidf = HashedTfidf.fit(fitted)
    document_frequency = Counter[int]()
    for form in fitted:
        for block in counts_of(form):
            document_frequency.update(block.keys())
    assert tfidf.hashes.tolist() == sorted(document_frequency)
    features = tfidf(given)
    for row, form in enumerate(given):
        expected = {}
        for block in counts_of(form):
            weights = {
                term: (1 + np.log(count))
                * (np.log((1 + len(fitted)) / (1 + document_frequency[term])) + 1)
                for term, count in block.items()
            }
            length = np.sqrt(sum(weight**2 for weight in weights.values()))
            for term, weight in weights.items():
                if term in document_frequency:
                    expected[term] = weight / length
        found = features[row]
        assert dict(zip(tfidf.hashes[found.indices].tolist(), found.data, strict=True)) == (
            pytest.approx(expected, rel=1e-12)
        )


def test_unseen_words_count_in_the_length(forms: list[str]) -> None:
    tfidf = HashedTfidf.fit(forms)
    n_words = np.searchsorted(tfidf.hashes, 2**31)
    for block in (slice(None, n_words), slice(n_words, None)):
        seen = np.sqrt(tfidf(forms)[:, block].power(2).sum(axis=1))
        np.testing.assert_allclose(seen, 1)
        with_unseen = np.sqrt(tfidf([form + NEW for form in forms])[:, block].power(2).sum(axis=1))
        assert with_unseen.max() < 0.99
    assert tfidf(["zyxwv"])[:, :n_words].nnz == 0


def test_a_title_has_the_same_features_in_any_batch(forms: list[str]) -> None:
    tfidf = HashedTfidf.fit(forms[::2])
    batch = tfidf(forms)
    assert batch.shape == (len(forms), len(tfidf.hashes))
    for row in range(len(forms)):
        alone = tfidf([forms[row]])
        np.testing.assert_array_equal(alone.indices, batch[row].indices)
        np.testing.assert_array_equal(alone.data, batch[row].data)
    backwards = tfidf(forms[::-1])[::-1]
    assert (backwards != batch).nnz == 0


def test_empty_titles_have_no_features(forms: list[str]) -> None:
    tfidf = HashedTfidf.fit(forms)
    assert tfidf(["", forms[0], ""]).getnnz(axis=1)[[0, 2]].tolist() == [0, 0]
    assert tfidf([]).shape == (0, len(tfidf.hashes))
    of_nothing = HashedTfidf.fit(["", ""])
    assert of_nothing.hashes.shape == (0,)
    assert of_nothing(["milk", ""]).shape == (2, 0)
