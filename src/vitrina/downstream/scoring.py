"""A classifier at work: predictions for a whole table, and what to expect of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from sklearn.model_selection import StratifiedKFold, cross_val_score

from vitrina.data.stream import add_columns
from vitrina.data.tables import Source
from vitrina.downstream.classifier import TitleClassifier

FOLDS = 5


def predict_file(
    classifier: TitleClassifier,
    source: Source,
    out: str | Path,
    *,
    title_column: str = "title",
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Classify a table's titles: its columns, `prediction`, and `probability_CLASS` (float64) for
    each class, as Parquet. Streams; returns the number of rows.

    Raises
    ------
    InputError
        see `vitrina.data.stream.add_columns`
    """

    def scores(titles: pl.Series) -> dict[str, pa.Array]:
        probabilities = classifier.predict_proba(titles)
        columns = {"prediction": pa.array(classifier.classes_[probabilities.argmax(axis=1)])}
        for name, column in zip(classifier.classes_.tolist(), probabilities.T, strict=True):
            columns[f"probability_{name}"] = pa.array(np.ascontiguousarray(column))
        return columns

    return add_columns(
        source, out, title_column, scores, title="classifying", force=force, quiet=quiet
    )


def cross_validated(classifier: TitleClassifier, titles: Any, labels: Any) -> str:
    """The score to expect on new titles, in words: from 5 stratified folds, AUC ROC for two
    classes, else accuracy beside that of the most frequent class."""
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < FOLDS:
        rare = classes[counts.argmin()]
        return f"no cross-validation: class '{rare}' has {counts.min()} titles, fewer than {FOLDS}"
    metric = "roc_auc" if len(classes) == 2 else "accuracy"
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_score(classifier, titles, labels, cv=folds, scoring=metric)
    name = "AUC ROC" if metric == "roc_auc" else "accuracy"
    against = f" (most frequent class: {counts.max() / counts.sum():.3f})" * (metric == "accuracy")
    return f"{FOLDS}-fold {name}: {scores.mean():.3f} ± {scores.std():.3f}{against}"
