"""The titles of a catalogue: which there are, which a query finds, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from vitrina.classification.classifier import TitleClassifier
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
from vitrina.errors import InputError
from vitrina.labelling.catalogue_features import CatalogueFeatures, Rows, probabilities_of
from vitrina.labelling.label_file import LABEL, STRATEGY, TITLE
from vitrina.labelling.query_strategies import by_score

PREDICTION, PROBABILITY = "prediction", "probability"


def catalogue_titles(source: Source, title_column: str) -> list[str]:
    """Read the titles of a table.

    Parameters
    ----------
    source : str, Path, list of paths, or polars frame
    title_column : str

    Returns
    -------
    list of str
        Without the rows that have no title.

    Raises
    ------
    InputError
        If the table can't be read, or the column is missing or not text.
    """
    frame = scan(source, "catalogue")
    require_columns(frame, {"title": title_column}, source)
    titles = read_columns(frame, {"title": title_column}, source)["title"]
    if not is_text(titles.dtype) and titles.dtype != pl.Null:
        raise InputError(
            f"{describe(source)}: column '{title_column}' ({titles.dtype}) holds no text; name the "
            "column of titles with `title_column`"
        )
    return as_text(titles).drop_nulls().to_list()


def first_of_form(encoder: TitleEncoder, titles: Sequence[str]) -> dict[str, str]:
    """Return the first title of each normal form, by the form.

    Parameters
    ----------
    encoder : TitleEncoder
    titles : sequence of str
        Those without a form are left out.
    """
    first: dict[str, str] = {}
    for form, title in zip(encoder.weights.tokenizer.normalizer(titles), titles, strict=True):
        if form:
            first.setdefault(form, title)
    return first


def with_words(features: CatalogueFeatures, query: str, pool: Rows, n: int) -> Rows:
    """Find titles that have each word of a query, or a word that begins with it.

    Parameters
    ----------
    features : CatalogueFeatures
    query : str
    pool : ndarray of shape (p,), int64
        Numbers of the titles to search.
    n : int

    Returns
    -------
    ndarray of int64
        The first n of the pool.
    """
    (form,) = features.encoder.weights.tokenizer.normalizer([query])
    beginnings = [f" {word}" for word in form.split()]
    found: list[int] = []
    if beginnings:
        for row in pool.tolist():
            text = f" {features.forms[row]}"
            if all(beginning in text for beginning in beginnings):
                found.append(row)
            if len(found) == n:
                break
    return np.array(found, np.int64)


def most_like(features: CatalogueFeatures, query: str, pool: Rows, n: int) -> Rows:
    """Find the titles of the highest cosine to a query.

    Parameters
    ----------
    features : CatalogueFeatures
    query : str
    pool : ndarray of shape (p,), int64
        Numbers of the titles to search.
    n : int

    Returns
    -------
    ndarray of shape (min(n, p),), int64
        The most similar first.
    """
    vector = features.encoder.encode([query])[0, : features.vectors.shape[1]]
    cosines = (features.vectors @ vector) / features.lengths
    return by_score(pool, cosines[:, None], 0)[:n]


def title_table(
    features: CatalogueFeatures,
    classifier: TitleClassifier | None,
    rows: Rows,
    strategies: Sequence[str],
) -> pl.DataFrame:
    """Return titles to label, with what a classifier thinks of them.

    Parameters
    ----------
    features : CatalogueFeatures
    classifier : TitleClassifier or None
    rows : ndarray of shape (n,), int64
        Numbers of the titles.
    strategies : sequence of n str

    Returns
    -------
    DataFrame
        See `vitrina.labelling.project.LabellingProject.next_titles`.
    """
    columns = {
        TITLE: pl.Series([features.titles[row] for row in rows], dtype=pl.String),
        LABEL: pl.Series([None] * len(rows), dtype=pl.String),
        STRATEGY: pl.Series(strategies, dtype=pl.String),
        PREDICTION: pl.Series([None] * len(rows), dtype=pl.String),
        PROBABILITY: pl.Series([None] * len(rows), dtype=pl.Float64),
    }
    if classifier is not None:
        probabilities = probabilities_of(features.scores(classifier, rows))
        best = probabilities.argmax(axis=1)
        columns[PREDICTION] = pl.Series(classifier.classes_[best], dtype=pl.String)
        columns[PROBABILITY] = pl.Series(probabilities[np.arange(len(rows)), best])
    return pl.DataFrame(columns)
