"""Fit and apply a classifier or regressor on whole tables, and estimate its score on new titles."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import skew  # type: ignore[import-untyped]

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.cross_validation import cross_validated
from vitrina.classification.prediction_columns import prediction_columns
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

_MANY_CLASSES = 500

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
    quiet: bool = ...,
) -> tuple[TitleClassifier, str, dict[str, int]]: ...


@overload
def fit_file(
    model: TitleRegressor,
    source: Source,
    *,
    label_column: str,
    title_column: str = ...,
    quiet: bool = ...,
) -> tuple[TitleRegressor, str, dict[str, int]]: ...


def fit_file(
    model: TitleEncoder | Model,
    source: Source,
    *,
    label_column: str,
    title_column: str = "title",
    quiet: bool = True,
) -> tuple[Model, str, dict[str, int]]:
    """Fit a classifier or regressor on the rows of a table that have both a title and a label.

    Prints a warning to stderr if the numbers for a regressor are all above 0 and so skewed that
    their logarithm may be the better target, or if there are more than 500 classes.

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
    quiet : bool, default True
        Show no progress.

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
    require_columns(frame, {"title": title_column, "label": label_column}, source)
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
    if not isinstance(model, TitleRegressor):
        _warn_of_many_classes(used["label"], label_column)
    console(stderr=True, quiet=quiet).print(f"fitting on {len(used):,} titles")
    with error_prefix(where):
        model.fit(used["title"], used["label"])
    if isinstance(model, TitleRegressor):
        _warn_of_skewness(used["label"].to_numpy(), label_column)
    return model, cross_validated(model, used["title"], used["label"], quiet=quiet), counts


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


def _warn_of_many_classes(labels: pl.Series, name: str) -> None:
    classes = labels.n_unique()
    if classes > _MANY_CLASSES:
        console(stderr=True).print(
            f"warning: '{name}' has {classes:,} classes. Each gets a model of its own, so fitting "
            "takes minutes and the folder hundreds of megabytes. Is it the right column? Rare "
            "classes can be put together as one"
        )


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
        Whether all are above 0 and not equal, their skewness is at least 2, and that of their
        logarithms is nearer to 0.
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
    not grow with its size. A batch of 4,096 titles takes 32 KiB for each class.

    Parameters
    ----------
    model : TitleClassifier or TitleRegressor
        A fitted model.
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    out : str or Path
        The file to write; its name ends in .parquet.
    title_column : str, optional
        Column of the titles. A row without a title gets no prediction: its new columns are null.
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
    return add_columns(
        source,
        out,
        title_column,
        partial(prediction_columns, model),
        description="predicting",
        force=force,
        quiet=quiet,
    )
