"""The score of a classifier from the audit: random titles that had no part in its making.

The score is that of the classifier on titles that nobody has labelled. It is honest for three
reasons. First, the titles of the audit are a random sample of the catalogue: the first ones in a
random order that is fixed in advance. Second, the classifier that chooses other titles has not seen
their labels; only how often a class occurs among them decides whether it chooses at all. Third, the
score is cross-fitted: the titles of the audit are divided into five parts, and each part is scored
by a classifier that is fitted on all labels but those of this part. So the classifier that is used
learns from all labels, and yet no title is scored by a classifier that has seen its label. As each
of the five has a fifth less of the audit, the score is a little too low.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm  # type: ignore[import-untyped]

from vitrina.labelling.catalogue_features import CatalogueFeatures, Floats, Rows

FOLDS = 5
LEAST_POSITIVE = 5
"""With fewer titles of a class in the audit, AUC and average precision say nothing."""

_REFERENCE = 20_000
_CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """An estimate with its 95 % confidence interval.

    Attributes
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float


class ClassScore(NamedTuple):
    """How well a class is told from the others.

    Attributes
    ----------
    label : str
        The class.
    titles : int
        Titles in the audit.
    positive : int
        Those of the class.
    share : Estimate
        Share of the class in the catalogue.
    auc, average_precision : Estimate or None
        None if the audit has fewer than five titles of the class, or of the others.
    precision_at_k : Estimate or None
        Share of the class among the k unlabelled titles with the highest scores. None if no title
        of the audit is among them.
    """

    label: str
    titles: int
    positive: int
    share: Estimate
    auc: Estimate | None
    average_precision: Estimate | None
    precision_at_k: Estimate | None


class AuditRanks(NamedTuple):
    """The titles of an audit, each ranked among the unlabelled titles.

    Attributes
    ----------
    classes : ndarray of shape (k,), str
    labels : ndarray of shape (a,), str
        Labels of the titles of the audit.
    ranks : ndarray of shape (a, k), float64
        By the score of each class: the share of the unlabelled titles with a higher score.
    unlabelled : int
        Number of unlabelled titles.
    """

    classes: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    ranks: Floats
    unlabelled: int

    def score(self, label: str, k: int = 100) -> ClassScore | None:
        """Compute the score of one class; None if there is no label of it."""
        (found,) = np.nonzero(self.classes == label)
        if not len(found):
            return None
        share_of_k = k / max(self.unlabelled, k)
        return class_score(label, self.labels == label, -self.ranks[:, found[0]], share_of_k)

    def scores(self, k: int = 100) -> list[ClassScore]:
        """Compute the score of each class; of two classes, only of the second."""
        first = 1 if len(self.classes) == 2 else 0
        found = [self.score(str(label), k) for label in self.classes[first:]]
        return [score for score in found if score is not None]


def audit_ranks(
    features: CatalogueFeatures,
    audit: Rows,
    audit_labels: npt.NDArray[Any],
    others: Rows,
    other_labels: npt.NDArray[Any],
    reference: Rows,
) -> AuditRanks | None:
    """Rank the titles of the audit among unlabelled titles.

    The scores of two classifiers can't be compared. Therefore each title of the audit is ranked
    among the titles of the reference, which the same classifier has scored, and the ranks are
    compared. A rank is the share of the titles with a higher score.

    Parameters
    ----------
    features : CatalogueFeatures
    audit : ndarray of shape (a,), int64
        Numbers of the titles of the audit, in the order in which they were labelled.
    audit_labels : ndarray of shape (a,), str
    others : ndarray of shape (m,), int64
        Numbers of the other labelled titles.
    other_labels : ndarray of shape (m,), str
    reference : ndarray of int64
        Numbers of unlabelled titles in random order; the first 20,000 are used.

    Returns
    -------
    AuditRanks or None
        None if the audit has no titles, or if a part of it leaves labels of one class only.
    """
    classes = np.unique(np.concatenate([audit_labels, other_labels]))
    ranks = _cross_fitted_ranks(
        features, classes, audit, audit_labels, others, other_labels, reference[:_REFERENCE]
    )
    if ranks is None:
        return None
    return AuditRanks(classes, audit_labels, ranks, len(reference))


def _cross_fitted_ranks(
    features: CatalogueFeatures,
    classes: npt.NDArray[Any],
    audit: Rows,
    audit_labels: npt.NDArray[Any],
    others: Rows,
    other_labels: npt.NDArray[Any],
    reference: Rows,
) -> Floats | None:
    """The rank of each title of the audit by each class, shape (a, classes), from 0 to 1."""
    # the audit is in random order, so any division that doesn't look at the labels is random
    fold = np.arange(len(audit)) % FOLDS
    ranks = np.full((len(audit), len(classes)), 0.5)
    for number in np.unique(fold):
        learnt, held_out = fold != number, fold == number
        labels = np.concatenate([other_labels, audit_labels[learnt]])
        if len(np.unique(labels)) < 2:
            return None
        classifier = features.fit(np.concatenate([others, audit[learnt]]), labels)
        scores = features.scores(classifier, np.concatenate([audit[held_out], reference]))
        n = int(held_out.sum())
        # a class without labels in these folds has no scores: its titles stay in the middle
        for column, label in enumerate(classifier.classes_):
            of_reference = np.sort(scores[n:, column])
            below = np.searchsorted(of_reference, scores[:n, column], "left")
            equal = np.searchsorted(of_reference, scores[:n, column], "right") - below
            above = len(of_reference) - below - equal / 2
            rank = (above + 0.5) / (len(of_reference) + 1)
            ranks[held_out, np.searchsorted(classes, label)] = rank
    return ranks if len(audit) else None


def class_score(
    label: str, truth: npt.NDArray[np.bool_], scores: Floats, share_of_k: float
) -> ClassScore:
    """Compute the estimates for one class.

    Parameters
    ----------
    label : str
    truth : ndarray of shape (a,), bool
        Whether a title of the audit is of the class.
    scores : ndarray of shape (a,), float64
        Minus the share of unlabelled titles with a higher score.
    share_of_k : float
        The k of the precision at k, as a share of the unlabelled titles.

    Returns
    -------
    ClassScore
    """
    positive = int(truth.sum())
    auc = average_precision = at_k = None
    if min(positive, len(truth) - positive) >= LEAST_POSITIVE:
        auc = auc_estimate(truth, scores)
        average_precision = average_precision_estimate(truth, scores)
    inspected = scores >= -share_of_k
    if inspected.any():
        at_k = share_estimate(int(truth[inspected].sum()), int(inspected.sum()))
    share = share_estimate(positive, len(truth))
    return ClassScore(label, len(truth), positive, share, auc, average_precision, at_k)


def share_estimate(count: int, n: int) -> Estimate:
    """Estimate a share from a random sample, with the exact interval of Clopper & Pearson (1934).

    Parameters
    ----------
    count, n : int
        `count` of the `n` drawn have the property; n is 1 or more.

    Returns
    -------
    Estimate
    """
    tail = (1 - _CONFIDENCE) / 2
    low = beta.ppf(tail, count, n - count + 1) if count else 0.0
    high = beta.ppf(1 - tail, count + 1, n - count) if count < n else 1.0
    return Estimate(count / n, float(low), float(high))


def auc_estimate(truth: npt.NDArray[np.bool_], scores: Floats) -> Estimate:
    """Estimate the ROC AUC, which has no bias in a random sample.

    The standard error is that of Hanley & McNeil (Radiology 143, 1982), the interval is symmetric
    in log-odds.

    Parameters
    ----------
    truth : ndarray of shape (a,), bool
        Both values occur.
    scores : ndarray of shape (a,), float64

    Returns
    -------
    Estimate
    """
    positive, negative = scores[truth], np.sort(scores[~truth])
    below = np.searchsorted(negative, positive, "left")
    equal = np.searchsorted(negative, positive, "right") - below
    auc = float(np.mean((below + equal / 2) / len(negative)))
    n, m = len(positive), len(negative)
    p = _inside(auc, min(n, m))
    q1, q2 = p / (2 - p), 2 * p * p / (1 + p)
    variance = (p * (1 - p) + (n - 1) * (q1 - p * p) + (m - 1) * (q2 - p * p)) / (n * m)
    return _in_log_odds(auc, p, float(np.sqrt(variance)))


def average_precision_estimate(truth: npt.NDArray[np.bool_], scores: Floats) -> Estimate:
    """Estimate the average precision in the catalogue from a random sample.

    In a small sample, the average precision is too high, because each positive title counts itself.
    The jackknife (Quenouille 1956) removes most of that. The standard error is that of the
    jackknife, or of the binomial distribution if that is larger, and the interval is symmetric in
    log-odds (Boyd, Eng & Page, ECML 2013).

    Parameters
    ----------
    truth : ndarray of shape (a,), bool
        At least two are true.
    scores : ndarray of shape (a,), float64

    Returns
    -------
    Estimate
    """
    order = np.argsort(-scores, kind="stable")
    y = truth[order].astype(np.float64)
    n, positive = len(y), y.sum()
    place = np.arange(1, n + 1)
    found = np.cumsum(y)
    parts = y * found / place
    whole = parts.sum() / positive
    # what each positive title adds if a negative or a positive title before it is left out
    before = np.cumsum(parts) - parts
    one_less = np.maximum(place - 1, 1)
    without_negative = _sums_after(y * found / one_less)
    without_positive = _sums_after(y * (found - 1) / one_less)
    left_out = np.where(
        y > 0,
        (before + without_positive) / (positive - 1),
        (before + without_negative) / positive,
    )
    pseudo_values = n * whole - (n - 1) * left_out
    value = float(np.clip(pseudo_values.mean(), 0, 1))
    p = _inside(value, positive)
    error = max(pseudo_values.std(ddof=1) / np.sqrt(n), np.sqrt(p * (1 - p) / positive))
    return _in_log_odds(value, p, float(error))


def _sums_after(values: Floats) -> Floats:
    """The sum of the values behind each place."""
    sums: Floats = values.sum() - np.cumsum(values)
    return sums


def _inside(value: float, n: float) -> float:
    """The value, not nearer to 0 or 1 than half a title of n."""
    return float(np.clip(value, 0.5 / n, 1 - 0.5 / n))


def _in_log_odds(value: float, p: float, error: float) -> Estimate:
    """The interval around p that is symmetric in log-odds, with the estimate inside."""
    half = float(norm.ppf((1 + _CONFIDENCE) / 2)) * error / (p * (1 - p))
    centre = np.log(p / (1 - p))
    low, high = 1 / (1 + np.exp(half - centre)), 1 / (1 + np.exp(-half - centre))
    return Estimate(value, float(min(low, value)), float(max(high, value)))
