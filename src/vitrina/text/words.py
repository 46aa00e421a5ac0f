"""Words and their pieces in flat arrays, looked up by compiled code.

A hash table over the words' UTF-8 bytes. It only grows, and in place while there is room, so that
readers need no lock: a snapshot knows how many words it holds and takes later ones for unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled
from vitrina.ragged import Ragged, offsets_of


@dataclass(frozen=True, eq=False)
class Words:
    """The pieces of the words known so far; `with_words` gives a larger one.

    Attributes
    ----------
    count : how many words
    keys : Ragged of words, their bytes (uint8), and room for more
    pieces : Ragged of words, and room for more
    slots : (2^k,) int32, a word's row at its hash or the next free place; -1 where free
    """

    count: int
    keys: Ragged
    pieces: Ragged
    slots: npt.NDArray[np.int32]

    @classmethod
    def none(cls) -> Words:
        """No word yet."""
        keys = Ragged(np.empty(1 << 12, np.uint8), np.zeros(1 << 10, np.int64))
        pieces = Ragged(np.empty(1 << 12, np.int32), np.zeros(1 << 10, np.int64))
        return cls(0, keys, pieces, np.full(1 << 11, -1, np.int32))

    def __len__(self) -> int:
        return self.count

    def with_words(self, keys: Ragged, pieces: Ragged) -> Words:
        """These words and new ones. Only of the newest Words, by one thread at a time."""
        count = self.count + len(keys)
        known = Words(
            count,
            _appended(self.keys, self.count, keys),
            _appended(self.pieces, self.count, pieces),
            self.slots,
        )
        first = self.count
        if 2 * count > len(self.slots):  # at most half full: a probe or two finds a word
            slots = np.full(1 << (4 * count - 1).bit_length(), -1, np.int32)
            known, first = Words(count, known.keys, known.pieces, slots), 0
        _insert(known.keys.values, known.keys.offsets, known.slots, first, count)
        return known

    def look_up(self, titles: Ragged) -> tuple[Found, npt.NDArray[np.int64]]:
        """The words of n titles, given as bytes, and the number of pieces of each, shape (n,);
        -1 for a title with an unknown word."""
        offsets, n = titles.offsets, len(titles)
        # a title of b bytes has (b + 1) // 2 words at most
        rows = np.empty((int(offsets[-1]) + n + 1) // 2, np.int32)
        ends, lengths = np.empty(n, np.int64), np.empty(n, np.int64)
        _look_up(
            *(titles.values, offsets, self.keys.values, self.keys.offsets, self.pieces.offsets),
            *(self.slots, self.count, rows, ends, lengths),
        )
        return (rows, ends), lengths

    def pieces_of(
        self, titles: Ragged, found: Found, lengths: npt.NDArray[np.int64], pad: int
    ) -> Ragged:
        """Pieces of n titles: what `look_up` found, filled up with `pad` to the given lengths."""
        offsets = offsets_of(lengths)
        values = np.empty(int(offsets[-1]), np.int32)
        _fill(
            *(titles.offsets, *found, self.pieces.values, self.pieces.offsets),
            *(values, offsets, pad),
        )
        return Ragged(values, offsets)


# Rows of words: those of title i from `_first_word` on, up to the i-th end.
Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


@compiled
def _first_word(offsets: Any, title: int) -> int:
    return (offsets[title] + title) // 2  # type: ignore[no-any-return]


@compiled
def _is_space(byte: int) -> bool:
    """White space of bytes.split(); that beyond ASCII is left to the normaliser."""
    return byte == 32 or 9 <= byte <= 13


@compiled
def _hash(data: Any, start: int, stop: int) -> Any:
    """FNV-1a, its upper half folded in."""
    value = np.uint64(14695981039346656037)
    for at in range(start, stop):
        value = (value ^ np.uint64(data[at])) * np.uint64(1099511628211)
    return value ^ (value >> np.uint64(32))


@compiled
def _look_up(
    data: Any,
    offsets: Any,
    keys: Any,
    key_offsets: Any,
    piece_offsets: Any,
    slots: Any,
    count: int,
    rows: Any,
    ends: Any,
    lengths: Any,
) -> None:
    mask = np.uint64(len(slots) - 1)
    for title in range(len(offsets) - 1):
        place = _first_word(offsets, title)
        length = 0
        at, stop = offsets[title], offsets[title + 1]
        while True:
            while at < stop and _is_space(data[at]):
                at += 1
            if at == stop:
                break
            start = at
            while at < stop and not _is_space(data[at]):
                at += 1
            slot = _hash(data, start, at) & mask
            while True:
                row = slots[slot]
                if row < 0 or row >= count:  # a later word lies behind all earlier ones
                    row = -1
                    break
                key = key_offsets[row]
                if key_offsets[row + 1] - key == at - start:
                    same = 0
                    while same < at - start and keys[key + same] == data[start + same]:
                        same += 1
                    if same == at - start:
                        break
                slot = (slot + np.uint64(1)) & mask
            if row < 0:
                length = -1
                break
            rows[place] = row
            place += 1
            length += piece_offsets[row + 1] - piece_offsets[row]
        ends[title] = place
        lengths[title] = length


@compiled
def _fill(
    offsets: Any,
    rows: Any,
    ends: Any,
    pieces: Any,
    piece_offsets: Any,
    out: Any,
    out_offsets: Any,
    pad: int,
) -> None:
    for title in range(len(ends)):
        at = out_offsets[title]
        for place in range(_first_word(offsets, title), ends[title]):
            row = rows[place]
            for piece in range(piece_offsets[row], piece_offsets[row + 1]):
                out[at] = pieces[piece]
                at += 1
        out[at : out_offsets[title + 1]] = pad


@compiled
def _insert(keys: Any, key_offsets: Any, slots: Any, first: int, stop: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for row in range(first, stop):
        slot = _hash(keys, key_offsets[row], key_offsets[row + 1]) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = row


def _appended(known: Ragged, count: int, new: Ragged) -> Ragged:
    """The first `count` rows of `known` and the new ones: in place while there is room."""
    used = int(known.offsets[count])
    values = _with_room(known.values, used + len(new.values))
    offsets = _with_room(known.offsets, count + len(new) + 1)
    values[used : used + len(new.values)] = new.values
    offsets[count : count + len(new) + 1] = new.offsets + used
    return Ragged(values, offsets)


def _with_room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or a copy of at least twice its length, so that appending stays linear."""
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown
