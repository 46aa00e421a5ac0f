"""Batches of sessions: each distinct title once, each distinct piece once, no pair built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt

from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.tokenizer import MIN_PIECES

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step needs, as NumPy arrays.

    A *visit* is one product in one session. Titles and pieces are those that occur, each once;
    numbers with a leading `visit` or `title` point into them. Behind them lie some that nothing
    points to: machine code is made and kept for each new size of a matrix, so sizes are few.

    Attributes
    ----------
    pieces : (u,) int64, the distinct pieces
    titles : Ragged of n distinct titles, rows of `pieces`
    visit_title : (v,) int64, rows of `titles`
    visit_session : (v,) int64, 0 ... sessions - 1, non-decreasing
    title_weight : (n,) float64, how often the title is one side of a pair, over all pairs; sums
        to 1. The batch norms weigh with it, so they see what a batch of pairs would show them.
    target : (m,) int64, n-th title · categories + category: which categories each title predicts,
        its partners' and, where settings say so, its own
    target_count : (m,) float64, in how many ordered pairs; a product is its own partner once
    pairs : unordered pairs in the batch
    predictions : ordered pairs in which one side predicts the other's category
    """

    pieces: Ints
    titles: Ragged
    visit_title: Ints
    visit_session: Ints
    title_weight: npt.NDArray[np.float64]
    target: Ints
    target_count: npt.NDArray[np.float64]
    pairs: int
    predictions: int


class Batches:
    """The batches of all epochs by number, a function of the data and the seed alone. Nothing that
    grows with the data is held in memory.

    ``settings.batching == "sessions"``: whole sessions in random order. ``"pairs"``: the paper's
    random pairs over all sessions (§3.1), each a session of two.
    """

    def __init__(self, data: TrainingData, settings: Settings) -> None:
        self._data, self._settings = data, settings
        self._whole = settings.batching == "sessions"
        self._size = len(data.sessions) if self._whole else data.pairs
        self._many_views = len(data.views.values) > len(data.views)
        self.per_epoch = ceil(self._size / settings.batch_size)

    def __getitem__(self, step: int) -> Batch:
        epoch, number = divmod(step, self.per_epoch)
        size = self._settings.batch_size
        turns = np.arange(number * size, min((number + 1) * size, self._size))
        rng = np.random.default_rng([self._settings.seed, epoch])
        chosen = shuffled(turns, self._size, rng)
        sessions = self._data.sessions.take(chosen) if self._whole else self._pairs(chosen)
        views = self._views(sessions, step)
        drop = None
        if self._settings.token_dropout > 0:
            rng = np.random.default_rng([self._settings.seed, step, 2])
            drop = partial(without_some, share=self._settings.token_dropout, rng=rng)
        return make_batch(self._data, sessions, views, self._settings.own_category, drop)

    def _pairs(self, numbers: Ints) -> Ragged:
        """Pairs by number, as sessions of two: pairs are numbered session by session."""
        session = np.searchsorted(self._data.pair_ends, numbers, side="right") - 1
        within = numbers - self._data.pair_ends[session]
        # pair number -> (i, j), i < j, counting (0,1), (0,2), (1,2), (0,3), ...: j(j-1)/2 + i
        j = ((1 + np.sqrt(1 + 8 * within)) / 2).astype(np.int64)
        i = within - j * (j - 1) // 2
        starts = self._data.sessions.offsets[session]
        visits = np.stack([starts + i, starts + j], axis=1).ravel()
        return Ragged(
            self._data.sessions.values[visits], np.arange(0, len(visits) + 1, 2, dtype=np.int64)
        )

    def _views(self, sessions: Ragged, step: int) -> Ints:
        """A row of titles for each visit: a product listed under several titles shows one."""
        views = self._data.views
        starts = views.offsets[sessions.values]
        if self._many_views:
            rng = np.random.default_rng([self._settings.seed, step, 1])
            starts = starts + rng.integers(0, views.offsets[sessions.values + 1] - starts)
        rows: Ints = views.values[starts].astype(np.int64)
        return rows


def shuffled(turns: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Numbers that have these turns in a random order of 0 ... size - 1, which is never built.

    A Feistel network permutes 0 ... 4^k - 1, the smallest such range that holds them all; what
    leaves 0 ... size - 1 is sent on until it comes back (Black and Rogaway 2002, §3).
    """
    bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    keys = rng.integers(2**64, size=6, dtype=np.uint64)
    out = turns.astype(np.uint64)
    away = np.arange(len(out))
    while len(away):
        left, right = out[away] >> bits, out[away] & mask
        for key in keys:
            mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            left, right = right, left ^ (mixed >> np.uint64(32)) & mask
        out[away] = left << bits | right
        away = away[out[away] >= size]
    return out.astype(np.int64)


def make_batch(
    data: TrainingData,
    sessions: Ragged,
    visit_views: Ints,
    own_category: bool = False,
    drop: Callable[[Ragged], Ragged] | None = None,
) -> Batch:
    """A batch of the given sessions (rows of products) whose visits show the given titles, without
    the pieces that `drop` leaves out."""
    title_rows, visit_title = np.unique(visit_views, return_inverse=True)
    titles = data.titles.take(title_rows)
    if drop is not None:
        titles = drop(titles)
    pieces, local = np.unique(titles.values, return_inverse=True)

    lengths = sessions.lengths
    visit_length = np.repeat(lengths, lengths)
    partners = visit_length if own_category else visit_length - 1
    weight = np.bincount(visit_title, partners, len(title_rows))

    # Every visit against all visits of its session, itself left out or not: integers only.
    visits = np.arange(len(sessions.values))
    key = np.repeat(visits, visit_length)
    within = np.arange(len(key)) - np.repeat(offsets_of(visit_length)[:-1], visit_length)
    query = np.repeat(np.repeat(sessions.offsets[:-1], lengths), visit_length) + within
    category = data.category[sessions.values].astype(np.int64)
    known = ((key != query) | own_category) & (category[query] >= 0)
    target, count = np.unique(
        visit_title[key[known]] * len(data.categories) + category[query[known]],
        return_counts=True,
    )
    more = _to_fill(len(titles))
    last = titles.offsets[-1] + MIN_PIECES * np.arange(1, more + 1)
    return Batch(
        np.pad(pieces.astype(np.int64), (0, _to_fill(len(pieces)))),
        Ragged(
            np.pad(local.astype(np.int32), (0, MIN_PIECES * more)),
            np.concatenate([titles.offsets, last]),
        ),
        visit_title,
        np.repeat(np.arange(len(sessions)), lengths),
        np.pad(weight / weight.sum(), (0, more)),
        target,
        count.astype(np.float64),
        int(sessions.pairs.sum()),
        int(partners.sum()),
    )


def _to_fill(size: int) -> int:
    """How many are missing to the next of 16 sizes between a power of two and the next."""
    return -size % (1 << max(0, size.bit_length() - 5))


def without_some(titles: Ragged, share: float, rng: np.random.Generator) -> Ragged:
    """Titles without a random share of their pieces. Those that would be shorter than the widest
    convolution stay whole."""
    title = np.repeat(np.arange(len(titles)), titles.lengths)
    kept = rng.random(len(title)) >= share
    kept |= (np.bincount(title, kept, len(titles)) < MIN_PIECES)[title]
    lengths = np.bincount(title[kept], minlength=len(titles))
    return Ragged(titles.values[kept], offsets_of(lengths))
