"""Linear models on the vectors of titles (paper §4) and on their words, and how their settings are
chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import unit_length
from vitrina.metrics import PRIMARY, Kind, metrics

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[Any]
Scores: TypeAlias = npt.NDArray[np.float64]
Features: TypeAlias = Any  # (n, d) array or sparse matrix, float64
Linear: TypeAlias = tuple[Callable[[Features], Scores], int]


class LinearParams(NamedTuple):
    """Settings of a linear model.

    Attributes
    ----------
    weight : of the vectors beside the words
    C : inverse strength of the regularisation
    """

    weight: float
    C: float


DEFAULT_PARAMS = LinearParams(1.5, 2.0)
"""With few labels: the best on average over many tasks (docs/results/ablation.md)."""
_WEIGHTS, _STRENGTHS = (DEFAULT_PARAMS.weight, 0.7, 4.0), (1.0, 0.3, 3.0)
_MIN_TUNING_ROWS = 300  # titles; with fewer, cross-validation chooses no better than the above
_MAX_TUNING_ROWS = 2_000  # titles; more hardly choose better
_FOLDS = 3


def regression(C: float = 1.0) -> LogisticRegression:
    """The classifier of the paper's §4, of two classes, not fitted yet."""
    return LogisticRegression(C=C, solver="liblinear", max_iter=1000)


def features_of(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """What `regression` learns from: vectors (n, d) at unit length, float64 as liblinear works."""
    return unit_length(vectors.astype(np.float64))


def stack_features(
    vectors: npt.NDArray[np.floating[Any]], words: csr_matrix, weight: float
) -> csr_matrix:
    """Vectors (n, 512) at unit length and lexical features (n, d) as features of one model."""
    return hstack([csr_matrix(weight * vectors), words], "csr")


def fit_linear(
    kind: Kind, features: Features, labels: Labels, classes: int = 2, C: float = 1.0
) -> Linear:
    """The linear model of a kind of task: the paper's logistic regression (§4), one against the
    rest for several classes, ridge regression for numbers. C is the inverse strength of its
    regularisation.

    A class without rows gets the same score everywhere, below all others'.

    Returns
    -------
    features -> scores, and the number of bytes of its coefficients
    """
    # one BLAS thread: sums in one order, so the same result however many processors there are
    with threadpool_limits(1, "blas"):
        if kind == "regression":
            models = [Ridge(alpha=1 / C).fit(features, labels)]
        elif kind == "binary":
            models = [regression(C).fit(features, labels)]
        else:
            known = np.unique(labels)
            models = [regression(C).fit(features, labels == k) for k in known]

    def score(features: Features) -> Scores:
        with threadpool_limits(1, "blas"):
            if kind == "regression":
                return np.asarray(models[0].predict(features), np.float64)
            columns = [model.decision_function(features) for model in models]
        if kind == "binary":
            return np.asarray(columns[0], np.float64)
        return over_classes(np.column_stack(columns), known, classes)

    return score, sum(model.coef_.nbytes + 8 for model in models)


def tune_hyperparameters(
    kind: Kind,
    labels: Labels,
    classes: int,
    vectors: npt.NDArray[np.floating[Any]],
    forms: Sequence[str] | None = None,
) -> LinearParams:
    """The setting that does best in 3-fold cross-validation on at most 2,000 of the labelled
    titles: first the weight, then C. `DEFAULT_PARAMS` with less than 300 titles, or where a fold has
    one class only.

    How far words, vectors and the labels themselves can be trusted differs from task to task: with
    1,000 labels and more the choice is worth as much as another encoder (docs/results/ablation.md).

    Parameters
    ----------
    kind, labels, classes : see `fit_linear`
    vectors : (n, d) at unit length
    forms : normal forms of the n titles, whose words count beside the vectors; None for vectors
        alone, where a weight would say nothing. Of equal titles, the first takes part.
    """
    known = forms if forms is not None else [vector.tobytes() for vector in vectors]
    rows = np.sort(np.unique(np.asarray(known, dtype=object), return_index=True)[1])
    rows = np.random.default_rng(0).permutation(rows)[:_MAX_TUNING_ROWS]
    fold = np.empty(len(rows), np.int64)  # each has its share of every class or range of values
    fold[np.argsort(labels[rows], kind="stable")] = np.arange(len(rows)) % _FOLDS
    parts = [(rows[fold != k], rows[fold == k]) for k in range(_FOLDS)]
    one_class = kind != "regression" and any(
        len(np.unique(labels[part])) < 2 for both in parts for part in both
    )
    if len(rows) < _MIN_TUNING_ROWS or one_class:
        return DEFAULT_PARAMS
    words = [_words(forms, *both) if forms is not None else None for both in parts]

    @cache
    def cv_score(params: LinearParams) -> float:
        values = []
        for both, own in zip(parts, words, strict=True):
            learnt, judged = (vectors[part] for part in both)
            if own is not None:
                learnt, judged = (
                    stack_features(*pair, params.weight)
                    for pair in zip((learnt, judged), own, strict=True)
                )
            score, _ = fit_linear(kind, learnt, labels[both[0]], classes, params.C)
            values.append(metrics(kind, labels[both[1]], score(judged))[PRIMARY[kind]])
        return float(np.mean(values))

    best = LinearParams(DEFAULT_PARAMS.weight, _STRENGTHS[0])
    if forms is not None:
        best = max((LinearParams(weight, best.C) for weight in _WEIGHTS), key=cv_score)
    return max((LinearParams(best.weight, C) for C in _STRENGTHS), key=cv_score)


def _words(forms: Sequence[str], train: Rows, test: Rows) -> tuple[csr_matrix, csr_matrix]:
    """HashedTfidf features of rows to learn from and of rows to judge, as the former know them."""
    texts = [[forms[row] for row in rows] for rows in (train, test)]
    tfidf = HashedTfidf.fit(texts[0])
    return tfidf(texts[0]), tfidf(texts[1])


def over_classes(scores: Scores, known: Rows, classes: int) -> Scores:
    """Scores (n, k) of the classes that a subsample has, as (n, classes): a class without rows gets
    the same score everywhere, below all others'."""
    out = np.full((len(scores), classes), scores.min(initial=0) - 1)
    out[:, known] = scores
    return out
