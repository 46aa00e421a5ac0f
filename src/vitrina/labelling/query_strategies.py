"""Query strategies: which unlabelled titles a person should label next.

The default mix follows what was measured (docs/label.md): no single strategy is safe on every task
(Ghose & Nguyen, 'On the Fragility of Active Learners for Text Classification', EMNLP 2024), and
where a class is rare, the titles of the smallest margins help much.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from vitrina.hashing import unit_hash
from vitrina.labelling.catalogue_features import CatalogueFeatures, Floats, Rows

AUDIT, RANDOM, DIVERSE, MARGIN, TOP = "audit", "random", "diverse", "margin", "top"
LARGEST_AUDIT = 2_000
AUDIT_FRACTION = 0.2
"""Of the catalogue's titles: so many are kept for the audit, at most `LARGEST_AUDIT`."""

START_LABELS = 20
"""While there are fewer labels, every second title is a diverse one."""

_RARE = 0.15
"""A class with a smaller share of the random labels is rare."""

_ENOUGH_POSITIVE = 3
"""A rare class with fewer labels is searched at random."""

_FREQUENT = 0.7
"""A class is searched for only if another one has a larger share of the random labels."""

_TRIED = 10
_LEAST_GAIN = 3
"""After so many titles that the classifier chose, the class must be so many times as frequent among
them as among random ones."""

_CLUSTERED = 5_000
_ITERATIONS = 20


class Choice(NamedTuple):
    """A title to label.

    Attributes
    ----------
    row : int
        Number of the title.
    strategy : str
        The strategy that chose it.
    """

    row: int
    strategy: str


def random_order(forms: Sequence[str], seed: int) -> Rows:
    """Put titles into random order.

    The order of two titles depends on them and on the seed only. It stays the same when the
    catalogue gets other titles.

    Parameters
    ----------
    forms : sequence of n str
        Normal forms of the titles, all different.
    seed : int

    Returns
    -------
    ndarray of shape (n,), int64
        Numbers of the titles.
    """
    hashes = [unit_hash(f"audit {seed}", form) for form in forms]
    order: Rows = np.argsort(hashes, kind="stable")
    return order


def audit_size(n: int) -> int:
    """Return how many of n titles are kept for the audit."""
    return min(LARGEST_AUDIT, int(AUDIT_FRACTION * n))


def diverse(features: CatalogueFeatures, pool: Rows, n: int, seed: int) -> Rows:
    """Choose typical titles of the catalogue that are unlike each other.

    The vectors of the pool are divided into n clusters by k-means. From each comes the title that
    is nearest to its centre, from the largest cluster first.

    Parameters
    ----------
    features : CatalogueFeatures
    pool : ndarray of shape (p,), int64
        Numbers of the titles to choose from, in random order; the first 5,000 are used.
    n : int
    seed : int

    Returns
    -------
    ndarray of shape (min(n, p),), int64
    """
    pool = pool[:_CLUSTERED]
    n = min(n, len(pool))
    if n == 0:
        return pool
    vectors = features.vectors[pool] / features.lengths[pool, None].astype(np.float32)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = KMeans(n, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(vectors)
    distances = clusters.transform(vectors)
    sizes = np.bincount(clusters.labels_, minlength=n)
    chosen: list[int] = []
    for cluster in np.argsort(-sizes, kind="stable").tolist():
        # a title of another cluster only if its own has none, which equal vectors can cause
        nearest = distances[:, cluster] + 10 * (clusters.labels_ != cluster)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    return pool[chosen]


def by_score(pool: Rows, scores: Floats, target: int) -> Rows:
    """Sort titles by the score of a class, highest first.

    Parameters
    ----------
    pool : ndarray of shape (p,), int64
        Numbers of the titles.
    scores : ndarray of shape (titles, k), float64
        Log-odds of the classes.
    target : int
        Number of the class.

    Returns
    -------
    ndarray of shape (p,), int64
    """
    return pool[np.argsort(-scores[pool, target], kind="stable")]


def by_margin(pool: Rows, scores: Floats) -> Rows:
    """Sort titles by how near their two best classes are to each other, nearest first.

    Parameters
    ----------
    pool : ndarray of shape (p,), int64
        Numbers of the titles.
    scores : ndarray of shape (titles, k), float64
        Log-odds of the classes.

    Returns
    -------
    ndarray of shape (p,), int64
    """
    best = np.partition(scores[pool], scores.shape[1] - 2, axis=1)
    return pool[np.argsort(best[:, -1] - best[:, -2], kind="stable")]


def rare_classes(labels: npt.NDArray[Any], strategies: npt.NDArray[np.str_]) -> list[Any]:
    """Find the classes that are rare, and that the classifier helps to find.

    Parameters
    ----------
    labels : ndarray of shape (m,)
    strategies : ndarray of shape (m,), str
        The strategies that chose the titles.

    Returns
    -------
    list
        Sorted. Empty unless one class has most of the random labels. A class is left out if the
        titles that were chosen by the classifier have it hardly more often than random ones: then
        its labels are too noisy to be searched for.
    """
    drawn = labels[strategies == AUDIT]
    chosen = labels[np.isin(strategies, (MARGIN, TOP))]
    rare = []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        share = _share(drawn, label)
        is_rare = share < _RARE and count >= _ENOUGH_POSITIVE
        if is_rare and (len(chosen) < _TRIED or _share(chosen, label) >= _LEAST_GAIN * share):
            rare.append(label)
    largest = max((_share(drawn, label) for label in np.unique(drawn)), default=0)
    return rare if largest > _FREQUENT else []


def _share(labels: npt.NDArray[Any], label: Any) -> float:
    """The share of a class, drawn a little to the middle, because few labels may have none."""
    return float((np.sum(labels == label) + 0.5) / (len(labels) + 1))


class Sampler:
    """The default mix of strategies.

    Some random titles of the catalogue are kept for the audit. They are labelled in random order,
    and no other strategy ever chooses them. The classifier that chooses other titles has not seen
    the labels of the audit, so that the score can be computed from the audit, see
    `vitrina.labelling.audit`. How often a class occurs in the audit decides whether it is rare.

    - While there are fewer than 20 labels, audit and diverse titles alternate.
    - After that, all titles are from the audit, which is a random sample.
    - Where a class is rare and has three labels, one title in five is from the audit. The others
      are those of which the classifier is least certain: the smallest margins. This goes on while
      it finds the class at least three times as often as random titles do.

    Parameters
    ----------
    features : CatalogueFeatures
    seed : int
    rows : ndarray of int64, optional
        Numbers of the titles to choose from; all by default.

    Attributes
    ----------
    audit_rows : ndarray of int64
        The titles that are kept for the audit, in their random order.
    other_rows : ndarray of int64
        The other titles, in random order.
    """

    def __init__(self, features: CatalogueFeatures, seed: int, rows: Rows | None = None) -> None:
        if rows is None:
            rows = np.arange(len(features))
        rows = rows[random_order([features.forms[row] for row in rows], seed)]
        self._features = features
        self._seed = seed
        self._diverse: Rows | None = None
        size = audit_size(len(rows))
        self.audit_rows: Rows = rows[:size]
        self.other_rows: Rows = rows[size:]

    def choose(
        self,
        labelled: Rows,
        labels: npt.NDArray[Any],
        strategies: npt.NDArray[np.str_],
        n: int,
        taken: Rows | None = None,
    ) -> list[Choice]:
        """Choose the next titles.

        Parameters
        ----------
        labelled : ndarray of shape (m,), int64
            Numbers of the labelled titles.
        labels : ndarray of shape (m,)
            Their labels.
        strategies : ndarray of shape (m,), str
            The strategies that chose them.
        n : int
            Number of titles.
        taken : ndarray of int64, optional
            Further titles that must not be chosen.

        Returns
        -------
        list of Choice
            Fewer than `n` if there are no more titles.
        """
        is_audit = np.isin(labelled, self.audit_rows)
        rare = rare_classes(labels, np.where(is_audit, AUDIT, strategies))
        used = labelled if taken is None else np.concatenate([labelled, taken])
        audit = self.audit_rows[~np.isin(self.audit_rows, used)]
        pool = self.other_rows[~np.isin(self.other_rows, used)]

        names = [self._strategy(len(labelled) + i, bool(rare)) for i in range(n)]
        queues = {AUDIT: audit, RANDOM: pool}
        if DIVERSE in names:
            queues[DIVERSE] = self._typical()[~np.isin(self._typical(), used)]
        if rare:
            queues[MARGIN] = self._uncertain(pool, labelled[~is_audit], labels[~is_audit])
        return _from_queues(names, queues)

    def _typical(self) -> Rows:
        """The diverse titles, which no label decides: they are found once."""
        if self._diverse is None:
            n = START_LABELS // 2
            self._diverse = diverse(self._features, self.other_rows, n, self._seed)
        return self._diverse

    @staticmethod
    def _strategy(number: int, is_rare: bool) -> str:
        """The strategy of the title that gets the label of a number, from 0."""
        if is_rare:
            return AUDIT if number % 5 == 0 else MARGIN
        if number < START_LABELS and number % 2:
            return DIVERSE
        return AUDIT

    def _uncertain(self, pool: Rows, labelled: Rows, labels: npt.NDArray[Any]) -> Rows:
        """The titles by margin, from labels outside the audit."""
        if len(np.unique(labels)) < 2:
            return pool[:0]
        scores = self._features.scores(self._features.fit(labelled, labels))
        return by_margin(pool, scores)


def _from_queues(names: Sequence[str], queues: dict[str, Rows]) -> list[Choice]:
    """Take one title after the other, each from the queue of its strategy.

    Where a queue is empty or missing, the title comes from the audit, and else from the other
    titles at random.
    """
    taken: set[int] = set()
    iterators = {name: iter(queue.tolist()) for name, queue in queues.items()}
    choices: list[Choice] = []
    for wanted in names:
        for name in (wanted, AUDIT, RANDOM):
            row = next((row for row in iterators.get(name, iter(())) if row not in taken), None)
            if row is not None:
                taken.add(row)
                choices.append(Choice(row, name))
                break
    return choices
