"""The measured recall of an index: how many of the nearest titles it finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.progress import Progress

K = 10
"""Neighbours of each title: the recall is recall@10."""

_SAMPLED_TITLES = 200
_BATCH_TITLES = 16_384
_ROUNDING = 2e-6  # of float32 sums; titles with equal vectors may stand for each other


class RecallCheck:
    """The exact neighbours of some titles of an index, from the encoder's float32 vectors.

    All titles are encoded again, in batches, so the neighbours don't depend on what the index
    stores.

    Parameters
    ----------
    encoder : TitleEncoder
    titles : Series of String
        The titles of the index, at least two.
    quiet : bool, optional
        Show no progress.

    Attributes
    ----------
    rows : ndarray of int64
        Row numbers of the titles that serve as queries.
    vectors : ndarray of shape (queries, width), float32
        Their vectors, of length 1.
    """

    def __init__(self, encoder: TitleEncoder, titles: pl.Series, *, quiet: bool = True) -> None:
        count = min(_SAMPLED_TITLES, len(titles))
        self.rows = np.sort(np.random.default_rng(0).choice(len(titles), count, replace=False))
        self.k = min(K, len(titles) - 1)
        self._encoder = encoder
        self._titles = titles
        self.vectors = self._vectors(self.rows)
        self._kth = self._kth_similarity(quiet)

    def recall(self, found: npt.NDArray[np.int64]) -> float:
        """Return the share of the nearest titles that were found, without the query itself.

        Parameters
        ----------
        found : ndarray of shape (queries, k + 1 or more), int64
            Row numbers, best first; -1 stands for none.
        """
        hits = 0
        for query, rows in enumerate(found):
            others = rows[(rows != self.rows[query]) & (rows >= 0)][: self.k]
            similarity = self._vectors(others) @ self.vectors[query]
            hits += int((similarity >= self._kth[query] - _ROUNDING).sum())
        return hits / (len(found) * self.k)

    def _vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        titles = self._titles.gather(rows)
        return np.asarray(unit_length(self._encoder.encode(titles)), np.float32)

    def _kth_similarity(self, quiet: bool) -> npt.NDArray[np.float32]:
        """The similarity of each query to its k-th nearest other title."""
        best = np.full((len(self.rows), self.k), -np.inf, np.float32)
        total = len(self._titles)
        with Progress("recall", total, quiet=quiet) as progress:
            for start in range(0, total, _BATCH_TITLES):
                stop = min(start + _BATCH_TITLES, total)
                similarity = self.vectors @ self._vectors(np.arange(start, stop)).T
                # a title is not its own neighbour
                inside = np.flatnonzero((self.rows >= start) & (self.rows < stop))
                similarity[inside, self.rows[inside] - start] = -np.inf
                best = np.concatenate([best, similarity], axis=1)
                best = np.partition(best, best.shape[1] - self.k, axis=1)[:, -self.k :]
                progress.update(stop)
        return np.asarray(best.min(axis=1))
