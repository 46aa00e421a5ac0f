"""Estimates the score on new titles of a classifier or regressor, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    precision_recall_curve,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedGroupKFold

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.linear import fit_linear
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.tfidf import HashedTfidf
from vitrina.metrics import Kind
from vitrina.progress import Progress

FOLDS = 5
"""Folds of the cross-validation."""

_WORDS_C = 10.0
"""C of a logistic regression on words alone; the best on average (docs/results/README.md)."""

_SHOWN_CLASSES = 10

Labels = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Fold(NamedTuple):
    """Numbers of the rows that a model learns from, and of those that score it."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def grouped_folds(codes: Labels, forms: Labels) -> list[Fold]:
    """Divide rows so that each fold has its share of every class, and no title is in two folds.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        The class of each row, from 0.
    forms : ndarray of shape (n,), object
        The normal form of each row's title.
    """
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return [Fold(*rows) for rows in split.split(forms, codes, forms)]


def distinct_titles(codes: Labels, forms: Labels) -> npt.NDArray[np.int64]:
    """Count the distinct normal forms of each class; parameters as for `grouped_folds`."""
    pairs = set(zip(codes.tolist(), forms, strict=True))
    return np.bincount([code for code, _ in pairs])


def cross_validated(
    model: TitleClassifier | TitleRegressor, titles: Any, labels: Any, *, quiet: bool = True
) -> str:
    """Estimate the score on new titles by 5-fold cross-validation.

    Rows of equal normal form are kept in one fold, so that no title is both learnt and scored.

    Parameters
    ----------
    model : TitleClassifier or TitleRegressor
        Its parameters are used; it is not changed.
    titles : list, or numpy, polars, pyarrow or pandas column, of n str
    labels : list, or numpy, polars, pyarrow or pandas column, of n str, int, float or bool
        Classes, or numbers for a regressor.
    quiet : bool, default True
        Show no progress bar.

    Returns
    -------
    str
        Means and standard deviations of the folds, in words.

        For a classifier: the AUC ROC for two classes if every fold has both, else the accuracy,
        beside those of a logistic regression on the words alone (the TF-IDF features, C = 10); how
        many rows each class has; and for two classes precision and recall of the second one, at a
        probability of 0.5 and at the threshold of the highest F1, from the scores of all folds.

        For a regressor: R² and the mean absolute error, with that of always predicting the median.

        If there are too few distinct titles, a sentence that says so.
    """
    forms = np.array(model.encoder.weights.tokenizer.normalizer(titles), dtype=object)
    if isinstance(model, TitleRegressor):
        return _validated_numbers(model, titles, np.asarray(labels, np.float64), forms, quiet)
    return _validated_classes(model, titles, np.asarray(labels), forms, quiet)


# ---- classes


def _validated_classes(
    classifier: TitleClassifier, titles: Any, labels: Labels, forms: Labels, quiet: bool
) -> str:
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    balance = _balance(classes, counts)

    distinct = distinct_titles(codes, forms)
    fewest = distinct.min()
    if fewest < FOLDS:
        rare = classes[distinct.argmin()]
        return (
            f"no cross-validation: class '{rare}' has {fewest} distinct titles; {FOLDS} are needed"
            f"\n{balance}"
        )

    folds = grouped_folds(codes, forms)
    rows = np.asarray(titles, dtype=object)
    ours = np.empty((len(labels), len(classes)))
    words = np.empty((len(labels), len(classes)))
    with Progress("cross-validation", FOLDS, quiet=quiet) as progress:
        for number, fold in enumerate(folds):
            fitted = clone(classifier).fit(rows[fold.train], labels[fold.train])
            ours[fold.test] = fitted.predict_proba(rows[fold.test])
            words[fold.test] = _scores_of_words(codes, len(classes), forms, fold)
            progress.update(number + 1)

    # AUC needs both classes in the test rows, which grouping can prevent
    has_auc = len(classes) == 2 and all(len(set(codes[fold.test])) == 2 for fold in folds)
    name = "AUC ROC" if has_auc else "accuracy"
    text = f"{FOLDS}-fold {name}: {_fold_scores(codes, ours, folds, has_auc)}"
    if not has_auc:
        text += f" (most frequent class: {counts.max() / counts.sum():.3f})"
    text += f"; of words alone: {_fold_scores(codes, words, folds, has_auc)}\n{balance}"
    if len(classes) == 2:
        text += f"\n{_thresholds(str(classes[1]), codes == 1, ours[:, 1])}"
    return text


def _scores_of_words(codes: Labels, classes: int, forms: Labels, fold: Fold) -> Floats:
    """The scores of a fold's test rows by a model of the words, shape (n, classes)."""
    train, test = list(forms[fold.train]), list(forms[fold.test])
    tfidf = HashedTfidf.fit(train)
    kind: Kind = "binary" if classes == 2 else "multiclass"
    learnt = codes[fold.train] == 1 if classes == 2 else codes[fold.train]
    predict_scores, _ = fit_linear(kind, tfidf(train), learnt, classes, _WORDS_C)
    scores = predict_scores(tfidf(test))
    return np.column_stack([-scores, scores]) if classes == 2 else scores


def _fold_scores(codes: Labels, scores: Floats, folds: list[Fold], has_auc: bool) -> str:
    """Mean and standard deviation of the folds' AUC or accuracy."""
    figures = []
    for _, test in folds:
        if has_auc:
            figures.append(roc_auc_score(codes[test] == 1, scores[test, 1]))
        else:
            figures.append(accuracy_score(codes[test], scores[test].argmax(axis=1)))
    return f"{np.mean(figures):.3f} ± {np.std(figures):.3f}"


def _balance(classes: Labels, counts: npt.NDArray[np.int64]) -> str:
    """The numbers of rows of the most frequent classes."""
    order = np.argsort(-counts, kind="stable")
    parts = []
    for k in order[:_SHOWN_CLASSES]:
        parts.append(f"{classes[k]} {counts[k]:,} ({counts[k] / counts.sum():.1%})")
    others = order[_SHOWN_CLASSES:]
    if len(others):
        parts.append(f"{len(others):,} others {counts[others].sum():,}")
    return "classes: " + " · ".join(parts)


def _thresholds(name: str, truth: npt.NDArray[np.bool_], probability: Floats) -> str:
    """Precision and recall of a class at two thresholds of its probability."""
    precision, recall, thresholds = precision_recall_curve(truth, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = float(thresholds[f1[:-1].argmax()])
    parts = []
    for label, threshold in (("at probability", 0.5), ("highest F1 at", best)):
        at = int(np.searchsorted(thresholds, threshold))
        parts.append(
            f"{label} {threshold:.2f}: precision {precision[at]:.2f}, recall {recall[at]:.2f}"
            if at < len(thresholds)
            else f"{label} {threshold:.2f}: no title"
        )
    return f"class {name}: " + "; ".join(parts)


# ---- numbers


def _validated_numbers(
    regressor: TitleRegressor, titles: Any, targets: Floats, forms: Labels, quiet: bool
) -> str:
    distinct, title_of_row = np.unique(forms, return_inverse=True)
    # R² needs two rows
    if len(distinct) < 2 * FOLDS:
        return (
            f"no cross-validation: there are {len(distinct)} distinct titles; {2 * FOLDS} are "
            "needed"
        )
    fold = (np.random.default_rng(0).permutation(len(distinct)) % FOLDS)[title_of_row]
    folds = [Fold(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    if any(len(np.unique(targets[part])) < 2 for split in folds for part in split):
        return "no cross-validation: too many of the numbers are the same"

    rows = np.asarray(titles, dtype=object)
    r2s, errors = [], []
    with Progress("cross-validation", FOLDS, quiet=quiet) as progress:
        for number, (train, test) in enumerate(folds):
            predicted = clone(regressor).fit(rows[train], targets[train]).predict(rows[test])
            r2s.append(r2_score(targets[test], predicted))
            errors.append(mean_absolute_error(targets[test], predicted))
            progress.update(number + 1)
    of_median = mean_absolute_error(targets, np.full(len(targets), np.median(targets)))
    return (
        f"{FOLDS}-fold R²: {np.mean(r2s):.3f} ± {np.std(r2s):.3f}, mean absolute error: "
        f"{np.mean(errors):.4g} ± {np.std(errors):.2g} (of the median: {of_median:.4g})"
    )
