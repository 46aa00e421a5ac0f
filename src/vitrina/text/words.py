"""Words and their pieces, looked up by compiled code.

A hash table over the words' UTF-8 bytes. What is known of a word lies together in one record, since
what a look-up costs is waiting for memory. The table only grows, and in place while there is room,
so that readers need no lock: a snapshot knows where its records end and takes later ones for
unknown.
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
    used : length of their records
    records : (room,) int32: of each word the number of its pieces, that of its bytes, the pieces,
        and the bytes, filled up to a multiple of 4
    slots : (2^k,) int32, where a word's record starts, at its hash or the next free place; -1 where
        free
    """

    count: int
    used: int
    records: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int32]

    @classmethod
    def none(cls) -> Words:
        """No word yet."""
        return cls(0, 0, np.zeros(1 << 13, np.int32), np.full(1 << 11, -1, np.int32))

    def __len__(self) -> int:
        return self.count

    def with_words(self, keys: Ragged, pieces: Ragged) -> Words:
        """These words and new ones. Only of the newest Words, by one thread at a time."""
        count = self.count + len(keys)
        used = self.used + int((2 + pieces.lengths + (keys.lengths + 3) // 4).sum())
        records = self.records
        if used > len(records):  # at least doubled, so that appending stays linear
            records = np.zeros(max(used, 2 * len(records)), np.int32)
            records[: self.used] = self.records[: self.used]
        octets = records.view(np.uint8)
        new = keys.values, keys.offsets, pieces.values, pieces.offsets
        _append(records, octets, self.used, *new)
        slots, first = self.slots, self.used
        if 2 * count > len(slots):  # at most half full: a probe or two finds a word
            slots, first = np.full(1 << (4 * count - 1).bit_length(), -1, np.int32), 0
        _insert(records, octets, slots, first, used)
        return Words(count, used, records, slots)

    def look_up(self, titles: Ragged) -> tuple[Found, npt.NDArray[np.int64]]:
        """The words of n titles, given as bytes, and the number of pieces of each, shape (n,);
        -1 for a title with an unknown word."""
        offsets, n = titles.offsets, len(titles)
        # a title of b bytes has (b + 1) // 2 words at most
        places = np.empty((int(offsets[-1]) + n + 1) // 2, np.int32)
        ends, lengths = np.empty(n, np.int64), np.empty(n, np.int64)
        _look_up(
            *(titles.values, offsets, self.records, self.records.view(np.uint8), self.used),
            *(self.slots, places, ends, lengths),
        )
        return (places, ends), lengths

    def pieces_of(
        self, titles: Ragged, found: Found, lengths: npt.NDArray[np.int64], pad: int
    ) -> Ragged:
        """Pieces of n titles: what `look_up` found, filled up with `pad` to the given lengths."""
        offsets = offsets_of(lengths)
        values = np.empty(int(offsets[-1]), np.int32)
        _fill(titles.offsets, *found, self.records, values, offsets, pad)
        return Ragged(values, offsets)


# Where records start: those of title i from `_first_word` on, up to the i-th end.
Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


@compiled
def _first_word(offsets: Any, title: int) -> int:
    return (offsets[title] + title) // 2  # type: ignore[no-any-return]


@compiled
def _is_space(byte: int) -> bool:
    """White space of bytes.split(); that beyond ASCII is left to the normaliser."""
    return byte == 32 or 9 <= byte <= 13


# FNV-1a, its upper half folded in at the end
_START = np.uint64(14695981039346656037)


@compiled
def _hashed(value: Any, byte: Any) -> Any:
    return (value ^ np.uint64(byte)) * np.uint64(1099511628211)


@compiled
def _slot(value: Any, mask: Any) -> Any:
    return (value ^ (value >> np.uint64(32))) & mask


@compiled
def _look_up(
    data: Any,
    offsets: Any,
    records: Any,
    octets: Any,
    used: int,
    slots: Any,
    places: Any,
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
            start, value = at, _START
            while at < stop and not _is_space(data[at]):
                value = _hashed(value, data[at])
                at += 1
            slot = _slot(value, mask)
            while True:
                record = slots[slot]
                if record < 0 or record >= used:  # a later word lies behind all earlier ones
                    record = -1
                    break
                if records[record + 1] == at - start:
                    key = 4 * (record + 2 + records[record])
                    same = 0
                    while same < at - start and octets[key + same] == data[start + same]:
                        same += 1
                    if same == at - start:
                        break
                slot = (slot + np.uint64(1)) & mask
            if record < 0:
                length = -1
                break
            places[place] = record
            place += 1
            length += records[record]
        ends[title] = place
        lengths[title] = length


@compiled
def _fill(
    offsets: Any, places: Any, ends: Any, records: Any, out: Any, out_offsets: Any, pad: int
) -> None:
    for title in range(len(ends)):
        at = out_offsets[title]
        for place in range(_first_word(offsets, title), ends[title]):
            record = places[place]
            for piece in range(records[record]):
                out[at] = records[record + 2 + piece]
                at += 1
        out[at : out_offsets[title + 1]] = pad


@compiled
def _append(
    records: Any, octets: Any, at: int, keys: Any, key_offsets: Any, pieces: Any, offsets: Any
) -> None:
    for word in range(len(offsets) - 1):
        length = offsets[word + 1] - offsets[word]
        size = key_offsets[word + 1] - key_offsets[word]
        records[at], records[at + 1] = length, size
        records[at + 2 : at + 2 + length] = pieces[offsets[word] : offsets[word + 1]]
        at += 2 + length
        octets[4 * at : 4 * at + size] = keys[key_offsets[word] : key_offsets[word + 1]]
        at += (size + 3) // 4


@compiled
def _insert(records: Any, octets: Any, slots: Any, at: int, stop: int) -> None:
    mask = np.uint64(len(slots) - 1)
    while at < stop:
        key = at + 2 + records[at]
        value = _START
        for byte in range(4 * key, 4 * key + records[at + 1]):
            value = _hashed(value, octets[byte])
        slot = _slot(value, mask)
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = at
        at = key + (records[at + 1] + 3) // 4
