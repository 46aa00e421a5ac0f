"""TF-IDF of words and character n-grams in titles, as sparse features of a linear model.

They complement the encoder, which was trained on what products have in common. The label of a task
may depend on one rare word: a brand, a model number, "refurbished".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from vitrina.compiled import compiled
from vitrina.hashing import FNV_START, fnv1a
from vitrina.ragged import Ragged

SHORTEST, LONGEST = 2, 5
"""Lengths of the n-grams in bytes. As in scikit-learn's "char_wb", an n-gram lies within one word
and the two spaces around it."""

# Hashes have 31 bits; those of n-grams have this bit set too, those of words don't.
_GRAMS = 1 << 31
_HASH_BITS = np.uint64(_GRAMS - 1)
_FOLD_BITS = np.uint64(33)

_SPACE = 32


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
        _, occurring, _ = _counts(forms)
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
        title, occurring, count = _counts(forms)

        # the column of each hash; `unknown` for one that has none
        unknown = len(self.hashes)
        column = np.searchsorted(self.hashes, occurring)
        known = np.append(self.hashes, np.uint32(0))[column] == occurring
        known &= column < unknown
        idf = self.idf[np.where(known, column, unknown)]
        value = (1 + np.log(count)) * idf

        # Unknown ones count in the length and are dropped only afterwards.
        block = 2 * title + (occurring >= _GRAMS)  # a title's words, then its n-grams
        squared_length = np.bincount(block, value**2)
        value /= np.sqrt(squared_length)[block]

        offsets = np.searchsorted(title[known], np.arange(len(forms) + 1))
        shape = (len(forms), len(self.hashes))
        return csr_matrix((value[known], column[known], offsets), shape)


def _counts(forms: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
    """Count the words and n-grams of n titles.

    Returns
    -------
    title : ndarray of shape (total,), int64
    hashes : ndarray of shape (total,), uint32
        The distinct words and n-grams of each title, ordered by title, then by hash.
    count : ndarray of shape (total,), int32
        How often the title has it.
    """
    text = Ragged.from_bytes([form.encode("utf-8", "replace") for form in forms])
    # Two passes: the first finds how much room each title needs.
    offsets = np.zeros(len(text) + 1, np.int64)
    _count_occurrences(text.values, text.offsets, offsets)
    np.cumsum(offsets, out=offsets)
    hashes = np.empty(int(offsets[-1]), np.uint32)
    count = np.zeros(len(hashes), np.int32)
    _hash_titles(text.values, text.offsets, hashes, count, offsets)

    title = np.repeat(np.arange(len(text)), np.diff(offsets))
    used = count > 0  # equal hashes of a title are counted at the first, the rest is free
    return title[used], hashes[used], count[used]


@compiled
def _count_occurrences(data: Any, offsets: Any, found: Any) -> None:
    """Add to found[i + 1] the number of words and n-grams of title i, repeated ones included."""
    for title in range(len(offsets) - 1):
        length = 0
        for at in range(offsets[title], offsets[title + 1] + 1):
            if at < offsets[title + 1] and data[at] != _SPACE:
                length += 1
            elif length:
                found[title + 1] += 1
                for size in range(SHORTEST, LONGEST + 1):
                    found[title + 1] += max(0, length + 2 - size + 1)
                length = 0


@compiled
def _hash_titles(data: Any, offsets: Any, out: Any, count: Any, places: Any) -> None:
    """Write the hashes of title i to out[places[i]:], sorted, each once, with their counts."""
    for title in range(len(offsets) - 1):
        place, start = places[title], offsets[title]
        for stop in range(start, offsets[title + 1] + 1):
            if stop < offsets[title + 1] and data[stop] != _SPACE:
                continue
            if stop > start:
                place = _hash_word(data, start, stop, out, place)
            start = stop + 1
        _count_equal(out[places[title] : place], count[places[title] : place])


@compiled
def _hash_word(data: Any, start: int, stop: int, out: Any, place: int) -> int:
    """Write the hashes of the word data[start:stop] and its n-grams to out[place:].

    Returns
    -------
    int
        The next free place.
    """
    value = FNV_START
    for at in range(start, stop):
        value = fnv1a(value, data[at])
    out[place] = _short(value)
    place += 1
    # the n-grams that begin at `first`; the word has a space before and after it
    for first in range(start - 1, stop):
        value = FNV_START
        for at in range(first, min(first + LONGEST, stop + 1)):
            value = fnv1a(value, data[at] if start <= at < stop else _SPACE)
            if at - first + 1 >= SHORTEST:
                out[place] = _short(value) | np.uint64(_GRAMS)
                place += 1
    return place


@compiled
def _short(value: Any) -> Any:
    """Fold the upper bits of a 64-bit hash into the lower 31."""
    return (value ^ (value >> _FOLD_BITS)) & _HASH_BITS


@compiled
def _count_equal(hashes: Any, count: Any) -> None:
    """Sort a title's hashes and move the distinct ones to the front, with their counts."""
    hashes.sort()
    last = -1
    for at in range(len(hashes)):
        if last < 0 or hashes[at] != hashes[last]:
            last += 1
            hashes[last] = hashes[at]
        count[last] += 1
