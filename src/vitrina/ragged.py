"""Lists of different lengths without padding: sessions of products, titles of pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A list of integer lists, stored as values and offsets (the layout of Arrow's list type).

    Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes
    ----------
    values : ndarray of shape (total,), int32 or uint8
        The values of all rows, one row after the other; uint8 where rows are texts in UTF-8.
    offsets : ndarray of shape (rows + 1,), int64
        Non-decreasing, from 0 to `total`.
    """

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_bytes(cls, rows: Sequence[bytes]) -> Ragged:
        """Pack byte strings, in order, as uint8 values."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.frombuffer(b"".join(rows), np.uint8)
        return cls(values, offsets_of(lengths))

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Pack Python lists or arrays, in order, as int32 values."""
        lists = list(rows)
        lengths = np.fromiter((len(row) for row in lists), np.int64, len(lists))
        offsets = offsets_of(lengths)
        values = np.fromiter((v for row in lists for v in row), np.int32, int(offsets[-1]))
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self[row] for row in range(len(self)))

    @classmethod
    def concatenated(cls, parts: Sequence[Ragged]) -> Ragged:
        """Return the rows of one or more parts, in order, as one Ragged."""
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([part.lengths for part in parts])
        values = np.concatenate([part.values for part in parts])
        return cls(values, offsets_of(lengths))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of every row, an int64 array of shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def pairs(self) -> npt.NDArray[np.int64]:
        """Number of unordered pairs in every row, an int64 array of shape (rows,).

        A row of n values has n (n - 1) / 2 pairs.
        """
        lengths = self.lengths
        return lengths * (lengths - 1) // 2

    def part(self, start: int, stop: int) -> Ragged:
        """Return rows `start` to `stop` - 1, or to the last row if there are fewer.

        The values are a view, not a copy.
        """
        offsets = self.offsets[start : stop + 1]
        values = self.values[offsets[0] : offsets[-1]]
        return Ragged(values, offsets - offsets[0])

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Ragged:
        """Copy the given rows, in the given order, to a new Ragged.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Row numbers. A row may be taken more than once.

        Returns
        -------
        Ragged
            It has n rows.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - starts
        offsets = offsets_of(lengths)
        # a value's old position is its new one, shifted by how far its row's start has moved
        shifts = starts - offsets[:-1]
        positions = np.arange(offsets[-1]) + np.repeat(shifts, lengths)
        return Ragged(self.values[positions], offsets)


def offsets_of(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the offsets of rows with the given lengths.

    Parameters
    ----------
    lengths : ndarray of shape (rows,), integer

    Returns
    -------
    ndarray of shape (rows + 1,), int64
        Running sums of the lengths, from 0.
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
