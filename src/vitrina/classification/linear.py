"""Linear models on title vectors and TF-IDF features (paper §4), and the choice of their
hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from threadpoolctl import threadpool_limits

from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import unit_length
from vitrina.metrics import PRIMARY, Kind, metrics

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[Any]
Vectors: TypeAlias = npt.NDArray[np.floating[Any]]
Scores: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = npt.NDArray[np.float64]
Features: TypeAlias = Any  # (n, d) array or sparse matrix, float64
Linear: TypeAlias = tuple[Callable[[Features], Scores], int]


class LinearParams(NamedTuple):
    """Hyperparameters of a linear model.

    Attributes
    ----------
    weight : float
        Factor of the vectors, relative to the TF-IDF features beside them.
    C : float
        Inverse strength of the regularisation; for a ridge regression, 1 / alpha.
    """

    weight: float
    C: float


DEFAULT_PARAMS = LinearParams(1.5, 2.0)
"""For few labels: the best on average over many tasks (docs/results/ablation.md)."""

# Candidates of `tune_hyperparameters`, in the order in which they win ties.
_WEIGHTS = (DEFAULT_PARAMS.weight, 0.7, 4.0)
_STRENGTHS = (1.0, 0.3, 3.0)

# With fewer titles, cross-validation chooses no better than `DEFAULT_PARAMS`.
MIN_TUNING_ROWS = 300
# More titles hardly improve the choice.
_MAX_TUNING_ROWS = 2_000
_FOLDS = 3


def regression(C: float = 1.0) -> LogisticRegression:
    """Return the unfitted logistic regression of the paper (§4), for two classes.

    Parameters
    ----------
    C : float, optional
        Inverse strength of the regularisation.
    """
    return LogisticRegression(C=C, solver="liblinear", max_iter=1000)


def features_of(vectors: Vectors) -> Vectors:
    """Scale vectors of shape (n, d) to unit length, as float64, in which liblinear computes."""
    return unit_length(vectors.astype(np.float64))


def stack_features(vectors: Vectors, words: csr_matrix, weight: float) -> csr_matrix:
    """Put vectors and TF-IDF features side by side, as features of one model.

    Parameters
    ----------
    vectors : ndarray of shape (n, width), float64
        At unit length.
    words : csr_matrix of shape (n, d), float64
    weight : float
        Factor of the vectors.

    Returns
    -------
    csr_matrix of shape (n, width + d), float64
    """
    return hstack([csr_matrix(weight * vectors), words], "csr")


def fit_models(
    kind: Kind, features: Features, labels: Labels, C: float, sample_weight: Weights | None = None
) -> list[LogisticRegression | Ridge]:
    """Fit the linear models of `fit_linear`: one, or for several classes one for each.

    Parameters
    ----------
    kind, features, labels, C, sample_weight
        See `fit_linear`.

    Returns
    -------
    list of LogisticRegression or Ridge
        The models of several classes are in the order of the classes that occur.
    """
    # One BLAS thread adds in one order: the result doesn't depend on the number of processors.
    with threadpool_limits(1, "blas"):
        if kind == "regression":
            return [Ridge(alpha=1 / C).fit(features, labels, sample_weight)]
        if kind == "binary":
            return [regression(C).fit(features, labels, sample_weight)]
        known = np.unique(labels)
        return [regression(C).fit(features, labels == k, sample_weight) for k in known]


def fit_linear(
    kind: Kind,
    features: Features,
    labels: Labels,
    classes: int = 2,
    C: float = 1.0,
    sample_weight: Weights | None = None,
) -> Linear:
    """Fit the linear model for a kind of task.

    Two classes get the paper's logistic regression (§4), several classes one logistic regression
    per class against the rest, and numbers a ridge regression.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    features : ndarray or sparse matrix of shape (n, d), float64
    labels : ndarray of shape (n,)
        Booleans, class numbers from 0, or numbers.
    classes : int, optional
        Number of classes of a multi-class task. A class without rows gets the same score for every
        title, lower than all other scores.
    C : float, optional
        Inverse strength of the regularisation; for a ridge regression, 1 / alpha.
    sample_weight : ndarray of shape (n,), float64, optional
        Weight of each row, 0 or more.

    Returns
    -------
    predict_scores : callable
        Maps features of shape (m, d) to scores of shape (m,), or (m, classes) for a multi-class
        task.
    size : int
        Bytes of the model's coefficients.
    """
    models = fit_models(kind, features, labels, C, sample_weight)
    known = np.unique(labels) if kind == "multiclass" else np.empty(0, np.int64)

    def predict_scores(features: Features) -> Scores:
        with threadpool_limits(1, "blas"):
            if kind == "regression":
                return np.asarray(models[0].predict(features), np.float64)
            columns = [model.decision_function(features) for model in models]
        if kind == "binary":
            return np.asarray(columns[0], np.float64)
        return over_classes(np.column_stack(columns), known, classes)

    size = sum(model.coef_.nbytes + 8 for model in models)  # 8 bytes: the intercept
    return predict_scores, size


def over_classes(scores: Scores, known: Rows, classes: int) -> Scores:
    """Extend the scores of the classes in a subsample to all classes of the task.

    Parameters
    ----------
    scores : ndarray of shape (n, k), float64
    known : ndarray of shape (k,), int64
        Numbers of the classes in the subsample.
    classes : int
        Number of classes of the task.

    Returns
    -------
    ndarray of shape (n, classes), float64
        A class that the subsample lacks gets the same score for every title, lower than all other
        scores.
    """
    out = np.full((len(scores), classes), scores.min(initial=0) - 1)
    out[:, known] = scores
    return out


class _Fold(NamedTuple):
    train: Rows
    test: Rows


class _FoldWords(NamedTuple):
    """TF-IDF features of a fold's titles, in the vocabulary of its training titles."""

    train: csr_matrix
    test: csr_matrix


def tune_hyperparameters(
    kind: Kind,
    labels: Labels,
    classes: int,
    vectors: Vectors,
    forms: Sequence[str] | None = None,
    sample_weight: Weights | None = None,
) -> LinearParams:
    """Choose the weight of the vectors, then C, by 3-fold cross-validation.

    The best weight depends on how much the words and the vectors say about the labels, and the best
    C on how reliable the labels are. Both differ from task to task: with 1,000 labels or more, a
    good choice gains as much as another encoder (docs/results/ablation.md).

    Cross-validation uses at most 2,000 distinct titles, the first row of each.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    labels : ndarray of shape (n,)
        See `fit_linear`.
    classes : int
        See `fit_linear`.
    vectors : ndarray of shape (n, d), float64
        At unit length.
    forms : sequence of n str, optional
        Normal forms of the titles, for TF-IDF features beside the vectors. Without them the model
        has vectors only, and the weight stays at its default.
    sample_weight : ndarray of shape (n,), float64, optional
        Weight of each row, above 0, in the fits and in the scores of the folds.

    Returns
    -------
    LinearParams
        `DEFAULT_PARAMS` with fewer than 300 distinct titles, or if a part of a fold has rows of one
        class only.
    """
    rows = tuning_rows(vectors, forms)
    folds = stratified_folds(labels, rows)
    if len(rows) < MIN_TUNING_ROWS:
        return DEFAULT_PARAMS
    if kind != "regression" and has_one_class(labels, folds):
        return DEFAULT_PARAMS

    # Counted once per fold: the words don't depend on the hyperparameters.
    words: list[_FoldWords | None] = [None] * _FOLDS
    if forms is not None:
        words = [_fold_words(forms, fold) for fold in folds]

    def fold_score(params: LinearParams, fold: _Fold, own: _FoldWords | None) -> float:
        train, test = vectors[fold.train], vectors[fold.test]
        if own is not None:
            train = stack_features(train, own.train, params.weight)
            test = stack_features(test, own.test, params.weight)
        train_weight, test_weight = None, None
        if sample_weight is not None:
            train_weight, test_weight = sample_weight[fold.train], sample_weight[fold.test]
        predict_scores, _ = fit_linear(
            kind, train, labels[fold.train], classes, params.C, train_weight
        )
        return _weighted_score(kind, labels[fold.test], predict_scores(test), test_weight)

    @cache
    def cv_score(params: LinearParams) -> float:
        scores = [fold_score(params, *parts) for parts in zip(folds, words, strict=True)]
        return float(np.mean(scores))

    # One after the other, which takes 5 fits per fold instead of the 9 of a full grid.
    weight = DEFAULT_PARAMS.weight
    if forms is not None:
        candidates = [LinearParams(weight, _STRENGTHS[0]) for weight in _WEIGHTS]
        weight = max(candidates, key=cv_score).weight
    candidates = [LinearParams(weight, C) for C in _STRENGTHS]
    return max(candidates, key=cv_score)


def _weighted_score(
    kind: Kind, truth: Labels, scores: Scores, sample_weight: Weights | None
) -> float:
    """The primary metric of a kind of task (see `vitrina.metrics`), with a weight for each row."""
    if sample_weight is None:
        return metrics(kind, truth, scores)[PRIMARY[kind]]
    if kind == "regression":
        return float(r2_score(truth, scores, sample_weight=sample_weight))
    if kind == "binary":
        return float(roc_auc_score(truth, scores, sample_weight=sample_weight))
    # `has_one_class` has made sure that there are at least two
    per_class = [
        roc_auc_score(truth == k, scores[:, k], sample_weight=sample_weight)
        for k in np.unique(truth)
    ]
    return float(np.mean(per_class))


def tuning_rows(vectors: Vectors, forms: Sequence[str] | None) -> Rows:
    """Return the first row of each distinct title, at most 2,000 of them, in random order."""
    titles: Sequence[Any] = forms if forms is not None else [row.tobytes() for row in vectors]
    _, first_rows = np.unique(np.asarray(titles, dtype=object), return_index=True)
    shuffled = np.random.default_rng(0).permutation(np.sort(first_rows))
    rows: Rows = shuffled[:_MAX_TUNING_ROWS]
    return rows


def stratified_folds(labels: Labels, rows: Rows) -> list[_Fold]:
    """Split rows so that each fold has its share of every class, or of every range of numbers."""
    by_label = np.argsort(labels[rows], kind="stable")
    fold_of_row = np.empty(len(rows), np.int64)
    fold_of_row[by_label] = np.arange(len(rows)) % _FOLDS
    return [_Fold(rows[fold_of_row != k], rows[fold_of_row == k]) for k in range(_FOLDS)]


def has_one_class(labels: Labels, folds: Sequence[_Fold]) -> bool:
    """Whether some part of a fold has rows of one class only, so that it has no AUC."""
    for fold in folds:
        for part in fold:
            if len(np.unique(labels[part])) < 2:
                return True
    return False


def _fold_words(forms: Sequence[str], fold: _Fold) -> _FoldWords:
    train = [forms[row] for row in fold.train]
    test = [forms[row] for row in fold.test]
    tfidf = HashedTfidf.fit(train)
    return _FoldWords(tfidf(train), tfidf(test))
