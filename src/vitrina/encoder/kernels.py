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

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

WIDTHS = (2, 3, 4, 5)
BLOCKS = sum(WIDTHS)

Floats = npt.NDArray[np.floating[Any]]


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep the machine code: compile it in each process
        return njit(nogil=True)(function)


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
    places = np.empty((0, 0), np.int32) if winner is None else winner
    _in_threads(
        lambda start, stop: _pool(table, pieces, offsets, bias, out, places, start, stop),
        len(out),
        threads,
    )
    return out


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
    _in_threads(
        lambda start, stop: _scatter(gradient, winner, pieces, out, start, stop),
        gradient.shape[1],
        threads,
    )
    return out


@_compiled
def _pool(
    table: Any,
    pieces: Any,
    offsets: Any,
    bias: Any,
    out: Any,
    winner: Any,
    start: int,
    stop: int,
) -> None:
    filters = bias.shape[0] // 4
    best = np.empty(filters, table.dtype)
    place = np.empty(filters, np.int32)
    for title in range(start, stop):
        block = 0
        for width in range(2, 6):
            best[:] = -np.inf
            for window in range(offsets[title], offsets[title + 1] - width + 1):
                # one loop for each width, so that a window's sum never leaves the registers
                a = table[pieces[window], block * filters : (block + 1) * filters]
                b = table[pieces[window + 1], (block + 1) * filters : (block + 2) * filters]
                if width == 2:
                    for f in range(filters):
                        s = a[f] + b[f]
                        if s > best[f]:
                            best[f] = s
                            place[f] = window
                    continue
                c = table[pieces[window + 2], (block + 2) * filters : (block + 3) * filters]
                if width == 3:
                    for f in range(filters):
                        s = a[f] + b[f] + c[f]
                        if s > best[f]:
                            best[f] = s
                            place[f] = window
                    continue
                d = table[pieces[window + 3], (block + 3) * filters : (block + 4) * filters]
                if width == 4:
                    for f in range(filters):
                        s = a[f] + b[f] + c[f] + d[f]
                        if s > best[f]:
                            best[f] = s
                            place[f] = window
                    continue
                e = table[pieces[window + 4], (block + 4) * filters : (block + 5) * filters]
                for f in range(filters):
                    s = a[f] + b[f] + c[f] + d[f] + e[f]
                    if s > best[f]:
                        best[f] = s
                        place[f] = window
            first = (width - 2) * filters
            for f in range(filters):
                value = best[f] + bias[first + f]
                out[title, first + f] = value if value > 0 else 0
                if winner.shape[0] > 0:
                    winner[title, first + f] = place[f] if value > 0 else -1
            block += width


@_compiled
def _scatter(gradient: Any, winner: Any, pieces: Any, out: Any, start: int, stop: int) -> None:
    filters = gradient.shape[1] // 4
    for title in range(gradient.shape[0]):
        for f in range(start, stop):
            window = winner[title, f]
            if window >= 0:
                width = f // filters + 2
                # the widths before this one take 2 + 3 + ... + (width - 1) blocks
                column = (width * (width - 1) // 2 - 1) * filters + f % filters
                for position in range(width):
                    out[pieces[window + position], column + position * filters] += gradient[
                        title, f
                    ]


def _in_threads(work: Callable[[int, int], None], size: int, threads: int) -> None:
    """Run work(start, stop) over [0, size) in as many equal parts as threads."""
    bounds = np.linspace(0, size, max(1, min(threads, size)) + 1).astype(int).tolist()
    parts = list(pairwise(bounds))
    if len(parts) == 1:
        work(*parts[0])
    else:
        for future in [_pool_of(threads).submit(work, *part) for part in parts]:
            future.result()


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="vitrina")


if hasattr(os, "register_at_fork"):  # a forked server worker starts threads of its own
    os.register_at_fork(after_in_child=_pool_of.cache_clear)


def default_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
