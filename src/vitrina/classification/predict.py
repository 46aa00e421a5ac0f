"""A classifier at work: predictions for a whole table, and what to expect of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from vitrina.classification.classifier import TitleClassifier
from vitrina.data.stream import add_columns
from vitrina.data.tables import Source, describe, readable, require_columns, scan
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError

FOLDS = 5


def fit_file(
    encoder: TitleEncoder, source: Source, *, label_column: str, title_column: str = "title"
) -> tuple[TitleClassifier, str, dict[str, int]]:
    """Fit a classifier on the rows of a table that have both a title and a label.

    Parameters
    ----------
    encoder
    source
        See `vitrina.data.tables.scan`.
    label_column, title_column
        Names of the two columns.

    Returns
    -------
    classifier : TitleClassifier
        Fitted on all of these rows.
    score : str
        What `cross_validated` says of it.
    counts
        rows, those left out, each under one reason: null_label (also NaN), null_title; and used.

    Raises
    ------
    InputError
        See `scan`, `require_columns` and `TitleClassifier.fit`; both columns are the same; no row
        has a title and a label.
    """
    where = describe(source)
    if label_column == title_column:
        raise InputError(
            f"{where}: column '{label_column}' can't hold both the titles and their labels: name "
            "another with --label or --title-column"
        )
    frame = scan(source, "labels")
    require_columns(frame, {"title": title_column}, source)
    require_columns(frame, [label_column], source)
    with readable(source):
        table = frame.select(title=pl.col(title_column), label=pl.col(label_column)).collect()
    if table["label"].dtype.is_float():
        table = table.with_columns(pl.col("label").fill_nan(None))
    labelled = table.drop_nulls("label")
    used = labelled.drop_nulls("title")
    counts = {
        "rows": len(table),
        "null_label": len(table) - len(labelled),
        "null_title": len(labelled) - len(used),
        "used": len(used),
    }
    if used.is_empty():
        raise InputError(
            f"{where}: no row of {len(table):,} has both a '{title_column}' and a "
            f"'{label_column}': is this the right file?"
        )
    try:
        classifier = TitleClassifier(encoder).fit(used["title"], used["label"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return classifier, cross_validated(classifier, used["title"], used["label"]), counts


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
        source, out, title_column, scores, description="classifying", force=force, quiet=quiet
    )


def cross_validated(classifier: TitleClassifier, titles: Any, labels: Any) -> str:
    """The score to expect on new titles, in words: from 5 stratified folds, AUC ROC for two
    classes (if every fold has both), else accuracy beside that of the most frequent class.

    Rows whose titles have the same normal form are in one fold: a title learnt is no new title.
    """
    labels = np.asarray(labels)
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    forms = np.array(classifier.encoder.weights.tokenizer.normalizer(titles), dtype=object)
    distinct = np.bincount([code for code, _ in set(zip(codes.tolist(), forms, strict=True))])
    if (fewest := distinct.min()) < FOLDS:
        rare = classes[distinct.argmin()]
        return (
            f"no cross-validation: class '{rare}' has {fewest} distinct titles; {FOLDS} are needed"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    splits = list(folds.split(forms, codes, forms))
    both = len(classes) == 2 and all(len(set(codes[test])) == 2 for _, test in splits)
    metric = "roc_auc" if both else "accuracy"
    scores = cross_val_score(classifier, titles, labels, cv=splits, scoring=metric)
    name = "AUC ROC" if metric == "roc_auc" else "accuracy"
    against = f" (most frequent class: {counts.max() / counts.sum():.3f})" * (metric == "accuracy")
    return f"{FOLDS}-fold {name}: {scores.mean():.3f} ± {scores.std():.3f}{against}"
