"""Unit vectors in 16 bits, and the exact scan for the nearest ones."""

# numba's functions have no types
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled, in_threads, number_of_threads
from vitrina.errors import InputError

_LARGEST = 127 * 256
"""Largest absolute value of a component: its high byte is 127 at most."""

_CODING_ROWS = 4_096
_QUERIES_AT_ONCE = 256
_ROWS_AT_ONCE = 32
"""Rows of a block of the scan: their high bytes stay in the nearest cache (16 KiB of 512)."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """n unit vectors. A component is ``scale · (256 · high + low)``, a number of 16 bits.

    The scan reads the high bytes only, a quarter of the memory of float32. It keeps more rows than
    it needs, and the low bytes decide between them. All sums are sums of whole numbers, so a result
    has the same bits in any batch, with any number of threads and on any machine.

    Attributes
    ----------
    high, low : ndarray of shape (n, width), int8
    scale : ndarray of shape (n,), float32
        It makes the length of the vector 1. A vector of zeros has the scale 0.
    """

    high: npt.NDArray[np.int8]
    low: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]

    @classmethod
    def of(cls, vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
        """Code vectors, at unit length.

        Parameters
        ----------
        vectors : ndarray of shape (n, width), float
            Of any length. A vector of zeros stays one.

        Raises
        ------
        InputError
            If a number is infinite or not a number.
        """
        count, width = vectors.shape
        coded = cls(
            np.empty((count, width), np.int8),
            np.empty((count, width), np.int8),
            np.empty(count, np.float32),
        )
        for start in range(0, count, _CODING_ROWS):
            rows = slice(start, start + _CODING_ROWS)
            _code(vectors[rows], coded.high[rows], coded.low[rows], coded.scale[rows])
        return coded

    @classmethod
    def concatenated(cls, parts: Sequence[Vectors]) -> Vectors:
        """Return the vectors of one or more parts, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.scale for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def width(self) -> int:
        """Number of components of a vector."""
        return int(self.high.shape[1])

    def __getitem__(self, rows: Any) -> Vectors:
        """Return the vectors of a slice, of row numbers or of a mask."""
        return Vectors(self.high[rows], self.low[rows], self.scale[rows])

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Find the k vectors of the highest cosine to each query, by a scan of all vectors.

        Parameters
        ----------
        queries : Vectors
        k : int
            1 or more.
        allowed : ndarray of shape (n,), bool, optional
            The vectors to search; all by default.
        threads : int, optional
            All processors by default. The result doesn't depend on it.

        Returns
        -------
        rows : ndarray of shape (queries, k), int64
            Best first; of equal cosines, the smaller row number first. -1 fills up a query that has
            fewer vectors to find.
        cosines : ndarray of shape (queries, k), float32
        """
        if allowed is None:
            allowed = np.ones(len(self), np.bool_)
        rows = np.empty((len(queries), k), np.int64)
        cosines = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            found = self._candidates(queries[part], candidates_for(k), allowed, threads)
            rows[part], cosines[part] = self.ranked(queries[part], found, k)
        return rows, cosines

    def _candidates(
        self, queries: Vectors, count: int, allowed: npt.NDArray[np.bool_], threads: int | None
    ) -> npt.NDArray[np.int64]:
        """Rows of the `count` highest sums of high bytes of each query; -1 if there are fewer."""
        count = min(count, len(self))
        factors = _scan_factors(queries)
        parts: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}

        def scan(start: int, stop: int) -> None:
            scores = np.full((len(queries), count), -np.inf, np.float32)
            rows = np.full((len(queries), count), -1, np.int64)
            _scan(self.high, self.scale, factors, allowed, start, stop, scores, rows)
            parts[start] = scores, rows

        in_threads(scan, len(self), number_of_threads(threads))
        # the parts in the order of their rows, so that a stable sort keeps that order for ties
        in_order = [parts[start] for start in sorted(parts)]
        scores = np.concatenate([part[0] for part in in_order], axis=1)
        rows = np.concatenate([part[1] for part in in_order], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(rows, best, 1)

    def ranked(
        self, queries: Vectors, candidates: npt.NDArray[np.int64], k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return the k best of each query's candidates, by their cosine in 16 bits.

        Parameters
        ----------
        queries : Vectors
        candidates : ndarray of shape (queries, any), int64
            Row numbers; -1 stands for none.
        k : int

        Returns
        -------
        rows, cosines : ndarray of shape (queries, k)
            As from `nearest`.
        """
        cosines = np.empty(candidates.shape, np.float32)
        _rank(
            self.high,
            self.low,
            self.scale,
            queries.high,
            queries.low,
            queries.scale,
            candidates,
            cosines,
        )
        order = np.lexsort((candidates, -cosines), axis=1)[:, :k]
        rows = np.full((len(queries), k), -1, np.int64)
        best = np.full((len(queries), k), -np.inf, np.float32)
        rows[:, : order.shape[1]] = np.take_along_axis(candidates, order, 1)
        best[:, : order.shape[1]] = np.take_along_axis(cosines, order, 1)
        return rows, best


def candidates_for(k: int) -> int:
    """How many rows are ranked in 16 bits, to find the best k.

    In two catalogues of 76,000 and 120,000 titles, the ten nearest titles of 200 queries were
    always among the first 16 by their high bytes.
    """
    return 2 * k + 30


def _code(
    vectors: npt.NDArray[np.floating[Any]],
    high: npt.NDArray[np.int8],
    low: npt.NDArray[np.int8],
    scale: npt.NDArray[np.float32],
) -> None:
    """Write the bytes and the scales of some vectors."""
    if not np.isfinite(vectors).all():
        raise InputError("vectors: a number is infinite or not a number; remove that row")
    largest = np.abs(vectors).max(axis=1, initial=0, keepdims=True).astype(np.float64)
    factor = np.divide(_LARGEST, largest, out=np.zeros_like(largest), where=largest > 0)
    values = np.rint(vectors * factor).astype(np.int32)
    high[:] = (values + 128) >> 8
    low[:] = values - (high.astype(np.int32) << 8)
    lengths = np.sqrt(np.square(values, dtype=np.int64).sum(axis=1))
    scale[:] = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _scan_factors(queries: Vectors) -> npt.NDArray[np.int16]:
    """The queries in 16 bits, or as many as let no sum of the scan overflow."""
    values = queries.high.astype(np.int32) * 256 + queries.low
    largest_sum = int(np.abs(values).sum(axis=1, dtype=np.int64).max(initial=0)) * 128
    shift = max(0, largest_sum.bit_length() - 31)
    return (values >> shift).astype(np.int16)


@compiled
def _scan(
    high: Any,
    scale: Any,
    queries: Any,
    allowed: Any,
    start: int,
    stop: int,
    scores: Any,
    rows: Any,
) -> None:
    """Insert the rows of the highest scores into each query's sorted list, for rows of a range."""
    for first in range(start, stop, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, stop)
        for query in range(len(queries)):
            for row in range(first, last):
                if allowed[row]:
                    score = np.float32(_dot(high[row], queries[query])) * scale[row]
                    _insert(scores[query], rows[query], score, row)


@compiled
def _dot(row: Any, query: Any) -> Any:
    """The sum of products, in 32 bits: LLVM then multiplies 32 pairs in one instruction."""
    total = np.int32(0)
    for i in range(len(row)):
        total = np.int32(total + np.int32(np.int32(row[i]) * np.int32(query[i])))
    return total


@compiled
def _insert(scores: Any, rows: Any, score: Any, row: int) -> None:
    """Insert a score behind those that are as high, unless it is too low."""
    place = len(scores) - 1
    if place < 0 or score <= scores[place]:
        return
    while place > 0 and scores[place - 1] < score:
        scores[place] = scores[place - 1]
        rows[place] = rows[place - 1]
        place -= 1
    scores[place] = score
    rows[place] = row


@compiled
def _rank(
    high: Any,
    low: Any,
    scale: Any,
    query_high: Any,
    query_low: Any,
    query_scale: Any,
    candidates: Any,
    cosines: Any,
) -> None:
    """Write the cosine of each query to each of its candidates."""
    width = high.shape[1]
    query_values = np.empty(width, np.int32)
    for query in range(len(candidates)):
        for i in range(width):
            query_values[i] = 256 * np.int32(query_high[query, i]) + query_low[query, i]
        for place in range(candidates.shape[1]):
            row = candidates[query, place]
            if row < 0:
                cosines[query, place] = -np.inf
                continue
            total = 0
            for i in range(width):
                total += (256 * np.int32(high[row, i]) + low[row, i]) * query_values[i]
            cosine = float(total) * float(scale[row]) * float(query_scale[query])
            cosines[query, place] = np.float32(cosine)
