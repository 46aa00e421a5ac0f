"""A linear model on the words of the titles (paper A.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize

from vitrina.classification.linear import Rows, Scores, fit_linear
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.task import Task


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

        # a classifier also keeps its vocabulary: the words and a number for each
        vocabulary = vectorizer.vocabulary_
        size += sum(map(len, vocabulary)) + 8 * len(vocabulary)
        return Fitted(predict_scores, size)

    def vectors(self, task: Task) -> Any:
        """Return vectors whose vocabulary and weights come from all titles of the task."""
        return normalize(self._vectorizer().fit_transform(task.titles))

    def _vectorizer(self) -> CountVectorizer:
        vectorizer = TfidfVectorizer if self.tfidf else CountVectorizer
        return vectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
