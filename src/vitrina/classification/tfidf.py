"""The words of titles and their character n-grams as sparse features of a linear model.

What they add to the encoder: it was trained on what products have in common, and a rare word of one
task (a brand, "refurbished", a model's number) may be all that a label hangs on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from vitrina.compiled import compiled
from vitrina.ragged import Ragged

SHORTEST, LONGEST = 2, 5
"""Bytes of an n-gram, the spaces around a word included (scikit-learn's char_wb)."""

_GRAMS = 1 << 31  # hashes from here on are of n-grams, those below of words


class HashedTfidf(NamedTuple):
    """TF-IDF of the words and n-grams that some titles have; each of both at unit length.

    No vocabulary is kept: words and n-grams are known by their hash of 31 bits. Those that are not
    known have no column, but count in the length: of a title in new words little is left, and the
    vector beside it decides.

    Attributes
    ----------
    hashes : (d,) uint32, sorted: those that occurred, first of words, then of n-grams
    idf : (d + 1,) float64, the last that of all others
    """

    hashes: npt.NDArray[np.uint32]
    idf: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, forms: Sequence[str]) -> HashedTfidf:
        """What the normal forms of n titles have."""
        _, occurring, _ = _counts(forms)
        hashes, titles_with = np.unique(occurring, return_counts=True)
        return cls(hashes, np.log((1 + len(forms)) / (1 + np.append(titles_with, 0))) + 1)

    def __call__(self, forms: Sequence[str]) -> csr_matrix:
        """Features of the normal forms of n titles, (n, d) float64; a title's are the same in any
        batch."""
        title, occurring, count = _counts(forms)
        column = np.searchsorted(self.hashes, occurring)
        known = np.append(self.hashes, np.uint32(0))[column] == occurring
        known &= column < len(self.hashes)
        value = (1 + np.log(count)) * self.idf[np.where(known, column, len(self.hashes))]
        half = 2 * title + (occurring >= _GRAMS)  # a title's words, its n-grams
        value /= np.sqrt(np.bincount(half, value**2))[half]
        offsets = np.searchsorted(title[known], np.arange(len(forms) + 1))
        shape = (len(forms), len(self.hashes))
        return csr_matrix((value[known], column[known], offsets), shape)


def _counts(forms: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
    """The words and n-grams of n titles, each once a title: the title (int64), the hash (uint32),
    how often (int32). Ordered by title and hash."""
    text = Ragged.from_bytes([form.encode("utf-8", "replace") for form in forms])
    offsets = np.zeros(len(text) + 1, np.int64)
    _count(text.values, text.offsets, offsets)
    np.cumsum(offsets, out=offsets)
    found = np.empty(int(offsets[-1]), np.uint32)
    count = np.zeros(len(found), np.int32)
    _hash(text.values, text.offsets, found, count, offsets)
    title = np.repeat(np.arange(len(text)), np.diff(offsets))
    once = count > 0
    return title[once], found[once], count[once]


@compiled
def _count(data: Any, offsets: Any, found: Any) -> None:
    """found[i + 1]: words and n-grams of title i."""
    for title in range(len(offsets) - 1):
        length = 0
        for at in range(offsets[title], offsets[title + 1] + 1):
            if at < offsets[title + 1] and data[at] != 32:
                length += 1
            elif length:
                found[title + 1] += 1
                for size in range(SHORTEST, LONGEST + 1):
                    found[title + 1] += max(0, length + 2 - size + 1)
                length = 0


@compiled
def _hash(data: Any, offsets: Any, out: Any, count: Any, places: Any) -> None:
    """FNV-1a, its upper bits folded in, of each word and n-gram; then, title by title, sorted, and
    each once with its count."""
    start_value, prime = np.uint64(14695981039346656037), np.uint64(1099511628211)
    fold, mask = np.uint64(33), np.uint64(_GRAMS - 1)
    for title in range(len(offsets) - 1):
        place, start = places[title], offsets[title]
        for stop in range(start, offsets[title + 1] + 1):
            if stop < offsets[title + 1] and data[stop] != 32:
                continue
            if stop > start:
                value = start_value
                for at in range(start, stop):
                    value = (value ^ np.uint64(data[at])) * prime
                out[place] = (value ^ (value >> fold)) & mask
                place += 1
                for first in range(start - 1, stop):
                    value = start_value
                    for at in range(first, min(first + LONGEST, stop + 1)):
                        byte = data[at] if start <= at < stop else 32
                        value = (value ^ np.uint64(byte)) * prime
                        if at - first + 1 >= SHORTEST:
                            out[place] = ((value ^ (value >> fold)) & mask) | np.uint64(_GRAMS)
                            place += 1
            start = stop + 1
        mine = out[places[title] : place]
        mine.sort()
        last = -1
        for at in range(len(mine)):
            if last < 0 or mine[at] != mine[last]:
                last += 1
                mine[last] = mine[at]
            count[places[title] + last] += 1
