"""Hashes of the words of a title and of the character n-grams in its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled
from vitrina.hashing import FNV_START, fnv1a
from vitrina.ragged import Ragged

SHORTEST, LONGEST = 2, 5
"""Lengths of the n-grams in bytes. As in scikit-learn's "char_wb", an n-gram lies within one word
and the two spaces around it."""

NGRAM_BIT = 1 << 31
"""Hashes have 31 bits; those of n-grams have this bit set too, those of words don't."""

_HASH_BITS = np.uint64(NGRAM_BIT - 1)
_FOLD_BITS = np.uint64(33)

_SPACE = 32


def count_ngrams(forms: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
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
                place = hash_word(data, start, stop, out, place)
            start = stop + 1
        _count_equal(out[places[title] : place], count[places[title] : place])


@compiled
def hash_word(data: Any, start: int, stop: int, out: Any, place: int) -> int:
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
                out[place] = _short(value) | np.uint64(NGRAM_BIT)
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
