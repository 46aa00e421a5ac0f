"""Metrics of predictions (AUC, accuracy, precision, R², MAE) and their bootstrap replicates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

Kind: TypeAlias = Literal["binary", "multiclass", "regression"]

PRIMARY: Mapping[Kind, str] = {"binary": "auc", "multiclass": "auc", "regression": "r2"}
"""The metric that curves and comparisons show: ROC AUC (macro, one-vs-rest), or R²."""
MOST_INSPECTED = 100
"""Largest k of the precision at k."""
REPLICATES = 200
"""Number of bootstrap replicates for each score."""

Floats: TypeAlias = npt.NDArray[np.float64]


def metrics(kind: Kind, truth: npt.NDArray[Any], scores: Floats) -> dict[str, float]:
    """Compute the metrics of a kind of task.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    truth : ndarray of shape (n,), bool, int64 or float64
        True labels: whether a row is positive (binary), its class number (multi-class), or its
        value (regression).
    scores : ndarray of shape (n,), or (n, k) for a multi-class task
        Predicted scores, one for each of the k classes, or predicted values.

    Returns
    -------
    dict of str to float
        For a binary task 'auc'; for a multi-class task 'auc' and 'accuracy'; for regression 'r2'
        and 'mae'. The AUC of a multi-class task is the mean over the classes that occur, each
        against the rest.
    """
    if kind == "binary":
        return {"auc": float(roc_auc_score(truth, scores))}
    if kind == "multiclass":
        per_class = [roc_auc_score(truth == k, scores[:, k]) for k in _occurring(truth, scores)]
        accuracy = np.mean(scores.argmax(axis=1) == truth)
        return {"auc": float(np.mean(per_class)), "accuracy": float(accuracy)}
    return {
        "r2": float(r2_score(truth, scores)),
        "mae": float(mean_absolute_error(truth, scores)),
    }


def precision_metrics(truth: npt.NDArray[np.bool_], scores: Floats) -> dict[str, float]:
    """Compute how good the top of a ranking is, for a binary task with few positive rows.

    Where positive rows are rare, a high AUC may go with a top of the ranking that is mostly wrong.
    These metrics say what someone finds who inspects the rows with the highest scores.

    Parameters
    ----------
    truth : ndarray of shape (n,), bool
        Whether a row is positive; at least one is.
    scores : ndarray of shape (n,), float64
        A higher score means that the positive class is more likely.

    Returns
    -------
    dict of str to float
        'average_precision' (scikit-learn's) and 'precision_at_k': the expected share of positive
        rows among the k rows with the highest scores, where rows with equal scores come in random
        order. k is 100, or the number of positive rows if that is smaller.
    """
    return {
        "average_precision": float(average_precision_score(truth, scores)),
        "precision_at_k": _precision_at(min(MOST_INSPECTED, int(truth.sum())), truth, scores),
    }


def _precision_at(k: int, truth: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Expected share of positive rows among the k highest scores, with ties in random order."""
    limit = np.partition(scores, -k)[-k]
    above = scores > limit
    tied = scores == limit
    # the places that rows above the limit leave are filled from the tied rows
    places = k - int(above.sum())
    found = truth[above].sum() + places * truth[tied].mean()
    return float(found / k)


def bootstrap(
    kind: Kind, truth: npt.NDArray[Any], scores: Floats, replicates: int = REPLICATES
) -> Floats:
    """Compute the primary metric on bootstrap replicates of the rows.

    The drawn rows depend on the number of rows only. Replicate b therefore holds the same rows for
    any two models, and the differences between their replicates form a paired bootstrap.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    truth, scores : ndarray
        As for `metrics`.
    replicates : int, default 200

    Returns
    -------
    ndarray of shape (replicates,), float64
    """
    weights = _weights(len(truth), replicates)
    if kind == "binary":
        return weighted_auc(truth, scores, weights)
    if kind == "multiclass":
        classes = _occurring(truth, scores)
        per_class = [weighted_auc(truth == k, scores[:, k], weights) for k in classes]
        macro: Floats = np.nanmean(per_class, axis=0)
        return macro
    return _weighted_r2(truth, scores, weights)


def _weighted_r2(
    truth: npt.NDArray[Any], scores: Floats, weights: npt.NDArray[np.floating[Any]]
) -> Floats:
    """R² of each replicate, shape (replicates,), from weights of shape (replicates, n)."""
    total = weights.sum(axis=1)
    mean = weights @ truth / total
    residual = weights @ np.square(truth - scores)
    around_mean = weights @ np.square(truth) - total * np.square(mean)
    r2: Floats = 1 - residual / around_mean
    return r2


@lru_cache(maxsize=2)
def _weights(n: int, replicates: int) -> npt.NDArray[np.float32]:
    """How often each replicate contains each row, shape (replicates, n).

    The numbers are whole, so float32 holds them exactly.
    """
    drawn = np.random.default_rng(n).integers(n, size=(replicates, n))
    return np.stack([np.bincount(rows, minlength=n) for rows in drawn]).astype(np.float32)


def weighted_auc(
    positive: npt.NDArray[np.bool_], scores: Floats, weights: npt.NDArray[np.floating[Any]]
) -> Floats:
    """Compute the ROC AUC for several weightings of the same rows.

    Parameters
    ----------
    positive : ndarray of shape (n,), bool
    scores : ndarray of shape (n,), float64
    weights : ndarray of shape (b, n), float32 or float64
        How often each row counts in each of b replicates.

    Returns
    -------
    ndarray of shape (b,), float64
        NaN for a replicate with rows of one class only.
    """
    order = np.argsort(scores, kind="stable")
    w = weights[:, order]
    y = positive[order]
    # rows with tied scores form one group
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)
    positives = np.add.reduceat(w * y, starts, axis=1)
    negatives = np.add.reduceat(w * ~y, starts, axis=1)
    # AUC is the share of (positive, negative) pairs in the right order; a tie counts half
    negatives_below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs_in_order = np.einsum("bg,bg->b", positives, negatives_below, dtype=np.float64)
    n_positive = positives.sum(axis=1, dtype=np.float64)
    n_negative = negatives.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc: Floats = pairs_in_order / (n_positive * n_negative)
    return auc


def _occurring(truth: npt.NDArray[Any], scores: Floats) -> list[int]:
    """The classes that have an AUC: at least one row belongs to them and one does not."""
    counts = np.bincount(truth, minlength=scores.shape[1])
    return np.flatnonzero((counts > 0) & (counts < len(truth))).tolist()
