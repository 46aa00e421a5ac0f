"""Distillation: the encoder learns to predict a teacher's vectors of titles (docs/teacher.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.pretraining.batches import drop_tokens
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings
from vitrina.ragged import Ragged

Float32 = npt.NDArray[np.float32]

_MOST_TITLES = 100_000
_BATCH = 256  # titles in a step
_PRIOR = 3.0  # pairs of a title that count as much as the teacher
_BLOCK = 1 << 20  # sessions that are counted at once


@dataclass(frozen=True, eq=False)
class TeacherBatch:
    """The titles of one step whose teacher vectors are predicted.

    Attributes
    ----------
    pieces : ndarray of shape (u,), int64
        Ids of the distinct pieces, padded with unused ones.
    titles : Ragged of n rows
        The titles, as rows of `pieces`.
    vectors : ndarray of shape (n, dimension), float32
        The teacher's vectors, centred, of length 1.
    weights : ndarray of shape (n,), float32
        Weight of each title's loss, from 0 to 1.
    """

    pieces: npt.NDArray[np.int64]
    titles: Ragged
    vectors: Float32
    weights: Float32


class TeacherTargets:
    """The teacher's vectors of a sample of the titles, as targets of the encoder.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    rows : ndarray of shape (n,), int64
        The sample, as rows of `data.titles`.
    vectors : ndarray of shape (n, dimension), float32
        The teacher's vector of each title.
    about : dict
        The teacher's name, dimension and so on, for the record of the run.

    Attributes
    ----------
    vectors : ndarray of shape (n, dimension), float32
        The vectors without their mean, of length 1. Sentence transformers' vectors have a large
        part in common, which says nothing about a title.
    weights : ndarray of shape (n,), float32
        Weight of each title's loss: 3 / (3 + pairs), where `pairs` counts the ordered pairs of
        sessions that contain the title. The teacher is a prior that counts as much as three pairs:
        the more the sessions say about a title, the less the teacher's vector counts.
    about : dict
    """

    def __init__(
        self,
        data: TrainingData,
        settings: Settings,
        rows: npt.NDArray[np.int64],
        vectors: Float32,
        about: dict[str, Any],
    ) -> None:
        self._titles = data.titles
        self._settings = settings
        self._rows = rows
        # in float32 the sum of many rows would be rounded at each of them
        mean = vectors.mean(0, dtype=np.float64)
        self.vectors: Float32 = vectors - mean.astype(np.float32)
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.vectors /= np.maximum(lengths, np.float32(1e-12))
        self.weights = (_PRIOR / (_PRIOR + pairs_of_titles(data)[rows])).astype(np.float32)
        self.about = about

    @property
    def dimension(self) -> int:
        """Dimensions of the teacher's vectors."""
        return int(self.vectors.shape[1])

    def __getitem__(self, step: int) -> TeacherBatch:
        """Return the batch of a step; it depends only on the data, the settings and the step."""
        rng = np.random.default_rng([self._settings.seed, step, 4])
        drawn = rng.choice(len(self._rows), min(_BATCH, len(self._rows)), replace=False)
        titles = self._titles.take(self._rows[drawn])
        if self._settings.token_dropout > 0:
            titles = drop_tokens(titles, self._settings.token_dropout, rng)
        pieces, local = np.unique(titles.values, return_inverse=True)
        # each new matrix shape costs a compiled kernel
        padded = np.pad(pieces.astype(np.int64), (0, -len(pieces) % 128))
        local_titles = Ragged(local.astype(np.int32), titles.offsets)
        return TeacherBatch(padded, local_titles, self.vectors[drawn], self.weights[drawn])


def targets_for_timing(data: TrainingData, settings: Settings) -> TeacherTargets:
    """Return random targets, to time training steps before the teacher's vectors are there."""
    rows = sampled_rows(len(data.titles), settings.seed)[: 4 * _BATCH]
    vectors = np.random.default_rng(0).standard_normal((len(rows), 384), np.float32)
    return TeacherTargets(data, settings, rows, vectors, {})


def sampled_rows(titles: int, seed: int) -> npt.NDArray[np.int64]:
    """Return rows of a random sample of the titles, in the order in which the teacher encodes them.

    Parameters
    ----------
    titles : int
        Number of titles.
    seed : int

    Returns
    -------
    ndarray of shape (at most 100,000,), int64
    """
    return np.random.default_rng([seed, 3]).permutation(titles)[:_MOST_TITLES]


def pairs_of_titles(data: TrainingData) -> npt.NDArray[np.float64]:
    """Return how many ordered pairs of the sessions contain each title.

    A product with several titles shows each of them equally often.

    Parameters
    ----------
    data : TrainingData

    Returns
    -------
    ndarray of shape (titles,), float64
    """
    of_products = np.zeros(len(data.views))
    # in blocks, because the sessions may be larger than memory
    for start in range(0, len(data.sessions), _BLOCK):
        sessions = data.sessions.part(start, start + _BLOCK)
        partners = np.repeat(sessions.lengths - 1, sessions.lengths)
        of_products += np.bincount(sessions.values, partners, len(of_products))

    views = data.views.lengths
    of_views = np.repeat(of_products / views, views)
    return np.bincount(data.views.values, of_views, len(data.titles)).astype(np.float64)
