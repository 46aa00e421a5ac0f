"""Tables of titles as the comparison sees them: counts of all rows, and a sample of the titles."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from vitrina.data.tables import (
    Source,
    as_text,
    describe,
    is_text,
    read_columns,
    require_columns,
    scan,
)
from vitrina.errors import InputError
from vitrina.hashing import unit_hash

MOST_TITLES = 20_000
"""Distinct titles in a sample, about."""

_WORD = r"[\p{L}\p{N}]"
_MOST_CATEGORIES = 10_000


@dataclass(frozen=True)
class TitleTable:
    """A table of titles.

    Attributes
    ----------
    name : str
        Its files, for messages.
    rows : int
        Number of rows.
    empty : int
        Rows whose title is missing or has neither a letter nor a digit.
    titles : list of str
        The distinct titles.
    shares : dict of str to float
        Share of the rows by category, the largest first; empty without a category column. Rows
        without a category have the category "".
    """

    name: str
    rows: int
    empty: int
    titles: list[str]
    shares: dict[str, float]


def read_titles(source: Source, title_column: str, category_column: str | None) -> TitleTable:
    """Read a table of titles.

    Parameters
    ----------
    source : str, Path, list of paths, or polars frame
        See `vitrina.data.tables.scan`.
    title_column : str
    category_column : str or None

    Returns
    -------
    TitleTable

    Raises
    ------
    InputError
        If the table can't be read, lacks a column, has no title, or its titles are not text.
    """
    frame = scan(source, "titles")
    require_columns(frame, {"title": title_column}, source)
    columns = {"title": title_column}
    if category_column is not None:
        require_columns(frame, {"category": category_column}, source)
        columns["category"] = category_column
    table = read_columns(frame, columns, source)
    where = describe(source)
    if not is_text(table["title"].dtype):
        raise InputError(f"{where}: column '{title_column}' is not text; set `title_column`")
    title = as_text(table["title"]).fill_null("")
    has_word = title.str.contains(_WORD)
    titles = title.filter(has_word).unique(maintain_order=True).to_list()
    if not titles:
        raise InputError(f"{where}: column '{title_column}' has no title; set `title_column`")
    shares = {}
    if category_column is not None:
        shares = _shares(table["category"], f"{where}: column '{category_column}'")
    return TitleTable(where, len(table), int((~has_word).sum()), titles, shares)


def _shares(category: pl.Series, where: str) -> dict[str, float]:
    counts = category.cast(pl.String).fill_null("").value_counts(sort=True)
    if len(counts) > _MOST_CATEGORIES:
        raise InputError(
            f"{where} has {len(counts):,} values; at most {_MOST_CATEGORIES:,} can be categories: "
            "set `category_column` to another column"
        )
    return {name: count / len(category) for name, count in counts.iter_rows()}


def sampled(*tables: TitleTable) -> list[dict[str, float]]:
    """Draw a sample of the titles of each table.

    A title is drawn by its hash, with one limit for all tables: one that several tables have is
    in the samples of all of them or of none. The tables' samples therefore overlap as the tables
    do.

    Parameters
    ----------
    *tables : TitleTable

    Returns
    -------
    list of dict of str to float
        For each table, the sampled titles with a number from 0 to 1 that is uniform over titles.
    """
    largest = max(len(table.titles) for table in tables)
    limit = min(1.0, MOST_TITLES / largest)
    samples = []
    for table in tables:
        sample = {}
        for title in table.titles:
            number = unit_hash("comparison", title)
            if number < limit:
                sample[title] = number / limit
        samples.append(sample)
    return samples
