"""Queries: reading them from a file, and telling those whose words no title ever had."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import polars as pl

from vitrina.data.tables import as_text, describe, is_text, read_columns, require_columns, scan
from vitrina.errors import InputError
from vitrina.text.tokenizer import TitleTokenizer

_KNOWN_LETTERS = 4
"""Letters of a piece that shows that a word is known."""

# SentencePiece's names
_WORD_START = "▁"
_UNKNOWN_PIECE = "<unk>"


def read_queries(source: str | Path, query_column: str = "title") -> list[str]:
    """Read queries from a file.

    Parameters
    ----------
    source : str or Path
        A text file (.txt) with one query a line, or a table, see `vitrina.data.tables.scan`.
    query_column : str, optional
        Column of the queries, for a table.

    Returns
    -------
    list of str
        Without blank queries.

    Raises
    ------
    InputError
        If the file can't be read, has no such column or has no query.
    """
    if str(source).lower().endswith(".txt"):
        queries = _lines(Path(source))
    else:
        frame = scan(source, "queries")
        require_columns(frame, {"query": query_column}, source)
        column = read_columns(frame, {"query": query_column}, source)["query"]
        if not is_text(column.dtype):
            raise InputError(
                f"{describe(source)}: column '{query_column}' ({column.dtype}) holds no text; "
                "name the column of queries with `query_column`"
            )
        queries = as_text(column).drop_nulls().to_list()
    if not queries:
        raise InputError(f"{source}: has no queries; give a file with one query a row")
    return queries


def read_ids(source: str | Path, product_column: str) -> pl.Series:
    """Read the column of products of a table.

    Raises
    ------
    InputError
        If the table can't be read or has no such column.
    """
    frame = scan(source, "products")
    require_columns(frame, {"product": product_column}, source)
    return read_columns(frame, {"product": product_column}, source)["product"]


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"queries: {file}: no such file: check the path") from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"queries: {file}: can't be read as UTF-8 text ({error})") from None
    return [line for line in lines if line.strip()]


class UnknownWords:
    """Finds the queries that have no known word.

    The vector of a word that the encoder never met is an accident of its letters. It is as near to
    some titles as that of a real word, so a search would return nonsense with a high similarity.

    A word is known if the tokenizer has a piece for it as a whole, or one of `_KNOWN_LETTERS`
    letters or more for a part of it (of one letter for Chinese, Japanese and Korean): the tokenizer
    spells other words by shorter pieces. A word is also known if it occurs in the titles that are
    searched.

    Parameters
    ----------
    tokenizer : TitleTokenizer
    queries : list of str

    Attributes
    ----------
    rows : set of int
        Row numbers of the queries without a known word.
    """

    def __init__(self, tokenizer: TitleTokenizer, queries: list[str]) -> None:
        self._forms = tokenizer.normalizer(queries)
        self.rows: set[int] = set()
        for row, form in enumerate(self._forms):
            if not any(_is_known(tokenizer, word) for word in form.split()):
                self.rows.add(row)

    def search(self, titles: pl.Series) -> None:
        """Remove the queries of which a word occurs in the titles from `rows`."""
        words = [word for row in self.rows for word in self._forms[row].split()]
        if not words:
            return
        # one fast pass over all titles leaves a few for the slower patterns
        hits = titles.filter(titles.str.contains_any(words, ascii_case_insensitive=True))
        lower = hits.str.to_lowercase()
        for row in list(self.rows):
            escaped = [re.escape(word) for word in self._forms[row].split()]
            pattern = rf"(^|\W)({'|'.join(escaped)})(\W|$)"
            if escaped and lower.str.contains(pattern).any():
                self.rows.remove(row)


def _is_known(tokenizer: TitleTokenizer, word: str) -> bool:
    """Whether the pieces of a word in normal form show that titles had it."""
    for piece in tokenizer.pieces(word):
        letters = piece.removeprefix(_WORD_START)
        if piece == _UNKNOWN_PIECE or not letters:
            continue
        is_whole = letters == word and len(word) > 1
        is_ideogram = unicodedata.east_asian_width(letters[0]) == "W"
        if is_whole or is_ideogram or len(letters) >= _KNOWN_LETTERS:
            return True
    return False
