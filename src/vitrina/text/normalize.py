"""Titles as sellers type them -> the plain words that the tokenizer sees (paper §3.1, A.1).

Normalisation is *word-local*: a title's normal form is the normal forms of its white-space
separated words, joined by single spaces. So one title, a batch, and a word remembered from
another title can't differ, and every distinct word of a marketplace is worked on once.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import stop_words as stop_word_lists

from vitrina.columns import as_list, is_missing
from vitrina.errors import InputError
from vitrina.ragged import Ragged

Style = Literal["default", "paper"]

# Accents live in this block; marks of other scripts (Indic vowels, Arabic harakat) are letters'
# parts and stay. The letters ñ and й carry a mark in Unicode's eyes alone: año is not ano.
_ACCENT = re.compile("[\u0300-\u036f]")
_ACCENT_BUT_LETTERS = re.compile(
    "(?<!n)\u0303|(?<!и)\u0306|[\u0300-\u0302\u0304\u0305\u0307-\u036f]"
)
_POINT_IN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
_TITLES = 16_384  # at a time: one letter beyond ASCII makes the joined string wider


class _Characters(dict[int, str]):
    """For str.translate: each character is worked out when it is first met."""

    def __init__(self, of: Callable[[str], str]) -> None:
        self.of = of

    def __missing__(self, code: int) -> str:
        self[code] = text = self.of(chr(code))
        return text


def _apart(char: str) -> str:
    """Without format characters, and with a space where compatibility forms would glue a character
    to its neighbour: Lego™ is not "legotm", 3½ not "31 2"."""
    if char in "™℠":
        return " "
    if char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟":
        return f" {char}"
    return "" if unicodedata.category(char) == "Cf" else char


def _plain(char: str) -> str:
    """Letters, numbers and the marks that belong to letters; a point for \\x00, else a space."""
    category = unicodedata.category(char)
    if ord(char) in _VARIATION_SELECTORS:
        return " "
    if category[0] in "LN" or category in ("Mn", "Mc"):
        return char
    return "." if char == "\x00" else " "


_APART, _PLAIN = _Characters(_apart), _Characters(_plain)


class Normalizer:
    """Normal forms of titles, for a whole batch at once (paper §3.1).

    Accents and punctuation go, letters become lower case, white space collapses. Two styles:

    ``"paper"``
        also drops the language's stop words, the tilde of ñ and the point inside numbers.
    ``"default"``
        keeps all three: the stop-word lists hold *new*, *used*, *without*, *nuevo*, *sin*, which
        are what many tasks are about; ñ is a letter; 1.5 l is not "1 5 l" (a comma between
        digits becomes a point).

    Any Unicode goes in and no title raises; a title of punctuation alone becomes the empty
    string, as None does. Normalising twice changes nothing.

    Parameters
    ----------
    language : str or None
        Code or name of a language of the stop-word package ('es', 'english', ...). None: no
        stop words.
    style : {"default", "paper"}
    stop_words : iterable of str, optional
        Drop these, in either style, instead of the package's list (how a saved encoder keeps
        the list that it was trained with). Their normal forms count.

    Raises
    ------
    InputError
        for a language or style that doesn't exist

    Examples
    --------
    >>> Normalizer("es")(["Botella de 1,5 L   para NIÑOS ¡Nueva!"])
    ['botella de 1.5 l para niños nueva']
    >>> Normalizer("es", style="paper")(["Botella de 1,5 L   para NIÑOS ¡Nueva!"])
    ['botella 1 5 l ninos']
    """

    def __init__(
        self,
        language: str | None = None,
        style: Style = "default",
        *,
        stop_words: Iterable[str] | None = None,
    ) -> None:
        if style not in get_args(Style):
            raise InputError(f"style: '{style}' is not one of {', '.join(get_args(Style))}")
        self.language = _known_language(language)
        self.style: Style = style
        self.stop_words: frozenset[str] = frozenset()
        if stop_words is None and self.language and style == "paper":
            stop_words = stop_word_lists.get_stop_words(self.language)
        forms = [self.word(word) for word in stop_words or ()]
        self.stop_words = frozenset(form for form in forms if form and " " not in form)

    def settings(self) -> dict[str, Any]:
        """Arguments that make the same normaliser again, whatever the stop-word package becomes."""
        words = sorted(self.stop_words)
        return {"language": self.language, "style": self.style, "stop_words": words}

    def __call__(self, titles: Any) -> list[str]:
        """Normal forms, a list of n strings, of any column of n titles (see `as_titles`)."""
        words = lru_cache(maxsize=None)(self.word)
        return [
            " ".join(filter(None, map(words, title.split()))) if title else ""
            for title in as_titles(titles)
        ]

    def word(self, raw: str) -> str:
        """Normal form of one white-space free string: no word, one, or several ("usb-c")."""
        if raw.isascii():
            text = raw.lower()
        else:
            text = unicodedata.normalize("NFKD", raw.translate(_APART)).lower()
            accent = _ACCENT if self.style == "paper" else _ACCENT_BUT_LETTERS
            text = unicodedata.normalize("NFC", accent.sub("", text))
        if not (text.isascii() and text.isalnum()):
            text = text.replace("\x00", " ")  # so that \x00 can stand for a number's point
            if self.style == "default":
                text = _POINT_IN_NUMBER.sub("\x00", text)
            text = text.translate(_PLAIN)
        return " ".join(w for w in text.split() if w not in self.stop_words)


def as_titles(column: Any) -> list[str | None]:
    """Any column of titles as a list: lists, numpy, polars, pyarrow and pandas, or a table of
    one column. None and not-a-number stand for the empty title.

    Raises
    ------
    InputError
        for a single string, more than one column, something without an order, or an entry that
        is no text
    """
    titles = as_list(column, "titles")
    if set(map(type, titles)) <= {str, type(None)}:
        return titles
    return [_as_title(row, title) for row, title in enumerate(titles)]


def as_utf8(column: Any) -> Ragged:
    """Any column of n titles (see `as_titles`) as UTF-8: Ragged of n rows of bytes, uint8.

    A missing title is empty, a row may end in white space that its title lacks, and half a
    surrogate pair, which UTF-8 can't say, is "?": no letter either.
    """
    if type(column).__module__.partition(".")[0] in ("polars", "pyarrow"):
        import polars as pl  # not at the top: most of the time until a first title is encoded

        series = pl.Series("", column) if isinstance(column, Iterable) else None
        if series is not None and series.dtype == pl.String:
            array = series.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
            _, offsets, data = array.buffers()
            values, bounds = np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64)
            return Ragged(values, bounds).part(array.offset, array.offset + len(array))
    titles = column if type(column) is list else as_titles(column)
    starts = range(0, max(1, len(titles)), _TITLES)
    try:
        return Ragged.concatenated([_lines(titles[start : start + _TITLES]) for start in starts])
    except TypeError:  # titles that are missing, or something that is no text
        return as_utf8([title or "" for title in as_titles(titles)])


def _lines(titles: list[Any]) -> Ragged:
    """UTF-8 of titles, each with a line's end, since joining is faster than encoding each."""
    text = np.frombuffer("\n".join([*titles, ""]).encode("utf-8", "replace"), np.uint8)
    ends = np.flatnonzero(text == ord("\n")) + 1
    if len(ends) != len(titles):
        return _lines([title.replace("\n", " ") for title in titles])
    return Ragged(text, np.concatenate([[0], ends]))


def _as_title(row: int, title: Any) -> str | None:
    if isinstance(title, str):
        return str(title)  # numpy.str_ and other subclasses
    if is_missing(title):
        return None
    raise InputError(
        f"titles: row {row} is {reprlib.repr(title)} ({type(title).__name__}), not text; "
        "convert the column to strings"
    )


def _known_language(language: str | None) -> str | None:
    """The language's full name in the stop-word package."""
    if language is None or language == "none":
        return None
    codes: dict[str, str] = stop_word_lists.LANGUAGE_MAPPING
    name = codes.get(language.lower(), language.lower())
    if name not in codes.values():
        known = ", ".join(sorted(codes))
        raise InputError(f"language: '{language}' is unknown; use 'none' or one of: {known}")
    return name
