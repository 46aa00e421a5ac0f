"""A hash table of words with their pieces and vectors, looked up by compiled code.

The keys are the words' UTF-8 bytes. Everything about a word is stored in one record, because
waiting for memory takes most of the time of a look-up. A table grows in place up to a fixed size.
Reads are lock-free: a snapshot knows where its last record ends, and treats words stored later as
unknown.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled, prefetch
from vitrina.errors import InputError
from vitrina.hashing import fnv1a
from vitrina.lengths import scale_to_length
from vitrina.ragged import Ragged, offsets_of

# The largest table takes 40 MiB, 32 for records and 8 for slots, and at most 128 MiB for vectors. A
# catalogue of 160,000 products has 220,000 distinct words, with 8 int32 in a record on average.
_MAX_WORDS = 1 << 19
_MAX_RECORDS = 1 << 23
_MAX_VECTOR_NUMBERS = 1 << 26

_HEADER = 3
"""Numbers of a record before the pieces."""

_LARGEST_INDEX = np.iinfo(np.int32).max

Found: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""Where the records of the words of n titles start, and where each title ends in this list.

The words of title i stand from `_first_word(offsets, i)` up to the i-th end.
"""


@dataclass(frozen=True, eq=False)
class Words:
    """The pieces and vectors of known words; `with_words` adds new ones.

    Attributes
    ----------
    count : int
        Number of words.
    used : int
        Where their records end. The first record starts at 1.
    records : ndarray of shape (capacity,), int32
        For each word: its number of pieces, its number of bytes, its row in `vectors`, the pieces,
        and the bytes, filled up to a multiple of 4.
    slots : ndarray of shape (2^k,), int32
        Where the record of a word starts, at the word's hash or the next free slot; 0 if free.
    vectors : ndarray of shape (capacity, dim), int16
        The vector of each word; `dim` is 0 if there are none.
    seed : uint64
        Start of the words' hashes, drawn at random for each table. Nobody can therefore prepare
        words that share a slot, which would make look-ups slow.
    """

    count: int
    used: int
    records: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int16]
    seed: np.uint64

    @classmethod
    def none(cls, dim: int, words: int = 0, size: int = 0) -> Words:
        """Return an empty table.

        Parameters
        ----------
        dim : int
            Dimensions of the words' vectors; 0 for none.
        words : int, optional
            Number of words that it must have room for. The usual room is the minimum.
        size : int, optional
            Size of the records that it must have room for; see `size_of_records`. The usual room is
            the minimum.

        Returns
        -------
        Words

        Raises
        ------
        InputError
            If an int32 can't index records of this size.
        """
        if size >= _LARGEST_INDEX:
            raise InputError(
                "titles: the words of one batch take more than 8 GiB; encode fewer titles at a "
                "time, or shorten them"
            )
        # The system provides the memory when it is first written to.
        records = np.zeros(max(size, _MAX_RECORDS) + 1, np.int32)
        slots = np.zeros(1 << 11, np.int32)
        vectors = np.zeros((max(words, _usual_room(dim)), dim), np.int16)
        return cls(0, 1, records, slots, vectors, np.uint64(secrets.randbits(64)))

    def __len__(self) -> int:
        return self.count

    def has_room(self, words: int, size: int) -> bool:
        """Whether new words, with records of this size, fit into the table's bounds."""
        return self.used + size <= len(self.records) and self.count + words <= len(self.vectors)

    def with_words(self, keys: Ragged, pieces: Ragged, vectors: npt.NDArray[np.int16]) -> Words:
        """Return a table with these words and new ones.

        Both tables share memory, and both may be read afterwards. Call it once for each table, and
        from one thread at a time. If the call is interrupted, the table can still be read, but it
        must not grow again.

        Parameters
        ----------
        keys : Ragged of n rows, uint8
            New words, in UTF-8. There must be room for their records.
        pieces : Ragged of n rows, int32
        vectors : ndarray of shape (n, dim), int16

        Returns
        -------
        Words
        """
        count = self.count + len(keys)
        used = self.used + size_of_records(keys, pieces)
        octets = self.records.view(np.uint8)
        self.vectors[self.count : count] = vectors
        _append(
            self.records,
            octets,
            self.used,
            self.count,
            keys.values,
            keys.offsets,
            pieces.values,
            pieces.offsets,
        )
        slots = self.slots
        first = self.used
        # at most half full, so that one or two probes find a word; new slots hold all words again
        if 2 * count > len(slots):
            slots = np.zeros(1 << (4 * count - 1).bit_length(), np.int32)
            first = 1
        _insert(self.records, octets, slots, first, used, self.seed)
        return Words(count, used, self.records, slots, self.vectors, self.seed)

    def look_up(self, titles: Ragged) -> tuple[Found, npt.NDArray[np.int64]]:
        """Find the words of titles.

        Parameters
        ----------
        titles : Ragged of n rows, uint8
            Titles in UTF-8.

        Returns
        -------
        found : tuple of ndarray
            The records of the words, for `pieces_of`.
        lengths : ndarray of shape (n,), int64
            Number of pieces of each title; -1 if one of its words is unknown.
        """
        n = len(titles)
        offsets = titles.offsets
        # a title of b bytes has at most (b + 1) // 2 words
        places = np.empty((int(offsets[-1]) + n + 1) // 2, np.int32)
        ends = np.empty(n, np.int64)
        lengths = np.empty(n, np.int64)
        _look_up(
            titles.values,
            offsets,
            self.records,
            self.records.view(np.uint8),
            self.used,
            self.slots,
            self.seed,
            places,
            ends,
            lengths,
        )
        return (places, ends), lengths

    def pieces_of(
        self, titles: Ragged, found: Found, lengths: npt.NDArray[np.int64], pad: int
    ) -> Ragged:
        """Collect the pieces of titles.

        Parameters
        ----------
        titles : Ragged of n rows, uint8
        found : tuple of ndarray
            The result of `look_up` for these titles. All words must be known.
        lengths : ndarray of shape (n,), int64
            Lengths of the rows to return, at least those from `look_up`.
        pad : int
            Piece that fills up the rows.

        Returns
        -------
        Ragged of n rows, int32
        """
        places, ends = found
        offsets = offsets_of(lengths)
        values = np.empty(int(offsets[-1]), np.int32)
        _fill(titles.offsets, places, ends, self.records, values, offsets, pad)
        return Ragged(values, offsets)

    def add_vectors_into(
        self,
        titles: Ragged,
        found: Found,
        length: float,
        out: npt.NDArray[np.float32],
    ) -> None:
        """Add the vectors of the words of each title, and scale the sums to one length.

        Parameters
        ----------
        titles : Ragged of n rows, uint8
        found : tuple of ndarray
            The result of `look_up` for these titles. All words must be known.
        length : float
        out : ndarray of shape (n, width), float32
            The last `dim` columns are filled with the results; a sum of 0 stays 0. A title gets the
            same bits in any batch.
        """
        places, ends = found
        _add_vectors(
            titles.offsets, places, ends, self.records, self.vectors, np.float32(length), out
        )


def _usual_room(dim: int) -> int:
    """Number of words in the largest table, by the dimensions of their vectors."""
    return min(_MAX_WORDS, _MAX_VECTOR_NUMBERS // max(1, dim))


def size_of_records(keys: Ragged, pieces: Ragged) -> int:
    """Return how many int32 the records of words take.

    Parameters
    ----------
    keys : Ragged of n rows, uint8
    pieces : Ragged of n rows, int32

    Returns
    -------
    int
    """
    return int((_HEADER + pieces.lengths + (keys.lengths + 3) // 4).sum())


@compiled
def _first_word(offsets: Any, title: int) -> int:
    """Where the words of a title start in the list of found words."""
    return (offsets[title] + title) // 2  # type: ignore[no-any-return]


@compiled
def _is_space(byte: int) -> bool:
    """Whether a byte is white space for bytes.split(); the normaliser handles other white space."""
    return byte == 32 or 9 <= byte <= 13


@compiled
def _slot(value: Any, mask: Any) -> Any:
    """The first slot to look at for an FNV-1a hash, whose upper half is folded into its lower."""
    return (value ^ (value >> np.uint64(32))) & mask


@compiled
def _look_up(
    data: Any,
    offsets: Any,
    records: Any,
    octets: Any,
    used: int,
    slots: Any,
    seed: Any,
    places: Any,
    ends: Any,
    lengths: Any,
) -> None:
    """Find the records of the words of all titles; see `Words.look_up`."""
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
            start, value = at, seed
            while at < stop and not _is_space(data[at]):
                value = fnv1a(value, data[at])
                at += 1
            # probe slots until one holds the word or is free
            slot = _slot(value, mask)
            while True:
                record = slots[slot]
                # words stored after this snapshot took slots that were free in it, so they end the
                # search as a free slot does
                if record == 0 or record >= used:
                    record = 0
                    break
                if records[record + 1] == at - start:
                    key = 4 * (record + _HEADER + records[record])
                    same = 0
                    while same < at - start and octets[key + same] == data[start + same]:
                        same += 1
                    if same == at - start:
                        break
                slot = (slot + np.uint64(1)) & mask
            if record == 0:
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
    """Copy the pieces of the found words to `out`; see `Words.pieces_of`."""
    for title in range(len(ends)):
        at = out_offsets[title]
        for place in range(_first_word(offsets, title), ends[title]):
            record = places[place]
            for piece in range(records[record]):
                out[at] = records[record + _HEADER + piece]
                at += 1
        out[at : out_offsets[title + 1]] = pad


@compiled
def _add_vectors(
    offsets: Any, places: Any, ends: Any, records: Any, vectors: Any, length: Any, out: Any
) -> None:
    """Write the scaled sum of the found words' vectors to `out`; see `Words.add_vectors_into`."""
    dim = vectors.shape[1]
    first_column = out.shape[1] - dim
    numbers = vectors.ravel()
    for title in range(len(ends)):
        # Adding mostly waits for memory: prefetch the vectors of the next title.
        if title + 1 < len(ends):
            for place in range(_first_word(offsets, title + 1), ends[title + 1]):
                first = records[places[place] + 2] * dim
                for column in range(0, dim, 32):
                    prefetch(numbers, first + column)
        total = out[title, first_column:]
        total[:] = 0
        place, stop = _first_word(offsets, title), ends[title]
        # Four words at a time: `total` is then read and written a quarter as often.
        while place + 4 <= stop:
            a = vectors[records[places[place] + 2]]
            b = vectors[records[places[place + 1] + 2]]
            c = vectors[records[places[place + 2] + 2]]
            d = vectors[records[places[place + 3] + 2]]
            for column in range(dim):
                two = np.int32(np.int32(a[column]) + np.int32(b[column]))
                four = np.int32(two + np.int32(np.int32(c[column]) + np.int32(d[column])))
                total[column] += np.float32(four)
            place += 4
        for last in range(place, stop):
            a = vectors[records[places[last] + 2]]
            for column in range(dim):
                total[column] += np.float32(a[column])
        scale_to_length(total, length)


@compiled
def _append(
    records: Any,
    octets: Any,
    at: int,
    number: int,
    keys: Any,
    key_offsets: Any,
    pieces: Any,
    offsets: Any,
) -> None:
    """Write the records of new words from `at` on; `octets` is a view of `records` as bytes.

    `number` is the row of the first word's vector.
    """
    for word in range(len(offsets) - 1):
        length = offsets[word + 1] - offsets[word]
        size = key_offsets[word + 1] - key_offsets[word]
        records[at], records[at + 1], records[at + 2] = length, size, number + word
        at += _HEADER
        records[at : at + length] = pieces[offsets[word] : offsets[word + 1]]
        at += length
        octets[4 * at : 4 * at + size] = keys[key_offsets[word] : key_offsets[word + 1]]
        at += (size + 3) // 4


@compiled
def _insert(records: Any, octets: Any, slots: Any, at: int, stop: int, seed: Any) -> None:
    """Put the records from `at` to `stop` into slots."""
    mask = np.uint64(len(slots) - 1)
    while at < stop:
        key = at + _HEADER + records[at]
        value = seed
        for byte in range(4 * key, 4 * key + records[at + 1]):
            value = fnv1a(value, octets[byte])
        slot = _slot(value, mask)
        while slots[slot] > 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = at
        at = key + (records[at + 1] + 3) // 4
