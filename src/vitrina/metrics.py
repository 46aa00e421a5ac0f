"""What scores are worth: AUC, accuracy, R², MAE, and how sure we are of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

Kind: TypeAlias = Literal["binary", "multiclass", "regression"]

PRIMARY: Mapping[Kind, str] = {"binary": "auc", "multiclass": "auc", "regression": "r2"}
"""The metric that curves and comparisons show: AUC ROC (macro, one against the rest), or R²."""
REPLICATES = 200
"""Bootstrap replicates of a cell."""

Floats: TypeAlias = npt.NDArray[np.float64]


def metrics(kind: Kind, truth: npt.NDArray[Any], scores: Floats) -> dict[str, float]:
    """The metrics of a kind of task.

    Parameters
    ----------
    kind
    truth : (n,) bool, int64 class numbers, or float64
    scores : (n,), or (n, k) for a multi-class task

    Returns
    -------
    auc (binary); auc (mean over the classes that occur, each against the rest) and accuracy
    (multi-class); r2 and mae (regression)
    """
    if kind == "binary":
        return {"auc": float(roc_auc_score(truth, scores))}
    if kind == "multiclass":
        occurring = _occurring(truth, scores)
        each = [roc_auc_score(truth == k, scores[:, k]) for k in occurring]
        accuracy = np.mean(scores.argmax(axis=1) == truth)
        return {"auc": float(np.mean(each)), "accuracy": float(accuracy)}
    return {
        "r2": float(r2_score(truth, scores)),
        "mae": float(mean_absolute_error(truth, scores)),
    }


def bootstrap(
    kind: Kind, truth: npt.NDArray[Any], scores: Floats, replicates: int = REPLICATES
) -> Floats:
    """The primary metric on samples of the rows drawn with replacement, shape (replicates,).

    The draws depend on the number of rows alone: replicate b of any two models was judged on the
    same rows, so their differences are those of a paired bootstrap.
    """
    weights = _weights(len(truth), replicates)
    if kind == "binary":
        return weighted_auc(truth, scores, weights)
    if kind == "multiclass":
        occurring = _occurring(truth, scores)
        each = [weighted_auc(truth == k, scores[:, k], weights) for k in occurring]
        macro: Floats = np.nanmean(each, axis=0)
        return macro
    total = weights.sum(axis=1)
    mean = weights @ truth / total
    residual = weights @ np.square(truth - scores)
    around_mean = weights @ np.square(truth) - total * np.square(mean)
    r2: Floats = 1 - residual / around_mean
    return r2


@lru_cache(maxsize=2)
def _weights(n: int, replicates: int) -> npt.NDArray[np.float32]:
    """How often each replicate has each row, (replicates, n): whole numbers, and so exact."""
    drawn = np.random.default_rng(n).integers(n, size=(replicates, n))
    return np.stack([np.bincount(rows, minlength=n) for rows in drawn]).astype(np.float32)


def weighted_auc(
    positive: npt.NDArray[np.bool_], scores: Floats, weights: npt.NDArray[np.floating[Any]]
) -> Floats:
    """AUC ROC of rows that count several times: for weights (b, n), shape (b,); NaN where a
    replicate has rows of one class only."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)  # tied scores: one group
    w, y = weights[:, order], positive[order]
    up = np.add.reduceat(w * y, starts, axis=1)
    down = np.add.reduceat(w * ~y, starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2  # half of a tie counts
    above = np.einsum("bg,bg->b", up, below, dtype=np.float64)
    pairs = up.sum(axis=1, dtype=np.float64) * down.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc: Floats = above / pairs
    return auc


def _occurring(truth: npt.NDArray[Any], scores: Floats) -> list[int]:
    """Classes with rows both inside and outside."""
    counts = np.bincount(truth, minlength=scores.shape[1])
    return np.flatnonzero((counts > 0) & (counts < len(truth))).tolist()
