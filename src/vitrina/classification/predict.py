"""Fit and apply a classifier or regressor on whole tables, and estimate its score on new titles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from scipy.stats import skew  # type: ignore[import-untyped]
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score, cross_validate

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.saved import LARGEST_TARGET
from vitrina.data.stream import add_columns
from vitrina.data.tables import (
    Source,
    as_text,
    describe,
    is_text,
    read_columns,
    require_columns,
    scan,
)
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, error_prefix, shown
from vitrina.progress import console

Model: TypeAlias = TitleClassifier | TitleRegressor

FOLDS = 5
"""Folds of the cross-validation."""

_SCORED_AT_ONCE = 1 << 22
"""Titles times classes."""

# The logarithm is suggested if numbers are at least as skewed as this. That of the exponential
# distribution is 2.
_STRONG_SKEWNESS = 2.0


@overload
def fit_file(
    model: TitleEncoder | TitleClassifier,
    source: Source,
    *,
    label_column: str,
    title_column: str = ...,
) -> tuple[TitleClassifier, str, dict[str, int]]: ...


@overload
def fit_file(
    model: TitleRegressor, source: Source, *, label_column: str, title_column: str = ...
) -> tuple[TitleRegressor, str, dict[str, int]]: ...


def fit_file(
    model: TitleEncoder | Model, source: Source, *, label_column: str, title_column: str = "title"
) -> tuple[Model, str, dict[str, int]]:
    """Fit a classifier or regressor on the rows of a table that have both a title and a label.

    Prints a warning to stderr if the numbers for a regressor are all above 0 and so skewed that
    their logarithm may be the better target.

    Parameters
    ----------
    model : TitleEncoder, TitleClassifier or TitleRegressor
        The model to fit; an encoder stands for ``TitleClassifier(encoder)``.
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    label_column : str
        Column of the labels: classes, or numbers for a regressor.
    title_column : str, optional
        Column of the titles.

    Returns
    -------
    model : TitleClassifier or TitleRegressor
        Fitted on all rows with a title and a label.
    score : str
        The cross-validated score in words, see `cross_validated`.
    counts : dict of str to int
        `rows` of the table; `null_label` and `null_title`, the rows left out because they have no
        label (also NaN) or else no title; and `used`, the rows of the fit.

    Raises
    ------
    InputError
        If the table can't be read or lacks a column, the two columns take more memory than there
        is, both columns are the same, no row has both a title and a label, a label for a regressor
        is not a number, or the model's `fit` refuses the rows.
    """
    if isinstance(model, TitleEncoder):
        model = TitleClassifier(model)
    where = describe(source)
    if label_column == title_column:
        raise InputError(
            f"{where}: column '{label_column}' can't hold both the titles and their labels: set "
            "`label_column` or `title_column` to another column"
        )
    frame = scan(source, "labels")
    require_columns(frame, {"title": title_column}, source)
    require_columns(frame, [label_column], source)
    table = read_columns(frame, {"title": title_column, "label": label_column}, source)
    if isinstance(model, TitleRegressor):
        table = table.with_columns(_as_numbers(table["label"], label_column, where))
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
    with error_prefix(where):
        model.fit(used["title"], used["label"])
    if isinstance(model, TitleRegressor):
        _warn_of_skewness(used["label"].to_numpy(), label_column)
    return model, cross_validated(model, used["title"], used["label"]), counts


def _as_numbers(column: pl.Series, name: str, where: str) -> pl.Series:
    """Convert a column to numbers; the columns of CSV files are text. Blank text becomes null."""
    if is_text(column.dtype):
        column = as_text(column).str.strip_chars()
    elif not column.dtype.is_numeric():
        return column  # the regressor names the row
    numbers = column.cast(pl.Float64, strict=False)
    is_usable = numbers.is_nan() | numbers.is_between(-LARGEST_TARGET, LARGEST_TARGET)
    wrong = (column.is_not_null() & ~is_usable.fill_null(False)).arg_true()
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{where}: column '{name}' has no number in row {row} "
            f"('{shown(str(column[row]))}'): write numbers as 1234.5, from {-LARGEST_TARGET:g} to "
            f"{LARGEST_TARGET:g}, or name the column with `label_column`"
        )
    return numbers


def _warn_of_skewness(targets: npt.NDArray[np.float64], name: str) -> None:
    if wants_logarithm(targets):
        console(stderr=True).print(
            f"warning: the numbers in '{name}' are all above 0 and strongly skewed (skewness "
            f"{skew(targets):.1f}), so that a few large ones decide the fit: their logarithm, in a "
            "column of its own, is often predicted better"
        )


def wants_logarithm(targets: npt.NDArray[np.float64]) -> bool:
    """Return whether the logarithm of some numbers is likely to be a better target.

    Parameters
    ----------
    targets : ndarray of shape (n,), float64

    Returns
    -------
    bool
        Whether all are above 0 and not equal, their skewness is at least 2, and that of their logarithms is
        nearer to 0.
    """
    if not (targets > 0).all() or np.ptp(targets) == 0:
        return False
    skewness = skew(targets)
    return bool(skewness >= _STRONG_SKEWNESS and abs(skew(np.log(targets))) < skewness)


def predict_file(
    model: Model,
    source: Source,
    out: str | Path,
    *,
    title_column: str = "title",
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Write a table and the predictions for its titles to a Parquet file.

    The file has all columns of the table and new columns: `prediction`, and for a classifier
    `probability_CLASS` (float64) for each class. The table is read in batches, so memory use does
    not grow with its size. A batch of 16,384 titles takes 128 KiB for each class.

    Parameters
    ----------
    model : TitleClassifier or TitleRegressor
        A fitted model.
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    out : str or Path
        The file to write; its name ends in .parquet.
    title_column : str, optional
        Column of the titles. A missing title counts as the empty title.
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
        if isinstance(model, TitleRegressor):
            return {"prediction": pa.array(model.predict(titles))}
        return _class_columns(model, titles)

    return add_columns(
        source,
        out,
        title_column,
        prediction_columns,
        description="predicting",
        force=force,
        quiet=quiet,
    )


def _class_columns(classifier: TitleClassifier, titles: pl.Series) -> dict[str, pa.Array]:
    """The predicted class of each title and the probability of each class."""
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


def cross_validated(model: Model, titles: Any, labels: Any) -> str:
    """Estimate the score on new titles by 5-fold cross-validation.

    Rows of equal normal form are kept in one fold, so that no title is both learnt and scored.

    Parameters
    ----------
    model : TitleClassifier or TitleRegressor
        Its parameters are used; it is not changed.
    titles : list, or numpy, polars, pyarrow or pandas column, of n str
    labels : list, or numpy, polars, pyarrow or pandas column, of n str, int, float or bool
        Classes, or numbers for a regressor.

    Returns
    -------
    str
        Means and standard deviations of the folds, in words. For a classifier: the AUC ROC for two
        classes if every fold has both, else the accuracy, with that of always predicting the most
        frequent class. For a regressor: R² and the mean absolute error, with that of always
        predicting the median. If there are too few distinct titles, a sentence that says so.
    """
    forms = np.array(model.encoder.weights.tokenizer.normalizer(titles), dtype=object)
    if isinstance(model, TitleRegressor):
        return _validated_numbers(model, titles, np.asarray(labels, np.float64), forms)
    return _validated_classes(model, titles, np.asarray(labels), forms)


def _validated_classes(
    classifier: TitleClassifier, titles: Any, labels: npt.NDArray[Any], forms: npt.NDArray[Any]
) -> str:
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)

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


def _validated_numbers(
    regressor: TitleRegressor,
    titles: Any,
    targets: npt.NDArray[np.float64],
    forms: npt.NDArray[Any],
) -> str:
    distinct, title_of_row = np.unique(forms, return_inverse=True)
    # R² needs two rows
    if len(distinct) < 2 * FOLDS:
        return (
            f"no cross-validation: there are {len(distinct)} distinct titles; {2 * FOLDS} are "
            "needed"
        )
    fold = (np.random.default_rng(0).permutation(len(distinct)) % FOLDS)[title_of_row]
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    if any(len(np.unique(targets[part])) < 2 for split in splits for part in split):
        return "no cross-validation: too many of the numbers are the same"
    figures = cross_validate(
        regressor, titles, targets, cv=splits, scoring=("r2", "neg_mean_absolute_error")
    )
    r2, error = figures["test_r2"], -figures["test_neg_mean_absolute_error"]
    of_median = mean_absolute_error(targets, np.full(len(targets), np.median(targets)))
    return (
        f"{FOLDS}-fold R²: {r2.mean():.3f} ± {r2.std():.3f}, mean absolute error: "
        f"{error.mean():.4g} ± {error.std():.2g} (median: {of_median:.4g})"
    )
