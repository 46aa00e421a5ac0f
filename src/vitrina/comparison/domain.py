"""A domain classifier: can one tell from a title's vector which of two tables it is from?

Its AUC measures how far the distributions of the two tables are apart (the classifier two-sample
test of Lopez-Paz and Oquab 2017). The classifier is a ridge regression on the number of the table,
which gives Fisher's linear discriminant. One factorisation serves the real numbers and all random
ones, so the null distribution takes little time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.metrics import weighted_auc

FOLDS = 5
RANDOM_HALVES = 200
"""Random divisions for the null band."""

RIDGE = 1.0
"""Weight of the squared coefficients; the vectors have length 1."""

_BAND = (2.5, 97.5)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DomainScore:
    """The result of a domain classifier.

    Attributes
    ----------
    auc : float
        Cross-validated: 0.5 if the tables can't be told apart, 1 if they never overlap.
    band : tuple of float
        Where the AUC lies in 95 % of the random divisions.
    scores : ndarray of shape (n,), float64
        Of each title, from the folds that it was not in: higher is more typical of the second
        table.
    """

    auc: float
    band: tuple[float, float]
    scores: Floats


def tell_apart(
    vectors: npt.NDArray[np.floating[Any]],
    in_first: npt.NDArray[np.bool_],
    in_second: npt.NDArray[np.bool_],
    seed: int = 0,
) -> DomainScore:
    """Classify titles as those of the first or the second table.

    A title of both tables counts for each of them, and stays in both in the random divisions: only
    the titles that one table has alone are exchanged. If the tables differ in size and overlap, the
    band need not be around 0.5: titles that both have make up a larger part of the smaller table.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float
        Vectors of distinct titles, of length 1.
    in_first, in_second : ndarray of shape (n,), bool
        The table or tables of each title.
    seed : int, optional
        Of the folds and the random divisions.

    Returns
    -------
    DomainScore
    """
    rng = np.random.default_rng(seed)
    # +1 for the second table, -1 for the first, 0 for both
    target = in_second.astype(np.float64) - in_first
    weight = in_first.astype(np.float64) + in_second
    targets = np.repeat(target[:, None], 1 + RANDOM_HALVES, axis=1)
    single = np.flatnonzero(target)
    for column in range(1, targets.shape[1]):
        targets[single, column] = rng.permutation(target[single])

    fold = rng.permutation(len(target)) % FOLDS
    scores = _ridge_scores(np.asarray(vectors, np.float64), weight, targets, fold)
    aucs = np.array([_auc(scores[:, i], targets[:, i]) for i in range(targets.shape[1])])
    low, high = np.percentile(aucs[1:], _BAND)
    return DomainScore(float(aucs[0]), (float(low), float(high)), scores[:, 0])


def _ridge_scores(
    vectors: Floats, weight: Floats, targets: Floats, fold: npt.NDArray[np.int64]
) -> Floats:
    """The prediction of each target for each row, by a ridge regression on the other folds."""
    folds = [np.flatnonzero(fold == which) for which in range(FOLDS)]
    sums = [_Sums.of(vectors[rows], weight[rows], targets[rows]) for rows in folds]
    scores = np.empty_like(targets)
    for which, rows in enumerate(folds):
        others = [part for i, part in enumerate(sums) if i != which]
        added: list[Any] = [sum(field) for field in zip(*others, strict=True)]
        centre, mean, coef = _Sums(*added).solved()
        scores[rows] = (vectors[rows] - centre) @ coef + mean
    return scores


class _Sums(NamedTuple):
    """Weighted sums over rows: all that a ridge regression needs of them."""

    total: Any
    vectors: Floats
    targets: Floats
    gram: Floats
    cross: Floats

    @classmethod
    def of(cls, vectors: Floats, weight: Floats, targets: Floats) -> _Sums:
        weighted = vectors * weight[:, None]
        return cls(
            weight.sum(),
            weighted.sum(axis=0),
            weight @ targets,
            weighted.T @ vectors,
            weighted.T @ targets,
        )

    def solved(self) -> tuple[Floats, Floats, Floats]:
        """Mean vector, mean of each target, and the coefficients of each target."""
        centre, mean = self.vectors / self.total, self.targets / self.total
        gram = self.gram - self.total * np.outer(centre, centre)
        gram.flat[:: len(gram) + 1] += RIDGE
        cross = self.cross - self.total * np.outer(centre, mean)
        return centre, mean, np.linalg.solve(gram, cross)


def _auc(scores: Floats, target: Floats) -> float:
    """ROC AUC, in which a title of both tables is a row of each."""
    first, second = scores[target <= 0], scores[target >= 0]
    is_second = np.repeat([False, True], [len(first), len(second)])
    rows = np.concatenate([first, second])
    return float(weighted_auc(is_second, rows, np.ones((1, len(rows))))[0])
