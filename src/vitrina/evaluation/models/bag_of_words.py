"""Linear models on the words of the titles (paper A.2), and on their words and n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import normalize

from vitrina.classification.linear import (
    MIN_TUNING_ROWS,
    Labels,
    Rows,
    Scores,
    fit_linear,
    has_one_class,
    stratified_folds,
    tuning_rows,
)
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.task import Task
from vitrina.metrics import PRIMARY, Kind, metrics

# one character is enough for a word: sizes and units are often one letter
_WORD = r"(?u)\b\w+\b"
# Candidates for C. The first is for few labels, and wins ties. Numbers need stronger
# regularisation: ridge regression's alpha is 1 / C.
_STRENGTHS: Mapping[Kind, tuple[float, ...]] = MappingProxyType(
    {
        "binary": (10.0, 1.0, 100.0),
        "multiclass": (10.0, 1.0, 100.0),
        "regression": (1.0, 0.1, 10.0),
    }
)


@dataclass(frozen=True, kw_only=True)
class BagOfWords(VectorModel):
    """A linear model on the words of the raw titles (paper A.2).

    The vocabulary and its weights come from the subsample's titles only. The vectorizer has
    scikit-learn's defaults, except that words of one letter count too: sizes and units are often
    one letter.

    Attributes
    ----------
    tfidf : bool, default True
        Use TF-IDF vectors of unit length; False uses word counts.
    """

    tfidf: bool = True

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        vectorizer = self._vectorizer()
        features = vectorizer.fit_transform(task.titles_of(rows))
        score, size = fit_linear(task.kind, features, task.labels[rows], len(task.classes))

        def predict_scores(rows: Rows) -> Scores:
            return score(vectorizer.transform(task.titles_of(rows)))

        return Fitted(predict_scores, size + _vocabulary_bytes(vectorizer))

    def vectors(self, task: Task) -> Any:
        """Return vectors whose vocabulary and weights come from all titles of the task."""
        return normalize(self._vectorizer().fit_transform(task.titles))

    def _vectorizer(self) -> CountVectorizer:
        vectorizer = TfidfVectorizer if self.tfidf else CountVectorizer
        return vectorizer(token_pattern=_WORD, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class NgramTfidf(VectorModel):
    """A linear model on the words, pairs of words and character n-grams of the raw titles.

    The features are those of `ngram_vectorizer`; the vocabulary and its weights come from the
    subsample's titles only. C is chosen by 3-fold cross-validation from 1, 10 and 100, in a
    regression from 0.1, 1 and 10. With fewer than 300 distinct titles it is 10, and 1 in a
    regression; at most 2,000 distinct titles are used to choose it (see
    `vitrina.classification.linear.tune_hyperparameters`, which follows the same rules).
    """

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        titles = task.titles_of(rows)
        labels = task.labels[rows]
        C = _tune_strength(task, titles, labels)
        vectorizer = ngram_vectorizer()
        features = vectorizer.fit_transform(titles)
        score, size = fit_linear(task.kind, features, labels, len(task.classes), C)

        def predict_scores(rows: Rows) -> Scores:
            return score(vectorizer.transform(task.titles_of(rows)))

        size += sum(_vocabulary_bytes(part) for _, part in vectorizer.transformer_list)
        return Fitted(predict_scores, size, {"C": C})

    def vectors(self, task: Task) -> Any:
        """Return vectors whose vocabulary and weights come from all titles of the task."""
        return normalize(ngram_vectorizer().fit_transform(task.titles))


def ngram_vectorizer(
    dtype: npt.DTypeLike = np.float64, max_features: int | None = None
) -> FeatureUnion:
    """Return an unfitted vectorizer of words and character n-grams.

    Its two parts are "words", TF-IDF of words and pairs of words, and "characters", TF-IDF of
    n-grams of 3 to 5 characters within words. Titles are converted to lower case, counts are scaled
    logarithmically, and each part has unit length.

    Parameters
    ----------
    dtype : dtype, default float64
        Type of the features.
    max_features : int, optional
        Keep only this many of the most frequent features of each part.

    Returns
    -------
    FeatureUnion
        It returns a csr_matrix of shape (n, d).
    """
    common = {"sublinear_tf": True, "dtype": dtype, "max_features": max_features}
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, **common)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common)
    return FeatureUnion([("words", words), ("characters", characters)])


def _tune_strength(task: Task, titles: Sequence[str], labels: Labels) -> float:
    """Choose C by cross-validation."""
    candidates = _STRENGTHS[task.kind]
    rows = tuning_rows(np.empty((0, 0)), titles)
    folds = stratified_folds(labels, rows)
    if len(rows) < MIN_TUNING_ROWS:
        return candidates[0]
    if task.kind != "regression" and has_one_class(labels, folds):
        return candidates[0]

    totals = np.zeros(len(candidates))
    for fold in folds:
        vectorizer = ngram_vectorizer()
        train = vectorizer.fit_transform([titles[row] for row in fold.train])
        test = vectorizer.transform([titles[row] for row in fold.test])
        for i, C in enumerate(candidates):
            score, _ = fit_linear(task.kind, train, labels[fold.train], len(task.classes), C)
            figures = metrics(task.kind, labels[fold.test], score(test))
            totals[i] += figures[PRIMARY[task.kind]]
    return candidates[int(totals.argmax())]


def _vocabulary_bytes(vectorizer: CountVectorizer) -> int:
    """Size of the vocabulary that a classifier keeps: the terms and a number for each."""
    vocabulary = vectorizer.vocabulary_
    return sum(map(len, vocabulary)) + 8 * len(vocabulary)
