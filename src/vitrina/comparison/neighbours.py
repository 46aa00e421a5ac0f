"""How many of the nearest titles two encoders have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.progress import Progress
from vitrina.search.exact import Vectors

K = 10
"""Neighbours of each title: the overlap is overlap@10."""

MOST_SEARCHED = 20_000
QUERIES = 1_000
_BATCH_TITLES = 4_096

Rows = npt.NDArray[np.int64]


class NeighboursKept(NamedTuple):
    """How the neighbours of some titles change.

    Attributes
    ----------
    searched : int
        Titles among which neighbours are searched.
    kept : ndarray of shape (queries,), int64
        How many of the `k` nearest other titles are the same.
    k : int
        10, or fewer if there are fewer titles.
    changed : list of (str, str, str)
        Titles that kept the fewest, each with its nearest title by the old and by the new encoder.
    """

    searched: int
    kept: npt.NDArray[np.int64]
    k: int
    changed: list[tuple[str, str, str]]


def neighbours_kept(
    old: TitleEncoder, new: TitleEncoder, titles: list[str], *, examples: int, quiet: bool
) -> NeighboursKept | None:
    """Search the nearest titles of a sample of titles with both encoders.

    Parameters
    ----------
    old, new : TitleEncoder
    titles : list of str
        Distinct titles, in random order. The first ones are the queries.
    examples : int
        Titles to return in `changed`.
    quiet : bool
        Show no progress.

    Returns
    -------
    NeighboursKept or None
        None if there are fewer than two titles with a known word.
    """
    searched = titles[:MOST_SEARCHED]
    with Progress("vectors", 2 * len(searched), quiet=quiet) as progress:
        by_old = _vectors(old, searched, progress, 0)
        by_new = _vectors(new, searched, progress, len(searched))
    # a vector of zeros is as near to any title as to any other
    known = np.flatnonzero((by_old.scale > 0) & (by_new.scale > 0))
    if len(known) < 2:
        return None
    k = min(K, len(known) - 1)
    queries = np.arange(min(QUERIES, len(known)))
    of_old = _nearest(by_old[known], queries, k)
    of_new = _nearest(by_new[known], queries, k)
    kept = (of_old[:, :, None] == of_new[:, None, :]).sum(axis=(1, 2))
    changed = []
    for query in np.argsort(kept, kind="stable")[:examples]:
        if kept[query] < k:
            rows = known[[query, of_old[query, 0], of_new[query, 0]]]
            title, by_first, by_second = (searched[row] for row in rows)
            changed.append((title, by_first, by_second))
    return NeighboursKept(len(known), kept, k, changed)


def _vectors(encoder: TitleEncoder, titles: list[str], progress: Progress, done: int) -> Vectors:
    parts = []
    for start in range(0, len(titles), _BATCH_TITLES):
        batch = titles[start : start + _BATCH_TITLES]
        vectors: npt.NDArray[np.floating[Any]] = unit_length(encoder.encode(batch))
        parts.append(Vectors.of(vectors))
        progress.update(done + start + len(batch))
    return Vectors.concatenated(parts)


def _nearest(vectors: Vectors, queries: Rows, k: int) -> Rows:
    """The rows of the k nearest other vectors of each query, shape (queries, k)."""
    rows, _ = vectors.nearest(vectors[queries], k + 1)
    is_other = rows != queries[:, None]
    # where equal vectors push the query itself out, the last one goes
    is_other[is_other.all(axis=1), k] = False
    others: Rows = rows[is_other].reshape(len(queries), k)
    return others
