"""Lists of different lengths without padding: sessions of products, titles of pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A list of integer lists as values + offsets (the layout of Arrow's list type).

    Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes
    ----------
    values : array of shape (total,), int32 (uint8 where rows are texts in UTF-8)
    offsets : array of shape (rows + 1,), int64, non-decreasing, from 0 to total
    """

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_bytes(cls, rows: Sequence[bytes]) -> Ragged:
        """Pack byte strings, in order: uint8 values."""
        offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        return cls(np.frombuffer(b"".join(rows), np.uint8), offsets)

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Pack Python lists (or arrays), in order."""
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
        """All rows of one or more parts, in order."""
        if len(parts) == 1:
            return parts[0]
        offsets = offsets_of(np.concatenate([part.lengths for part in parts]))
        return cls(np.concatenate([part.values for part in parts]), offsets)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of every row, shape (rows,), int64."""
        return np.diff(self.offsets)

    @property
    def pairs(self) -> npt.NDArray[np.int64]:
        """Unordered pairs of every row, n (n - 1) / 2 for n values, shape (rows,), int64."""
        lengths = self.lengths
        return lengths * (lengths - 1) // 2

    def part(self, start: int, stop: int) -> Ragged:
        """Rows start to stop - 1 (or the last); their values are not copied."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Ragged:
        """The given rows, in the given order, as a new Ragged (a row may be taken twice)."""
        starts, lengths = (
            self.offsets[rows],
            self.offsets[np.asarray(rows) + 1] - self.offsets[rows],
        )
        offsets = offsets_of(lengths)
        # position of every value: its place in the new row, moved to where the old row starts
        positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Ragged(self.values[positions], offsets)


def offsets_of(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Offsets, shape (rows + 1,), int64, of rows with the given lengths, shape (rows,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
