"""Linear models: on ready vectors, and on the words of the titles (paper §4, A.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize

from vitrina.classification.linear import Rows, fit_linear
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.task import Task


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
