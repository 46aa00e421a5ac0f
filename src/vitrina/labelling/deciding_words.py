"""The words that move the probability of a class most."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vitrina.classification.classifier import TitleClassifier

_LEAST_TITLES_OF_WORD = 2
_SCHEMA = {"word": pl.String(), "titles": pl.UInt32(), "contribution": pl.Float64()}


def no_words() -> pl.DataFrame:
    """Return a table as of `deciding_words`, without rows."""
    return pl.DataFrame(schema=_SCHEMA)


def deciding_words(
    classifier: TitleClassifier, titles: Sequence[str], label: str, n: int
) -> pl.DataFrame:
    """Add up what each word contributes to the scores of some titles.

    Parameters
    ----------
    classifier : TitleClassifier
    titles : sequence of str
    label : str
        The class. Of more than two classes, only the titles count for which it is predicted.
    n : int

    Returns
    -------
    DataFrame
        `word`; `titles` (UInt32), in how many titles it is; `contribution` (Float64), the mean
        log-odds of the class that it adds in them, see `TitleClassifier.explain`. Of the words in
        two titles or more, the n of the largest mean, positive or negative.
    """
    if label not in classifier.classes_ or not titles:
        return no_words()
    parts = classifier.explain(titles).drop_nulls("word")
    is_label = pl.col("prediction") == label
    if len(classifier.classes_) == 2:
        # what speaks against one class speaks for the other
        sign = pl.when(is_label).then(1).otherwise(-1)
        parts = parts.with_columns(pl.col("contribution") * sign)
    else:
        parts = parts.filter(is_label)
    words = parts.group_by("word").agg(
        pl.col("row").n_unique().alias("titles"), pl.sum("contribution")
    )
    words = words.filter(pl.col("titles") >= _LEAST_TITLES_OF_WORD)
    words = words.with_columns(pl.col("contribution") / pl.col("titles"))
    words = words.sort(pl.col("contribution").abs(), "word", descending=[True, False]).head(n)
    return words.match_to_schema(_SCHEMA)
