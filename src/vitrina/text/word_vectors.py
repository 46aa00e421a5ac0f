"""Vectors of words from latent semantic analysis (LSA) of a shop's titles.

The vector of a word is the sum of the vectors of the word itself and of its character n-grams, as
in fastText (Bojanowski et al. 2017). A word that no title had thus gets the vector of its parts.
Where fastText learns these vectors by predicting neighbours, LSA (Deerwester et al. 1990) takes
them from a truncated singular value decomposition of the TF-IDF matrix of the titles. A sum over
the words of a title gives the title's LSA vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled
from vitrina.ragged import Ragged
from vitrina.text.ngrams import (
    LONGEST,
    NGRAM_BIT,
    SHORTEST,
    count_ngrams,
    hash_word,
)

MAX_FEATURES = 1 << 16
"""Words and n-grams with a vector, at most: the most frequent ones of the titles."""

MAX_DIM = 2_048
"""Dimensions of stored vectors, at most."""

MAX_SCALE = 1e12
"""Largest scale of stored vectors, so that no sum of them overflows."""

_MIN_TITLES = 2
"""Titles in which a word or n-gram must occur. What occurs once is a direction of its own."""

_LARGEST = 1 << 13
"""Largest component of a fitted word. Other words may have components four times as large."""

_BUCKET_BITS = 16


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors of words and n-grams, whose sums are the vectors of words.

    Attributes
    ----------
    hashes : ndarray of shape (features,), uint32
        Hashes of the words and n-grams, increasing; see `vitrina.text.ngrams`.
    rows : ndarray of shape (features, dim), int8
        Their vectors, each in multiples of its `scale`.
    scale : ndarray of shape (features,), float32
    """

    hashes: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]

    @classmethod
    def none(cls) -> WordVectors:
        """Return vectors of no words and no dimensions."""
        return cls(np.zeros(0, np.uint32), np.zeros((0, 0), np.int8), np.zeros(0, np.float32))

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.rows.shape[1])

    @classmethod
    def fit(cls, forms: Sequence[str], dim: int, seed: int = 0) -> WordVectors:
        """Fit the vectors to n titles.

        The matrix has a row for each title and a column for each word or n-gram that occurs in
        several titles. Its entries are counts times inverse document frequencies. The words and the
        n-grams get the same weight, and each row is scaled to unit length. The counts enter
        linearly, so that the vector of a title is a sum over its words.

        Parameters
        ----------
        forms : sequence of n str
            Normal forms of distinct titles.
        dim : int
            Number of dimensions. If the titles support fewer, the others are 0.
        seed : int, optional

        Returns
        -------
        WordVectors
            The same titles in the same order give the same vectors on one machine, with any number
            of threads.
        """
        matrix, hashes, weight = _weighted_counts(forms)
        components = _right_singular_vectors(matrix, dim, seed)
        rows = components * weight[:, None]
        vectors = cls(hashes, *_quantised(rows))
        return vectors._scaled_to_range(forms)

    def of_texts(self, texts: Ragged) -> npt.NDArray[np.int16]:
        """Return the sum of the vectors of each text's words.

        Parameters
        ----------
        texts : Ragged of n rows, uint8
            Normal forms in UTF-8.

        Returns
        -------
        ndarray of shape (n, dim), int16
            A component that exceeds the type's range gets its limit.
        """
        out = np.empty((len(texts), self.dim), np.int16)
        _sum_ngrams(
            texts.values, texts.offsets, self.hashes, self._buckets, self.rows, self.scale, out
        )
        return out

    @cached_property
    def _buckets(self) -> npt.NDArray[np.int64]:
        """Where the hashes with each value of their upper bits start, for the search."""
        first = np.arange(1 << _BUCKET_BITS, dtype=np.uint64) << np.uint64(32 - _BUCKET_BITS)
        return np.searchsorted(self.hashes, first.astype(np.uint32))

    def _scaled_to_range(self, forms: Sequence[str]) -> WordVectors:
        """Scale all vectors alike, so that those of the titles' words fit well into an int16."""
        words = sorted({word for form in forms for word in form.split()})
        texts = Ragged.from_bytes([word.encode() for word in words])
        largest = 1e-30
        for start in range(0, len(words), 16_384):
            part = texts.part(start, start + 16_384)
            sums = np.zeros((len(part), self.dim), np.float32)
            _sum_ngrams(
                part.values, part.offsets, self.hashes, self._buckets, self.rows, self.scale, sums
            )
            largest = max(largest, float(np.abs(sums).max(initial=0)))
        return WordVectors(self.hashes, self.rows, self.scale * np.float32(_LARGEST / largest))


def _weighted_counts(
    forms: Sequence[str],
) -> tuple[Any, npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
    """Return the TF-IDF matrix of n titles, and the hash and the weight of each column.

    Returns
    -------
    matrix : csr_matrix of shape (n, features), float32
        Each row has unit length, or is empty.
    hashes : ndarray of shape (features,), uint32
    weight : ndarray of shape (features,), float64
        Factor of a count: inverse document frequency times the weight of words or n-grams.
    """
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    title, occurring, count = count_ngrams(forms)
    hashes, column, frequency = np.unique(occurring, return_inverse=True, return_counts=True)

    # the most frequent features; of equally frequent ones those with the lowest hashes
    by_frequency = np.argsort(-frequency, kind="stable")[:MAX_FEATURES]
    kept = np.zeros(len(hashes), bool)
    kept[by_frequency] = frequency[by_frequency] >= _MIN_TITLES
    new_column = np.cumsum(kept) - 1
    entry = kept[column]
    title, count, column = title[entry], count[entry], new_column[column[entry]]
    hashes, frequency = hashes[kept], frequency[kept]

    weight = np.log((1 + len(forms)) / (1 + frequency)) + 1
    is_ngram = hashes >= NGRAM_BIT
    squared = np.bincount(column, (count * weight[column]) ** 2, len(hashes))
    for block in (is_ngram, ~is_ngram):
        weight[block] /= np.sqrt(squared[block].sum() / max(1, len(forms))) or 1

    value = count * weight[column]
    length = np.sqrt(np.bincount(title, value**2, len(forms)))
    value /= length[title]
    offsets = np.searchsorted(title, np.arange(len(forms) + 1))
    matrix = csr_matrix(
        (value.astype(np.float32), column, offsets), shape=(len(forms), len(hashes))
    )
    return matrix, hashes, weight


def _right_singular_vectors(matrix: Any, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """Return the `dim` first right singular vectors, as columns; missing ones are 0."""
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    out = np.zeros((matrix.shape[1], dim), np.float32)
    found = min(dim, *matrix.shape)
    if found == 0 or matrix.nnz == 0:
        return out
    # one BLAS thread adds in one order
    with threadpool_limits(1):
        _, _, components = randomized_svd(matrix, found, n_iter=2, random_state=seed)
    out[:, :found] = components.T
    return out


def _quantised(
    rows: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round each row to int8 multiples of a scale of its own."""
    largest = np.abs(rows).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(rows / scale[:, None]).astype(np.int8), scale


@compiled
def _sum_ngrams(
    data: Any, offsets: Any, hashes: Any, buckets: Any, rows: Any, scale: Any, out: Any
) -> None:
    """Write the sum over the words and n-grams of text i to out[i]; see `WordVectors.of_texts`."""
    dim = rows.shape[1]
    is_integer = out.itemsize == 2
    total = np.empty(dim, np.float32)
    for text in range(len(offsets) - 1):
        total[:] = 0
        start = offsets[text]
        for stop in range(start, offsets[text + 1] + 1):
            if stop < offsets[text + 1] and data[stop] != 32:
                continue
            if stop > start:
                _add_word(data, start, stop, hashes, buckets, rows, scale, total)
            start = stop + 1
        for column in range(dim):
            value = total[column]
            if is_integer:
                value = np.rint(min(max(value, np.float32(-32767)), np.float32(32767)))
            out[text, column] = value


@compiled
def _add_word(
    data: Any,
    start: int,
    stop: int,
    hashes: Any,
    buckets: Any,
    rows: Any,
    scale: Any,
    total: Any,
) -> None:
    """Add the vectors of the word data[start:stop] and of its n-grams to `total`."""
    found = np.empty(1 + (stop - start + 1) * (LONGEST - SHORTEST + 1), np.uint32)
    number = hash_word(data, start, stop, found, 0)
    for i in range(number):
        value = found[i]
        place = buckets[value >> np.uint32(32 - _BUCKET_BITS)]
        while place < len(hashes) and hashes[place] < value:
            place += 1
        if place < len(hashes) and hashes[place] == value:
            factor = scale[place]
            for column in range(len(total)):
                total[column] += factor * np.float32(rows[place, column])
