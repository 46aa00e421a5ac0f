"""One classifier on stored labels, fitted with each of two encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import roc_auc_score

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.cross_validation import FOLDS, distinct_titles, grouped_folds
from vitrina.data.tables import Source, describe, read_columns, require_columns, scan
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, error_prefix, shown
from vitrina.metrics import bootstrap
from vitrina.progress import Progress

MOST_LABELS = 5_000
_REPLICATES = 1_000
_TITLE = "title"
_BAND = (2.5, 97.5)


@dataclass(frozen=True)
class Refit:
    """Scores of a classifier with the old and with the new encoder, on titles that it didn't see.

    Attributes
    ----------
    labels : int
        Labelled titles that were used.
    classes : int
    metric : {"AUC ROC", "accuracy"}
    old, new : float
    difference : tuple of float
        95 % interval of new minus old, by a bootstrap of the titles.
    """

    labels: int
    classes: int
    metric: str
    old: float
    new: float
    difference: tuple[float, float]


class Labelled(NamedTuple):
    """Labelled titles of a table.

    Attributes
    ----------
    name : str
        Its files, for messages.
    titles : list of n str
    codes : ndarray of shape (n,), int64
        The class of each title, from 0.
    classes : int
    """

    name: str
    titles: list[str]
    codes: npt.NDArray[np.int64]
    classes: int


def read_labelled(
    encoder: TitleEncoder, source: Source, label_column: str, title_column: str
) -> Labelled:
    """Read at most `MOST_LABELS` random rows that have a title and a label.

    Parameters
    ----------
    encoder : TitleEncoder
        It tells which titles have the same normal form.
    source : str, Path, list of paths, or polars frame
        A table of titles and classes.
    label_column : str
    title_column : str
        If the table lacks it, its column `title`.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        If the table can't be read or lacks a column, or if there are fewer than two classes or one
        has too few titles.
    """
    frame = scan(source, "labels")
    names = frame.collect_schema().names()
    # a label file calls the titles "title", whatever the catalogue does
    if title_column not in names and _TITLE in names:
        title_column = _TITLE
    require_columns(frame, {"title": title_column, "label": label_column}, source)
    table = read_columns(frame, {"title": title_column, "label": label_column}, source)
    table = table.with_columns(pl.col("title", "label").cast(pl.String))
    is_empty = (pl.col("title") == "") | (pl.col("label") == "") | (pl.col("label") == "NaN")
    table = table.drop_nulls().filter(~is_empty)
    table = table.sample(min(MOST_LABELS, len(table)), seed=0, shuffle=True)

    where = f"{describe(source)}: column '{label_column}'"
    titles = table["title"].to_list()
    classes, codes = np.unique(table["label"].to_numpy(), return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"{where} has {len(classes)} classes; at least 2 are needed: set `label_column` to "
            "another column"
        )
    distinct = distinct_titles(codes, _forms(encoder, titles))
    if distinct.min() < FOLDS:
        rare = shown(str(classes[distinct.argmin()]), 60)
        raise InputError(
            f"{where} has the class '{rare}' with {distinct.min()} distinct titles in "
            f"{len(titles):,} rows; {FOLDS} are needed: leave that class out, or set "
            "`label_column` to another column"
        )
    return Labelled(describe(source), titles, codes, len(classes))


def refit(old: TitleEncoder, new: TitleEncoder, labelled: Labelled, *, quiet: bool) -> Refit:
    """Fit a classifier on stored labels with each encoder, and compare their scores.

    Both are fitted and scored on the same folds. Titles of one normal form are in the same fold.

    Parameters
    ----------
    old, new : TitleEncoder
    labelled : Labelled
    quiet : bool
        Show no progress.

    Returns
    -------
    Refit
    """
    titles, codes = labelled.titles, labelled.codes
    folds = grouped_folds(codes, _forms(old, titles))
    scores = np.zeros((2, len(titles), labelled.classes))
    done = 0
    with Progress("classifiers", 2 * FOLDS, quiet=quiet) as progress, error_prefix(labelled.name):
        for train, test in folds:
            for which, encoder in enumerate((old, new)):
                fitted = TitleClassifier(encoder).fit([titles[row] for row in train], codes[train])
                # grouping may leave a rare class out of the training rows
                columns = np.ix_(test, fitted.classes_)
                scores[which][columns] = fitted.predict_proba([titles[row] for row in test])
                done += 1
                progress.update(done)
    return _compared(codes, scores[0], scores[1])


def _forms(encoder: TitleEncoder, titles: list[str]) -> npt.NDArray[np.object_]:
    return np.array(encoder.weights.tokenizer.normalizer(titles), dtype=object)


def _compared(
    codes: npt.NDArray[np.int64], old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]
) -> Refit:
    classes = old.shape[1]
    if classes == 2:
        truth = codes.astype(np.bool_)
        replicates = [bootstrap("binary", truth, part[:, 1], _REPLICATES) for part in (old, new)]
        difference = replicates[1] - replicates[0]
        values = [float(roc_auc_score(truth, part[:, 1])) for part in (old, new)]
        metric = "AUC ROC"
    else:
        right = [part.argmax(axis=1) == codes for part in (old, new)]
        values = [float(part.mean()) for part in right]
        drawn = np.random.default_rng(0).integers(len(codes), size=(_REPLICATES, len(codes)))
        difference = (right[1].astype(np.int64) - right[0])[drawn].mean(axis=1)
        metric = "accuracy"
    low, high = np.nanpercentile(difference, _BAND)
    return Refit(len(codes), classes, metric, values[0], values[1], (float(low), float(high)))
