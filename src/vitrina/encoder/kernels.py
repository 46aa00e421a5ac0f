"""The Text CNN as table look-ups: gather rows, add, maximum over windows, bias, ReLU.

A convolution over embeddings is linear in each piece. With the embeddings E (pieces × dim) and the
weights W of all filters, the *table* T = E·W holds the contribution of every piece at every
position of every filter. A window's response is the sum of its pieces' entries in T, so encoding
needs no matrix product.

A row of the table has one block of `filters` numbers for each position of each kernel width. The 14
blocks are ordered by width, then by position: width 2 position 0, width 2 position 1, width 3
position 0, ...

The compiled functions work on titles [start, stop), so that threads can share a batch. Each title
is computed on its own and always in the same order of operations, so its vector depends neither on
the batch nor on the number of threads. The tests compare every kernel with plain NumPy loops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled, in_threads, prefetch
from vitrina.lengths import scale_to_length
from vitrina.ragged import Ragged

WIDTHS = (2, 3, 4, 5)
"""Widths of the convolutions, in pieces."""
BLOCKS = sum(WIDTHS)
"""Blocks of a table row: one for each position of each width."""

AS_IT_IS = np.float32(0)
"""Length of representations that are not scaled."""

Floats = npt.NDArray[np.floating[Any]]


def encode(
    table: Floats,
    pieces: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    bias: Floats,
    threads: int,
    winner: npt.NDArray[np.int32] | None = None,
) -> Floats:
    """Compute the representations y of n titles (paper §3.2.1).

    Parameters
    ----------
    table : ndarray of shape (rows, 14 · filters), float
        One row per piece.
    pieces : ndarray of shape (total,), int32
        Rows of `table`: the pieces of all titles, one title after the other. Every title has at
        least 5.
    offsets : ndarray of shape (n + 1,), int64
        Title i has the pieces from offsets[i] up to offsets[i + 1].
    bias : ndarray of shape (4 · filters,), float
    threads : int
    winner : ndarray of shape (n, 4 · filters), int32, optional
        Filled with the index into `pieces` at which each filter's largest window starts, or -1
        where ReLU returns 0. `scatter_gradient` needs it.

    Returns
    -------
    ndarray of shape (n, 4 · filters)
        In the dtype of `table`.
    """
    out = np.empty((len(offsets) - 1, len(bias)), table.dtype)
    scale = np.ones(len(bias), table.dtype)
    number: Any = table.dtype.type
    pool = _pool(len(bias) // len(WIDTHS), number, winner is not None)
    places = _NO_WINNER if winner is None else winner

    def encode_part(start: int, stop: int) -> None:
        pool(table, pieces, offsets, scale, bias, AS_IT_IS, out, places, start, stop)

    in_threads(encode_part, len(out), threads)
    return out


class Table(NamedTuple):
    """The table of a frozen encoder.

    Attributes
    ----------
    values : ndarray of shape (pieces, 14 · filters), float32 or int8
    scale : ndarray of shape (4 · filters,), float32
        The sum of a window is multiplied by its filter's scale: 1 where `values` are float32.
    bias : ndarray of shape (4 · filters,), float32
    length : float32, optional
        Euclidean norm that representations are scaled to; 0 leaves them as they are.
    """

    values: npt.NDArray[Any]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    length: np.float32 = AS_IT_IS

    def encode_into(self, titles: Ragged, out: npt.NDArray[np.float32]) -> None:
        """Compute the representations of n titles in the calling thread.

        Parameters
        ----------
        titles : Ragged
            The pieces of each title, as rows of the table.
        out : ndarray of shape (n, width), float32
            The first 4 · filters columns are filled with what `encode` returns, scaled to `length`.
        """
        # int8 values are summed in int16: 5 of them can't overflow it
        is_int8 = self.values.dtype == np.int8
        number: Any = np.int16 if is_int8 else self.values.dtype.type
        pool = _pool(len(self.bias) // len(WIDTHS), number, False)
        pool(
            self.values,
            titles.values,
            titles.offsets,
            self.scale,
            self.bias,
            self.length,
            out,
            _NO_WINNER,
            0,
            len(out),
        )

    def quantized(self) -> Table:
        """Return the table with int8 values, in a quarter of the memory.

        All positions of a filter share one scale, so that a window is summed in integers and the
        sum is exact.
        """
        filters = len(self.bias) // len(WIDTHS)
        # the index in `scale` and `bias` of each column's filter
        width_of_column = np.repeat(np.arange(len(WIDTHS)), [w * filters for w in WIDTHS])
        filter_of_column = width_of_column * filters + np.tile(np.arange(filters), BLOCKS)

        # the largest value of a filter becomes ±127; a filter of zeros keeps them
        largest = np.zeros(len(self.bias), np.float32)
        np.maximum.at(largest, filter_of_column, np.abs(self.values).max(axis=0))
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))

        # in blocks of rows: the rounded floats of the whole table would double the memory
        values = np.empty(self.values.shape, np.int8)
        for start in range(0, len(values), 1024):
            rows = slice(start, start + 1024)
            values[rows] = np.rint(self.values[rows] / scale[filter_of_column])
        return Table(values, scale, self.bias, self.length)


_NO_WINNER = np.empty((0, 0), np.int32)
"""Stands for `winner` where nobody needs it: a compiled argument always has one type."""


def scatter_gradient(
    gradient: Floats,
    winner: npt.NDArray[np.int32],
    pieces: npt.NDArray[np.int32],
    rows: int,
    threads: int,
) -> Floats:
    """Compute the gradient of the table from that of `encode`'s output.

    A maximum passes its gradient to one window only, so a title changes at most 14 · filters
    numbers. The threads share the filters, not the titles: each number of the result is written by
    one thread, in an order of sums that doesn't depend on the number of threads.

    Parameters
    ----------
    gradient : ndarray of shape (n, 4 · filters), float
    winner : ndarray of shape (n, 4 · filters), int32
        As `encode` filled it.
    pieces : ndarray of shape (total,), int32
    rows : int
        Rows of the table.
    threads : int

    Returns
    -------
    ndarray of shape (rows, 14 · filters)
        In the dtype of `gradient`.
    """
    filters = gradient.shape[1] // len(WIDTHS)
    out = np.zeros((rows, BLOCKS * filters), gradient.dtype)
    in_threads(
        lambda start, stop: _scatter(gradient, winner, pieces, out, start, stop),
        filters,
        threads,
    )
    return out


@cache
def _pool(filters: int, number: Any, track: bool) -> Callable[..., None]:
    """Compile the encoding kernel for one number of filters.

    The number of filters is a constant of the machine code, so that the inner loops unroll and are
    vectorised. Each width is written out, so that a window's sum never leaves the registers.

    Parameters
    ----------
    filters : int
        Filters of each width.
    number : numpy scalar type
        Type in which windows are summed: the table's own float, or int16 for int8.
    track : bool
        Fill `winner`, see `encode`.
    """
    n, lowest = filters, -np.inf if issubclass(number, np.floating) else np.iinfo(number).min

    @compiled
    def pool(
        table: Any,
        pieces: Any,
        offsets: Any,
        scale: Any,
        bias: Any,
        length: Any,
        out: Any,
        winner: Any,
        start: int,
        stop: int,
    ) -> None:
        best: Any = np.empty(n, number)
        place = np.empty(n, np.int32)
        numbers, width, line = table.ravel(), table.shape[1], 64 // table.itemsize
        for title in range(start, stop):
            first, last = offsets[title], offsets[title + 1]
            # Encoding mostly waits for memory: prefetch the rows of the next title.
            for w in range(last, offsets[min(title + 2, stop)]):
                for column in range(0, width, line):
                    prefetch(numbers, pieces[w] * width + column)
            # width 2
            best[:] = lowest
            for w in range(first, last - 1):
                a, b = table[pieces[w]], table[pieces[w + 1]]
                for f in range(n):
                    s = number(number(a[f]) + number(b[n + f]))
                    if s > best[f]:
                        best[f] = s
                        if track:
                            place[f] = w
            _finish(best, place, scale, bias, out, winner, title, 0, track)
            # width 3
            best[:] = lowest
            for w in range(first, last - 2):
                a, b, c = table[pieces[w]], table[pieces[w + 1]], table[pieces[w + 2]]
                for f in range(n):
                    s = number(number(a[2 * n + f]) + number(b[3 * n + f]))
                    s = number(s + number(c[4 * n + f]))
                    if s > best[f]:
                        best[f] = s
                        if track:
                            place[f] = w
            _finish(best, place, scale, bias, out, winner, title, n, track)
            # width 4
            best[:] = lowest
            for w in range(first, last - 3):
                a, b, c = table[pieces[w]], table[pieces[w + 1]], table[pieces[w + 2]]
                d = table[pieces[w + 3]]
                for f in range(n):
                    s = number(number(a[5 * n + f]) + number(b[6 * n + f]))
                    s = number(s + number(c[7 * n + f]))
                    s = number(s + number(d[8 * n + f]))
                    if s > best[f]:
                        best[f] = s
                        if track:
                            place[f] = w
            _finish(best, place, scale, bias, out, winner, title, 2 * n, track)
            # width 5
            best[:] = lowest
            for w in range(first, last - 4):
                a, b, c = table[pieces[w]], table[pieces[w + 1]], table[pieces[w + 2]]
                d, e = table[pieces[w + 3]], table[pieces[w + 4]]
                for f in range(n):
                    s = number(number(a[9 * n + f]) + number(b[10 * n + f]))
                    s = number(s + number(c[11 * n + f]))
                    s = number(s + number(d[12 * n + f]))
                    s = number(s + number(e[13 * n + f]))
                    if s > best[f]:
                        best[f] = s
                        if track:
                            place[f] = w
            _finish(best, place, scale, bias, out, winner, title, 3 * n, track)
            if length > 0:
                scale_to_length(out[title, : len(bias)], length)

    return pool


@compiled
def _finish(
    best: Any,
    place: Any,
    scale: Any,
    bias: Any,
    out: Any,
    winner: Any,
    title: int,
    first: int,
    track: bool,
) -> None:
    """Apply scale, bias and ReLU to the largest windows of one width."""
    for f in range(len(best)):
        value = out.dtype.type(best[f]) * scale[first + f] + bias[first + f]
        out[title, first + f] = value if value > 0 else 0
        if track:
            winner[title, first + f] = place[f] if value > 0 else -1


@compiled
def _scatter(gradient: Any, winner: Any, pieces: Any, out: Any, start: int, stop: int) -> None:
    """Add the gradients of filters [start, stop) of each width, see `scatter_gradient`."""
    filters = gradient.shape[1] // len(WIDTHS)
    first = column = 0
    for width in WIDTHS:
        for title in range(gradient.shape[0]):
            for f in range(start, stop):
                window = winner[title, first + f]
                if window >= 0:
                    passed = gradient[title, first + f]
                    for position in range(width):
                        out[pieces[window + position], column + position * filters + f] += passed
        first += filters
        column += width * filters
