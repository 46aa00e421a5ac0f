"""Linear models: on ready vectors, and on the words of the titles (paper §4, A.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from vitrina.downstream.classifier import features_of, regression
from vitrina.downstream.metrics import Kind
from vitrina.downstream.protocol import (
    Fitted,
    Labels,
    Model,
    Rows,
    Scores,
    Task,
    VectorModel,
    over_classes,
)

Features: TypeAlias = Any  # (n, d) array or sparse matrix, float64
Linear: TypeAlias = tuple[Callable[[Features], Scores], int]


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


@dataclass(frozen=True, kw_only=True)
class OnVectors(Model):
    """A linear model on vectors given ready, (n, d), one for each row of the task, at unit length
    (see `vitrina.downstream.classifier.TitleClassifier`)."""

    vectors: npt.NDArray[np.floating[Any]] = field(repr=False)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        features = features_of(self.vectors[rows])
        score, size = fit_linear(task.kind, features, task.labels[rows], len(task.classes))
        return Fitted(lambda rows: score(features_of(self.vectors[rows])), size)


@dataclass(frozen=True, kw_only=True)
class BagOfWords(VectorModel):
    """The words of the raw titles and a linear model (paper A.2).

    The vocabulary and its weights come from the subsample's titles alone. scikit-learn's defaults,
    but words of one letter count too: sizes and units are words of a title.

    Attributes
    ----------
    tfidf : TF-IDF at unit length, or plain counts
    """

    tfidf: bool = True

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        words = self._vectorizer()
        features = words.fit_transform(task.titles_of(rows))
        score, size = fit_linear(task.kind, features, task.labels[rows], len(task.classes))
        size += sum(map(len, words.vocabulary_)) + 8 * len(words.vocabulary_)
        return Fitted(lambda rows: score(words.transform(task.titles_of(rows))), size)

    def vectors(self, task: Task) -> Any:
        """With the vocabulary and the weights of the task's own titles."""
        return normalize(self._vectorizer().fit_transform(task.titles))

    def _vectorizer(self) -> CountVectorizer:
        vectorizer = TfidfVectorizer if self.tfidf else CountVectorizer
        return vectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
