"""Fit and apply a classifier on whole tables, and estimate its score on new titles."""

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
"""Folds of the cross-validation."""

_SCORED_AT_ONCE = 1 << 22
"""Titles times classes."""


def fit_file(
    encoder: TitleEncoder, source: Source, *, label_column: str, title_column: str = "title"
) -> tuple[TitleClassifier, str, dict[str, int]]:
    """Fit a classifier on the rows of a table that have both a title and a label.

    Parameters
    ----------
    encoder : TitleEncoder
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    label_column : str
        Column of the labels.
    title_column : str, optional
        Column of the titles.

    Returns
    -------
    classifier : TitleClassifier
        Fitted on all rows with a title and a label.
    score : str
        The cross-validated score in words, see `cross_validated`.
    counts : dict of str to int
        `rows` of the table; `null_label` and `null_title`, the rows left out because they have no
        label (also NaN) or else no title; and `used`, the rows of the fit.

    Raises
    ------
    InputError
        If the table can't be read or lacks a column, both columns are the same, no row has both a
        title and a label, or `TitleClassifier.fit` refuses the rows.
    """
    where = describe(source)
    if label_column == title_column:
        raise InputError(
            f"{where}: column '{label_column}' can't hold both the titles and their labels: set "
            "`label_column` or `title_column` to another column"
        )
    frame = scan(source, "labels")
    require_columns(frame, {"title": title_column}, source)
    require_columns(frame, [label_column], source)
    with readable(source):
        table = frame.select(title=pl.col(title_column), label=pl.col(label_column)).collect()
    # Tables with missing values may mark them with NaN.
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
    score = cross_validated(classifier, used["title"], used["label"])
    return classifier, score, counts


def predict_file(
    classifier: TitleClassifier,
    source: Source,
    out: str | Path,
    *,
    title_column: str = "title",
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Write a table and the predictions for its titles to a Parquet file.

    The file has all columns of the table and new columns: `prediction`, and `probability_CLASS`
    (float64) for each class. The table is read in batches, so memory use does not grow with its
    size. A batch of 16,384 titles takes 128 KiB for each class.

    Parameters
    ----------
    classifier : TitleClassifier
        A fitted classifier.
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    out : str or Path
        The file to write; its name ends in .parquet.
    title_column : str, optional
        Column of the titles. A missing title is classified as the empty title.
    force : bool, optional
        Replace `out` if it exists.
    quiet : bool, optional
        Show no progress bar.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    InputError
        If the table can't be read, has no such column or has one of the new columns already, or if
        `out` can't be written. See `vitrina.data.stream.add_columns`.
    """

    def prediction_columns(titles: pl.Series) -> dict[str, pa.Array]:
        classes = classifier.classes_
        probabilities = np.empty((len(classes), len(titles)))
        best = np.empty(len(titles), np.int64)
        # in parts, because scoring needs several times the memory of its result
        step = max(1, _SCORED_AT_ONCE // len(classes))
        for start in range(0, len(titles), step):
            part = classifier.predict_proba(titles[start : start + step])
            probabilities[:, start : start + step] = part.T
            best[start : start + step] = part.argmax(axis=1)
        columns = {"prediction": pa.array(classes[best])}
        for name, column in zip(classes.tolist(), probabilities, strict=True):
            columns[f"probability_{name}"] = pa.array(column)
        return columns

    return add_columns(
        source,
        out,
        title_column,
        prediction_columns,
        description="classifying",
        force=force,
        quiet=quiet,
    )


def cross_validated(classifier: TitleClassifier, titles: Any, labels: Any) -> str:
    """Estimate the score on new titles by stratified 5-fold cross-validation.

    Rows of equal normal form are kept in one fold, so that no title is both learnt and scored.

    Parameters
    ----------
    classifier : TitleClassifier
        Its parameters are used; it is not changed.
    titles : list, or numpy, polars, pyarrow or pandas column, of n str
    labels : list, or numpy, polars, pyarrow or pandas column, of n str, int or bool

    Returns
    -------
    str
        Mean and standard deviation of the folds, in words: the AUC ROC for two classes if every
        fold has both, else the accuracy, with that of always predicting the most frequent class. If
        a class has fewer than 5 distinct titles, a sentence that says so.
    """
    labels = np.asarray(labels)
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    forms = np.array(classifier.encoder.weights.tokenizer.normalizer(titles), dtype=object)

    distinct_pairs = set(zip(codes.tolist(), forms, strict=True))
    distinct = np.bincount([code for code, _ in distinct_pairs])
    fewest = distinct.min()
    if fewest < FOLDS:
        rare = classes[distinct.argmin()]
        return (
            f"no cross-validation: class '{rare}' has {fewest} distinct titles; {FOLDS} are needed"
        )

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    splits = list(folds.split(forms, codes, forms))
    # AUC needs both classes in the test rows, which grouping can prevent.
    has_auc = len(classes) == 2 and all(len(set(codes[test])) == 2 for _, test in splits)
    metric, name = ("roc_auc", "AUC ROC") if has_auc else ("accuracy", "accuracy")
    scores = cross_val_score(classifier, titles, labels, cv=splits, scoring=metric)
    text = f"{FOLDS}-fold {name}: {scores.mean():.3f} ± {scores.std():.3f}"
    if not has_auc:
        text += f" (most frequent class: {counts.max() / counts.sum():.3f})"
    return text
