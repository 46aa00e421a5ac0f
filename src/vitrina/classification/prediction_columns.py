"""Predictions as columns, for files and for Spark."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.regressor import TitleRegressor

_SCORED_AT_ONCE = 1 << 22
"""Titles times classes."""


def prediction_columns(
    model: TitleClassifier | TitleRegressor, titles: pl.Series | pa.Array
) -> dict[str, pa.Array]:
    """Compute the columns that a model predicts for n titles.

    Parameters
    ----------
    model : TitleClassifier or TitleRegressor
        A fitted model.
    titles : polars Series or pyarrow Array of n str

    Returns
    -------
    dict of str to pyarrow.Array
        `prediction`, and for a classifier `probability_CLASS` (float64) for each class. Where the
        title is missing, all are null.
    """
    missing = pl.Series("", titles).is_null().to_numpy()
    if isinstance(model, TitleRegressor):
        return {"prediction": pa.array(model.predict(titles), mask=missing)}
    classes = model.classes_
    probabilities = np.empty((len(classes), len(titles)))
    best = np.empty(len(titles), np.int64)
    # in parts, because scoring needs several times the memory of its result
    step = max(1, _SCORED_AT_ONCE // len(classes))
    for start in range(0, len(titles), step):
        part = model.predict_proba(titles[start : start + step])
        probabilities[:, start : start + step] = part.T
        best[start : start + step] = part.argmax(axis=1)
    columns = {"prediction": pa.array(classes[best], mask=missing)}
    for name, column in zip(classes.tolist(), probabilities, strict=True):
        columns[f"probability_{name}"] = pa.array(column, mask=missing)
    return columns
