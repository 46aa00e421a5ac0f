"""TF-IDF of words and character n-grams in titles, as sparse features of a linear model.

They complement the encoder, which was trained on what products have in common. The label of a task
may depend on one rare word: a brand, a model number, "refurbished".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from vitrina.text.ngrams import LONGEST, NGRAM_BIT, SHORTEST, count_ngrams, hash_word


class HashedTfidf(NamedTuple):
    """TF-IDF of the words and n-grams that occur in some titles.

    The words of a title and its n-grams form two blocks, each of unit length. There is no stored
    vocabulary: words and n-grams are identified by a hash of 31 bits. One that did not occur in the
    fitted titles has no column, but counts in the length of its block. A title of mostly new words
    thus has small features, and the model relies on its vector instead.

    Attributes
    ----------
    hashes : ndarray of shape (d,), uint32
        Hashes that occurred, sorted: first those of words, then those of n-grams.
    idf : ndarray of shape (d + 1,), float64
        Inverse document frequencies; the last is that of all other words and n-grams.
    """

    hashes: npt.NDArray[np.uint32]
    idf: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, forms: Sequence[str]) -> HashedTfidf:
        """Learn the words, n-grams and document frequencies of n titles.

        Parameters
        ----------
        forms : sequence of n str
            Normal forms of the titles, see `vitrina.text.normalize.Normalizer`.

        Returns
        -------
        HashedTfidf
        """
        _, occurring, _ = count_ngrams(forms)
        hashes, frequency = np.unique(occurring, return_counts=True)
        frequency = np.append(frequency, 0)  # of what did not occur
        idf = np.log((1 + len(forms)) / (1 + frequency)) + 1
        return cls(hashes, idf)

    def __call__(self, forms: Sequence[str]) -> csr_matrix:
        """Compute the features of n titles.

        Parameters
        ----------
        forms : sequence of n str
            Normal forms of the titles.

        Returns
        -------
        csr_matrix of shape (n, d), float64
            A title gets the same features in any batch.
        """
        title, occurring, count = count_ngrams(forms)
        column, known = self._columns(occurring)
        value = (1 + np.log(count)) * self.idf[column]

        # Unknown ones count in the length and are dropped only afterwards.
        block = 2 * title + (occurring >= NGRAM_BIT)  # a title's words, then its n-grams
        squared_length = np.bincount(block, value**2)
        value /= np.sqrt(squared_length)[block]

        offsets = np.searchsorted(title[known], np.arange(len(forms) + 1))
        shape = (len(forms), len(self.hashes))
        return csr_matrix((value[known], column[known], offsets), shape)

    def shared_out(self, forms: Sequence[str], found: WordsOfTitles) -> csr_matrix:
        """Compute the features of n titles, shared out among the words of each title.

        A word's own feature belongs to this word. The feature of an n-gram is divided among the
        words that contain it, in proportion to how often they do.

        Parameters
        ----------
        forms : sequence of n str
            Normal forms of the titles.
        found : WordsOfTitles
            ``words_of(forms)``, with w words.

        Returns
        -------
        csr_matrix of shape (w, d), float64
            The rows of a title's words add up to the title's features.
        """
        word, occurring, count = count_ngrams(found.words)
        column, known = self._columns(occurring)
        word, column = word[known], column[known]
        count = count[known] * found.times[word]

        # the place of each feature of a word among the features of all titles
        features = self(forms)
        shape = (len(found.words), len(self.hashes))
        title = np.repeat(np.arange(len(forms)), np.diff(features.indptr))
        places = title * len(self.hashes) + features.indices  # ascending
        at = np.searchsorted(places, found.title[word] * len(self.hashes) + column)

        share = count / np.bincount(at, count)[at]
        return csr_matrix((share * features.data[at], (word, column)), shape)

    def names(self, words: Iterable[str]) -> list[str]:
        """Return the text behind each column.

        Parameters
        ----------
        words : iterable of str
            All words of the fitted titles. Their texts can't be told from the hashes.

        Returns
        -------
        list of d str
            "word:milk" for a word, "ngram:_mil" for an n-gram. "_" stands for the space before or
            after a word. If two texts have one hash, the name is that of the first sorted word.
        """
        text_of: dict[int, bytes] = {}
        for word in sorted(set(words)):
            encoded = word.encode("utf-8", "replace")
            hashes = np.empty(1 + (LONGEST - SHORTEST + 1) * (len(encoded) + 1), np.uint32)
            used = hash_word(np.frombuffer(encoded, np.uint8), 0, len(encoded), hashes, 0)
            for value, text in zip(hashes[:used].tolist(), _texts(encoded), strict=True):
                text_of.setdefault(value, text)
        # an n-gram may begin or end within a letter of several bytes
        return [
            text_of[value].decode("utf-8", "backslashreplace") for value in self.hashes.tolist()
        ]

    def _columns(self, occurring: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[Any], ...]:
        """Return the column of each hash, d for one that has none, and whether it has one."""
        unknown = len(self.hashes)
        column = np.searchsorted(self.hashes, occurring)
        known = np.append(self.hashes, np.uint32(0))[column] == occurring
        known &= column < unknown
        return np.where(known, column, unknown), known


class WordsOfTitles(NamedTuple):
    """The distinct words of some titles, one title after the other.

    Attributes
    ----------
    title : ndarray of shape (w,), int64
        Number of the title that has the word.
    words : list of w str
        A title's words are in the order of their first occurrence.
    times : ndarray of shape (w,), int64
        How often the title has the word.
    """

    title: npt.NDArray[np.int64]
    words: list[str]
    times: npt.NDArray[np.int64]


def words_of(forms: Sequence[str]) -> WordsOfTitles:
    """Return the distinct words of each title, from the normal forms of the titles."""
    counts = [Counter(form.split()) for form in forms]
    words: list[str] = []
    times: list[int] = []
    for of_title in counts:
        words.extend(of_title.keys())
        times.extend(of_title.values())
    title = np.repeat(np.arange(len(forms)), [len(of_title) for of_title in counts])
    return WordsOfTitles(title, words, np.array(times, np.int64))


def _texts(word: bytes) -> list[bytes]:
    """Names of a word and of its n-grams, in the order in which `hash_word` writes the hashes."""
    padded = b"_" + word + b"_"
    texts = [b"word:" + word]
    for first in range(len(word) + 1):
        for stop in range(first + SHORTEST, min(first + LONGEST, len(padded)) + 1):
            texts.append(b"ngram:" + padded[first:stop])
    return texts
