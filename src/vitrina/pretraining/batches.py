"""Batches of sessions: each distinct title and piece is in a batch once, and no pair is built."""

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
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of one training step, as NumPy arrays.

    A *visit* is one product in one session. `titles` and `pieces` hold those that occur, each once;
    the other arrays refer to their rows. Both are padded with unused rows to a few sizes, because
    each new matrix shape costs a compiled kernel.

    Attributes
    ----------
    pieces : ndarray of shape (u,), int64
        Ids of the distinct pieces.
    titles : Ragged of n rows
        The distinct titles, as rows of `pieces`.
    visit_title : ndarray of shape (v,), int64
        Row of `titles` that each visit shows.
    visit_session : ndarray of shape (v,), int64
        Session of each visit, numbered from 0; non-decreasing.
    title_weight : ndarray of shape (n,), float64
        Share of the pairs' sides that each title is; sums to 1. Batch norms weight the titles with
        it, and so compute the statistics of a batch of pairs.
    target : ndarray of shape (m,), int64
        Row of a title · number of categories + a category that the title predicts: those of its
        partners and, if `Settings.own_category`, its own.
    target_count : ndarray of shape (m,), float64
        Number of ordered pairs with that prediction. A product is its own partner once.
    pairs : int
        Number of unordered pairs.
    predictions : int
        Number of ordered pairs, those of products with themselves included if
        `Settings.own_category`.
    """

    pieces: Ints
    titles: Ragged
    visit_title: Ints
    visit_session: Ints
    title_weight: Floats
    target: Ints
    target_count: Floats
    pairs: int
    predictions: int


class Batches:
    """The batches of all epochs, by number of the step.

    A batch depends only on the data, the settings and its number. Nothing that grows with the data
    is held in memory.

    With ``settings.batching == "sessions"``, a batch is whole sessions in random order. With
    ``"pairs"``, it is the paper's random pairs from all sessions (§3.1), each a session of two.

    Parameters
    ----------
    data : TrainingData
    settings : Settings

    Attributes
    ----------
    per_epoch : int
        Batches in an epoch.
    """

    def __init__(self, data: TrainingData, settings: Settings) -> None:
        self._data = data
        self._settings = settings
        self._whole_sessions = settings.batching == "sessions"
        self._size = len(data.sessions) if self._whole_sessions else data.pairs
        self._several_titles = len(data.views.values) > len(data.views)
        self.per_epoch = ceil(self._size / settings.batch_size)

    def __getitem__(self, step: int) -> Batch:
        epoch, number = divmod(step, self.per_epoch)

        # Draw the batch's sessions or pairs: a part of the epoch's random order.
        start = number * self._settings.batch_size
        end = min(start + self._settings.batch_size, self._size)
        rng = np.random.default_rng([self._settings.seed, epoch])
        drawn = shuffled(np.arange(start, end), self._size, rng)
        sessions = self._data.sessions.take(drawn) if self._whole_sessions else self._pairs(drawn)

        # Draw the title that each visit shows, and the pieces to drop.
        views = self._views(sessions, step)
        drop = None
        if self._settings.token_dropout > 0:
            rng = np.random.default_rng([self._settings.seed, step, 2])
            drop = partial(drop_tokens, share=self._settings.token_dropout, rng=rng)
        return make_batch(self._data, sessions, views, self._settings.own_category, drop)

    def _pairs(self, numbers: Ints) -> Ragged:
        """Pairs by number, as sessions of two. Pairs are numbered session by session."""
        session = np.searchsorted(self._data.pair_ends, numbers, side="right") - 1
        within = numbers - self._data.pair_ends[session]
        # A session's pairs (i, j), i < j, are numbered (0,1), (0,2), (1,2), (0,3), ...: pair
        # j(j-1)/2 + i. Solved for j and i:
        j = ((1 + np.sqrt(1 + 8 * within)) / 2).astype(np.int64)
        i = within - j * (j - 1) // 2
        starts = self._data.sessions.offsets[session]
        visits = np.stack([starts + i, starts + j], axis=1).ravel()
        offsets = np.arange(0, len(visits) + 1, 2, dtype=np.int64)
        return Ragged(self._data.sessions.values[visits], offsets)

    def _views(self, sessions: Ragged, step: int) -> Ints:
        """The title row that each visit shows; a random one of a product's titles."""
        views = self._data.views
        chosen = views.offsets[sessions.values]
        if self._several_titles:
            rng = np.random.default_rng([self._settings.seed, step, 1])
            titles = views.offsets[sessions.values + 1] - chosen
            chosen = chosen + rng.integers(0, titles)
        rows: Ints = views.values[chosen].astype(np.int64)
        return rows


def shuffled(turns: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Return a part of a random permutation of 0 ... size - 1, without building all of it.

    A Feistel network permutes 0 ... 4^k - 1, the smallest such range with `size` numbers or more.
    Results outside 0 ... size - 1 pass through it again until they fall inside (cycle walking,
    Black and Rogaway 2002, §3).

    Parameters
    ----------
    turns : ndarray of shape (n,), int64
        Positions in the permutation.
    size : int
    rng : Generator
        Determines the permutation.

    Returns
    -------
    ndarray of shape (n,), int64
        The numbers at these positions.
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    keys = rng.integers(2**64, size=6, dtype=np.uint64)  # one for each round of the network
    numbers = turns.astype(np.uint64)
    outside = np.arange(len(numbers))
    while len(outside):
        left = numbers[outside] >> half_bits
        right = numbers[outside] & mask
        for key in keys:
            # mix the bits by multiply and xor-shift; the constants are odd and without pattern
            mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            left, right = right, left ^ (mixed >> np.uint64(32)) & mask
        numbers[outside] = left << half_bits | right
        outside = outside[numbers[outside] >= size]
    return numbers.astype(np.int64)


def make_batch(
    data: TrainingData,
    sessions: Ragged,
    visit_views: Ints,
    own_category: bool = False,
    drop: Callable[[Ragged], Ragged] | None = None,
) -> Batch:
    """Make a batch of the given sessions.

    Parameters
    ----------
    data : TrainingData
    sessions : Ragged
        The sessions, as rows of products.
    visit_views : ndarray of shape (v,), int64
        Row of `data.titles` that each visit shows.
    own_category : bool
        Whether a product also predicts its own category.
    drop : callable, optional
        Takes the distinct titles and returns them with fewer pieces.

    Returns
    -------
    Batch
    """
    # Distinct titles and distinct pieces
    title_rows, visit_title = np.unique(visit_views, return_inverse=True)
    titles = data.titles.take(title_rows)
    if drop is not None:
        titles = drop(titles)
    pieces, local_pieces = np.unique(titles.values, return_inverse=True)

    # Weight of each title: the partners of its visits, over those of all visits
    lengths = sessions.lengths
    visit_length = np.repeat(lengths, lengths)
    partners = visit_length if own_category else visit_length - 1
    weight = np.bincount(visit_title, partners, len(title_rows))
    weight = weight / weight.sum()

    # Padding. Each unused title has MIN_PIECES pieces, all of them row 0 of `pieces`.
    unused = _padding(len(titles))
    ends = titles.offsets[-1] + MIN_PIECES * np.arange(1, unused + 1)
    padded_titles = Ragged(
        np.pad(local_pieces.astype(np.int32), (0, MIN_PIECES * unused)),
        np.concatenate([titles.offsets, ends]),
    )
    padded_pieces = np.pad(pieces.astype(np.int64), (0, _padding(len(pieces))))

    target, target_count = _category_targets(data, sessions, visit_title, own_category)
    return Batch(
        pieces=padded_pieces,
        titles=padded_titles,
        visit_title=visit_title,
        visit_session=np.repeat(np.arange(len(sessions)), lengths),
        title_weight=np.pad(weight, (0, unused)),
        target=target,
        target_count=target_count,
        pairs=int(sessions.pairs.sum()),
        predictions=int(partners.sum()),
    )


def _category_targets(
    data: TrainingData, sessions: Ragged, visit_title: Ints, own_category: bool
) -> tuple[Ints, Floats]:
    """`Batch.target` and `Batch.target_count`."""
    # All ordered pairs (key, query) of visits in one session, key = query included. These are
    # arrays of integers, so they cost little.
    lengths = sessions.lengths
    visit_length = np.repeat(lengths, lengths)
    key = np.repeat(np.arange(len(sessions.values)), visit_length)
    within = np.arange(len(key)) - np.repeat(offsets_of(visit_length)[:-1], visit_length)
    query = np.repeat(np.repeat(sessions.offsets[:-1], lengths), visit_length) + within

    # Keep the pairs that count and have a category to predict.
    category = data.category[sessions.values].astype(np.int64)
    kept = ((key != query) | own_category) & (category[query] >= 0)
    predictions = visit_title[key[kept]] * len(data.categories) + category[query[kept]]
    target, count = np.unique(predictions, return_counts=True)
    return target, count.astype(np.float64)


def _padding(size: int) -> int:
    """How many rows to add to `size`: up to the next of 16 sizes between two powers of two."""
    return -size % (1 << max(0, size.bit_length() - 5))


def drop_tokens(titles: Ragged, share: float, rng: np.random.Generator) -> Ragged:
    """Drop a random share of the titles' pieces.

    A title that would become shorter than the widest convolution keeps all its pieces.

    Parameters
    ----------
    titles : Ragged of n rows
    share : float
        Probability with which a piece is dropped.
    rng : Generator

    Returns
    -------
    Ragged of n rows
    """
    title = np.repeat(np.arange(len(titles)), titles.lengths)
    kept = rng.random(len(title)) >= share
    too_short = np.bincount(title, kept, len(titles)) < MIN_PIECES
    kept |= too_short[title]
    lengths = np.bincount(title[kept], minlength=len(titles))
    return Ragged(titles.values[kept], offsets_of(lengths))
