"""The Text CNN as look-ups: gather projected pieces, add, max over windows, bias, ReLU.

A convolution over embeddings is linear in each piece, so with E (pieces × dim) and W the weights
of all filters, the *table* T = E·W holds what every piece contributes at every position of every
kernel. A window's response is then the sum of its pieces' entries: no matrix product is left.

A table row has one block of `filters` numbers for each position of each kernel width, in the
order of `blocks`: width 2 position 0, width 2 position 1, width 3 position 0, ... 14 blocks.

The compiled functions work on rows [start, stop) so that threads share a batch; each title is
computed alone and always in the same order of operations, so its vector depends on nothing else.
Plain NumPy twins of all of them are in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled, in_threads, prefetch
from vitrina.ragged import Ragged

WIDTHS = (2, 3, 4, 5)
BLOCKS = sum(WIDTHS)

Floats = npt.NDArray[np.floating[Any]]


def encode(
    table: Floats,
    pieces: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    bias: Floats,
    threads: int,
    winner: npt.NDArray[np.int32] | None = None,
) -> Floats:
    """Representations y of n titles (paper §3.2.1), shape (n, 4 · filters), the table's dtype.

    Parameters
    ----------
    table : (rows, 14 · filters) float
        Projected pieces.
    pieces, offsets : ragged lists of n titles, each of at least 5 rows of `table`
    bias : (4 · filters,) float
    threads : int
    winner : (n, 4 · filters) int32, optional
        Filled with the index into `pieces` at which each largest window starts, -1 where ReLU
        passes nothing: what `scatter_gradient` needs.
    """
    out = np.empty((len(offsets) - 1, len(bias)), table.dtype)
    scale = np.ones(len(bias), table.dtype)
    number: Any = table.dtype.type
    pool = _pool(len(bias) // len(WIDTHS), number, winner is not None)
    places = _NOWHERE if winner is None else winner
    in_threads(
        lambda start, stop: pool(table, pieces, offsets, scale, bias, out, places, start, stop),
        len(out),
        threads,
    )
    return out


class Table(NamedTuple):
    """A frozen encoder's table.

    Attributes
    ----------
    values : (pieces, 14 · filters) float32 or int8
    scale : (4 · filters,) float32, what one step of `values` is worth
    bias : (4 · filters,) float32
    """

    values: npt.NDArray[Any]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def encode_into(self, titles: Ragged, out: npt.NDArray[np.float32]) -> None:
        """What `encode` returns of titles (rows of pieces), into `out` and in this thread."""
        number: Any = np.int16 if self.values.dtype == np.int8 else self.values.dtype.type
        pool = _pool(len(self.bias) // len(WIDTHS), number, False)
        where = titles.values, titles.offsets
        pool(self.values, *where, self.scale, self.bias, out, _NOWHERE, 0, len(out))

    def quantized(self) -> Table:
        """The same in a quarter of the memory: int8 values, one scale for all positions of a
        filter, so that windows are summed in integers and a sum is exact."""
        filters = len(self.bias) // len(WIDTHS)
        of_column = np.repeat(np.arange(len(WIDTHS)), [w * filters for w in WIDTHS]) * filters
        of_column += np.tile(np.arange(filters), BLOCKS)
        scale = np.zeros(len(self.bias), np.float32)
        np.maximum.at(scale, of_column, np.abs(self.values).max(axis=0))
        scale = np.where(scale > 0, scale / np.float32(127), np.float32(1))
        values = np.empty(self.values.shape, np.int8)
        for start in range(0, len(values), 1024):  # or the rounded floats take as much again
            rows = slice(start, start + 1024)
            values[rows] = np.rint(self.values[rows] / scale[of_column])
        return Table(values, scale, self.bias)


_NOWHERE = np.empty((0, 0), np.int32)


def scatter_gradient(
    gradient: Floats,
    winner: npt.NDArray[np.int32],
    pieces: npt.NDArray[np.int32],
    rows: int,
    threads: int,
) -> Floats:
    """Gradient of the table, shape (rows, 14 · filters), from that of `encode`'s output.

    A maximum passes its gradient to one window, so a title touches 14 · filters numbers at most.
    Threads share the filters, not the titles: each number has one writer and one order of sums,
    whatever the number of threads.
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
    """Machine code for one number of filters: loops of known length unroll into registers.

    `number` is what windows are summed in: the table's own float, int16 for int8. A window's sum
    is written out for each width, so that it never leaves the registers.
    """
    n, lowest = filters, -np.inf if issubclass(number, np.floating) else np.iinfo(number).min

    @compiled
    def pool(
        table: Any,
        pieces: Any,
        offsets: Any,
        scale: Any,
        bias: Any,
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
            # Most of a title's time is waiting for its rows: fetch the next one's meanwhile.
            for w in range(last, offsets[min(title + 2, stop)]):
                for column in range(0, width, line):
                    prefetch(numbers, pieces[w] * width + column)
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
    """Scale, bias and ReLU of one width's largest windows."""
    for f in range(len(best)):
        value = out.dtype.type(best[f]) * scale[first + f] + bias[first + f]
        out[title, first + f] = value if value > 0 else 0
        if track:
            winner[title, first + f] = place[f] if value > 0 else -1


@compiled
def _scatter(gradient: Any, winner: Any, pieces: Any, out: Any, start: int, stop: int) -> None:
    """Filters [start, stop) of each width."""
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
