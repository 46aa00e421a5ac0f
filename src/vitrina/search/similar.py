"""The titles of a table that are most similar to queries, without an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.data.stream import title_batches
from vitrina.data.tables import Source, describe
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.vector_file import VECTOR, names_encoders, require_own_vectors
from vitrina.errors import InputError, shown
from vitrina.search.exact import Vectors
from vitrina.search.index import MAX_K
from vitrina.search.index_rows import QUERY, SIMILARITY
from vitrina.search.queries import UnknownWords

_COMPARED_ROWS = 16
_SAME_ENCODER = 0.999
"""Least cosine of a ready vector and the encoder's own: its two tables differ by 0.0003 at most."""


def most_similar(
    encoder: TitleEncoder,
    source: Source,
    query: str | Sequence[str],
    *,
    k: int = 10,
    title_column: str = "title",
) -> pl.DataFrame:
    """Find the k distinct titles of a table that are most similar to a query.

    The search is exact: it compares the query with every title. The table is read in batches, so
    memory use does not grow with its size. If it is the output of `vitrina embed`, its vectors are
    used. For many searches in one table, build a `TitleIndex`.

    Parameters
    ----------
    encoder : TitleEncoder
    source : str, Path, list of paths, or polars frame
        The table, see `vitrina.data.tables.scan`.
    query : str or sequence of str
        A title, or several.
    k : int, optional
        Number of titles to return, from 1 to 10,000; all distinct titles if the table has fewer.
    title_column : str, optional
        Column of the titles. Rows without a title are skipped.

    Returns
    -------
    polars.DataFrame
        The first row of each title found, with all its columns and a new column `similarity`
        (float32, the cosine), in descending order. Titles of equal similarity keep the table's
        order. For a sequence of queries, a column `query` (UInt32) with the number of the query
        comes first, and a query without a known word has no rows (see
        `vitrina.search.queries.UnknownWords`). Ready vectors are left out.

    Raises
    ------
    InputError
        If the table can't be read, has no such column, has no titles or has a column of the result
        already; if its vectors come from another encoder; if `k` is out of range; if a single query
        has no known word. See `vitrina.data.stream.title_batches`.

    Examples
    --------
    >>> from vitrina import TitleEncoder, most_similar
    >>> encoder = TitleEncoder.load("encoder")
    >>> most_similar(encoder, "products.csv", "apple juice", k=1)["title"].to_list()
    ['APPLE JUICE 64 OZ']
    """
    if not 1 <= k <= MAX_K:
        raise InputError(f"`k` is {k}; it must be from 1 to {MAX_K:,}")
    queries = [query] if isinstance(query, str) else list(query)
    unknown = UnknownWords(encoder.weights.tokenizer, queries)
    query_vectors = Vectors.of(encoder.encode(queries))
    best: pl.DataFrame | None = None
    for batch in title_batches(source, title_column):
        _check_columns(batch, source)
        if VECTOR in batch.columns and names_encoders(batch):
            require_own_vectors(batch, encoder, describe(source))
        rows = batch.drop_nulls(title_column)
        rows = rows.unique(title_column, keep="first", maintain_order=True)
        unknown.search(rows[title_column])
        found = _found(encoder, rows, title_column, query_vectors, k, describe(source))
        # earlier batches come first, so that the first row of a repeated title is kept
        best = found if best is None else pl.concat([best, found])
        best = best.unique([QUERY, title_column], keep="first", maintain_order=True)
        best = best.sort([QUERY, SIMILARITY], descending=[False, True], maintain_order=True)
        best = best.group_by(QUERY, maintain_order=True).head(k)
    if best is None or best.is_empty():
        raise InputError(
            f"{describe(source)}: column '{title_column}' has no titles; give a table with titles"
        )
    if isinstance(query, str):
        require_known(queries, unknown.rows)
        return best.drop(QUERY)
    return best.filter(~pl.col(QUERY).is_in(sorted(unknown.rows)))


def require_known(queries: Sequence[str], unknown: set[int]) -> None:
    """Raise InputError if no query has a known word."""
    if len(unknown) < len(queries):
        return
    if len(queries) == 1:
        raise InputError(
            f"`query` is '{shown(queries[0])}', which has no word that the encoder or these titles "
            "know; give a title with at least one known word"
        )
    raise InputError(f"`queries`: none of the {len(queries):,} has a known word; check the column")


def _check_columns(batch: pl.DataFrame, source: Source) -> None:
    for name in (QUERY, SIMILARITY):
        if name in batch.columns:
            raise InputError(
                f"{describe(source)}: has a column '{name}' already, which the result needs; "
                "rename it"
            )


def _found(
    encoder: TitleEncoder,
    rows: pl.DataFrame,
    title_column: str,
    queries: Vectors,
    k: int,
    where: str,
) -> pl.DataFrame:
    """The k rows of a batch that are most similar to each query."""
    width = queries.width
    if rows.schema.get(VECTOR) == pl.Array(pl.Float32, width) and not rows[VECTOR].null_count():
        vectors = rows[VECTOR].to_numpy().reshape(-1, width)
        _check_encoder(encoder, rows[title_column], vectors, where)
        rows = rows.drop(VECTOR, *names_encoders(rows))
    else:
        vectors = encoder.encode(rows[title_column])
    nearest, cosines = Vectors.of(vectors).nearest(queries, k, threads=encoder.threads)
    query, place = np.nonzero(nearest >= 0)
    return rows[nearest[query, place]].select(
        pl.Series(QUERY, query, pl.UInt32),
        pl.all(),
        pl.Series(SIMILARITY, np.clip(cosines[query, place], -1, 1), pl.Float32),
    )


def _check_encoder(
    encoder: TitleEncoder, titles: pl.Series, vectors: npt.NDArray[np.float32], where: str
) -> None:
    """Raise InputError if ready vectors are not those of the encoder, by the first rows."""
    own = unit_length(encoder.encode(titles.head(_COMPARED_ROWS)))
    given = unit_length(vectors[:_COMPARED_ROWS])
    cosines = np.einsum("ij,ij->i", own, given)
    is_empty = ~own.any(axis=1)
    if not ((cosines >= _SAME_ENCODER) | is_empty).all():
        raise InputError(
            f"{where}: column '{VECTOR}' has vectors of another encoder; embed the table again, or "
            "drop the column"
        )
