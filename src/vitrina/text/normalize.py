"""Normalisation: titles as sellers type them -> plain words for the tokenizer (paper §3.1, A.1).

Normalisation is *word-local*: the normal form of a title consists of the normal forms of its words
(separated by white space), joined by single spaces. Each distinct word is therefore normalised only
once, and a title has the same form alone and in a batch.
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

# This block holds the accents. Marks of other scripts (Indic vowels, Arabic harakat) are kept,
# because they are parts of letters. ñ and й are letters, too, although Unicode decomposes them into
# a letter and an accent: año is not ano.
_ACCENT = re.compile("[\u0300-\u036f]")
_ACCENT_BUT_LETTERS = re.compile(
    "(?<!n)\u0303|(?<!и)\u0306|[\u0300-\u0302\u0304\u0305\u0307-\u036f]"
)
_POINT_IN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")
# The longest sequence of combining marks in Unicode's stream-safe text format (UAX #15, section
# 13). No language has longer ones. Sorting marks takes quadratic time, so without a limit a title
# of 600 kB would take minutes.
_MAX_MARKS = 30
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
# Titles are joined in batches, because one letter beyond Latin-1 makes Python store every letter of
# the joined string with more bytes.
_BATCH_TITLES = 16_384


class _Characters(dict[int, str]):
    """A table for str.translate that computes each entry when it is first needed.

    Parameters
    ----------
    replacement : callable
        Returns the text that replaces a character.
    """

    def __init__(self, replacement: Callable[[str], str]) -> None:
        self.replacement = replacement

    def __missing__(self, code: int) -> str:
        text = self.replacement(chr(code))
        self[code] = text
        return text


def _decomposed(char: str) -> str:
    """The compatibility decomposition (NFKD) of a character.

    Format characters are removed. Characters whose decomposition would merge with the text before
    them become a space or get one: Lego™ is not "legotm", and 3½ is not "31 2".
    """
    if char in "™℠":
        return " "
    if char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟":
        return unicodedata.normalize("NFKD", f" {char}")
    if unicodedata.category(char) == "Cf":
        return ""
    return unicodedata.normalize("NFKD", char)


def _plain(char: str) -> str:
    """The replacement of a character at the end.

    Letters, numbers and marks that belong to letters are kept, \\x00 becomes a point, and anything
    else becomes a space.
    """
    category = unicodedata.category(char)
    if ord(char) in _VARIATION_SELECTORS:
        return " "
    if category[0] in "LN" or category in ("Mn", "Mc"):
        return char
    if char == "\x00":
        return "."
    return " "


_DECOMPOSED = _Characters(_decomposed)
_PLAIN = _Characters(_plain)


class Normalizer:
    """Normalises titles (paper §3.1).

    Removes accents and punctuation, converts to lower case, and reduces white space to single
    spaces. There are two styles:

    ``"paper"``
        also removes the stop words of the language, the tilde of ñ and the point in numbers.
    ``"default"``
        keeps all three. The stop-word lists hold *new*, *used*, *without*, *nuevo* and *sin*, on
        which many tasks depend. ñ is a letter. 1.5 l is not "1 5 l" (a comma between digits becomes
        a point).

    Any Unicode text is allowed. A title without letters and digits becomes the empty string, and so
    does None. Normalising a normal form does not change it. The time is proportional to the length
    of the title: of each sequence of combining marks only the first 30 are kept, the limit of
    Unicode's stream-safe text format (UAX #15, section 13), which no language exceeds.

    Parameters
    ----------
    language : str or None, default None
        Code or name of a language of the stop-word package ('es', 'english', ...). With None or
        'none' there are no stop words.
    style : {"default", "paper"}, default "default"
    stop_words : iterable of str, optional
        Words to remove in either style, instead of the package's list. Saved encoders use it to
        keep the list from their training. The words are normalised first.

    Raises
    ------
    InputError
        If the language or the style does not exist.

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
            raise InputError(
                f"`style` is '{style}'; it must be one of: {', '.join(get_args(Style))}"
            )
        self.language = _known_language(language)
        self.style: Style = style
        # empty while the stop words themselves are normalised
        self.stop_words: frozenset[str] = frozenset()
        if stop_words is None and self.language and style == "paper":
            stop_words = stop_word_lists.get_stop_words(self.language)
        forms = [self.word(word) for word in stop_words or ()]
        self.stop_words = frozenset(form for form in forms if form and " " not in form)

    def settings(self) -> dict[str, Any]:
        """Return the arguments that create the same normaliser again.

        They include the stop words, which may change in later versions of the stop-word package.
        """
        return {
            "language": self.language,
            "style": self.style,
            "stop_words": sorted(self.stop_words),
        }

    def __call__(self, titles: Any) -> list[str]:
        """Normalise a column of titles.

        Parameters
        ----------
        titles : sequence or table of n titles
            See `as_titles`.

        Returns
        -------
        list of str
            n normal forms.
        """
        word = lru_cache(maxsize=None)(self.word)
        forms = []
        for title in as_titles(titles):
            # a word may have no normal form
            words = filter(None, map(word, title.split())) if title else ()
            forms.append(" ".join(words))
        return forms

    def word(self, raw: str) -> str:
        """Normalise a string without white space.

        Parameters
        ----------
        raw : str

        Returns
        -------
        str
            No word, one word, or several words separated by spaces (USB-C becomes "usb c").
        """
        if raw.isascii():
            text = raw.lower()
        else:
            # the characters are decomposed already, and NFKD only sorts their marks
            text = _limited_marks(raw.translate(_DECOMPOSED))
            text = unicodedata.normalize("NFKD", text).lower()
            accent = _ACCENT if self.style == "paper" else _ACCENT_BUT_LETTERS
            text = unicodedata.normalize("NFC", accent.sub("", text))
        # most words consist of ASCII letters and digits, and are now finished
        if not (text.isascii() and text.isalnum()):
            # \x00 marks the points in numbers, so it must not be in the text before
            text = text.replace("\x00", " ")
            if self.style == "default":
                text = _POINT_IN_NUMBER.sub("\x00", text)
            text = text.translate(_PLAIN)
        return " ".join(word for word in text.split() if word not in self.stop_words)


def _limited_marks(text: str) -> str:
    """Drop the combining marks (non-starters) after the 30th of each sequence."""
    if len(text) <= _MAX_MARKS:
        return text
    classes = [*map(unicodedata.combining, text)]
    kept = []
    marks = 0
    for char, combining_class in zip(text, classes, strict=True):
        marks = marks + 1 if combining_class else 0
        if marks <= _MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def as_titles(column: Any) -> list[str | None]:
    """Convert a column of titles to a list.

    Parameters
    ----------
    column : sequence or table
        A list, a numpy, polars, pyarrow or pandas column, or a table with one column.

    Returns
    -------
    list of str or None
        None for missing titles (None, not-a-number, and pandas' missing values).

    Raises
    ------
    InputError
        If `column` is a single string, has more than one column or no order, or has an entry that
        is not text.
    """
    titles = as_list(column, "titles")
    if set(map(type, titles)) <= {str, type(None)}:
        return titles
    return [_as_title(row, title) for row, title in enumerate(titles)]


def as_utf8(column: Any) -> Ragged:
    """Convert a column of titles to UTF-8.

    Parameters
    ----------
    column : sequence or table of n titles
        See `as_titles`.

    Returns
    -------
    Ragged of n rows, uint8
        A missing title is empty. A row may end in white space that its title does not have. Half a
        surrogate pair, which UTF-8 can't encode, becomes "?": like it, no letter.

    Raises
    ------
    InputError
        As `as_titles`.
    """
    # Arrow holds texts as UTF-8 already. The type's module is compared, because importing polars
    # and pyarrow is slow.
    if type(column).__module__.partition(".")[0] in ("polars", "pyarrow"):
        text = _arrow_text(column)
        if text is not None:
            return text
    titles = column if type(column) is list else as_titles(column)
    starts = range(0, max(1, len(titles)), _BATCH_TITLES)
    try:
        parts = [_lines(titles[start : start + _BATCH_TITLES]) for start in starts]
    except TypeError:  # a title is missing or not text; checking each beforehand would be slow
        return as_utf8([title or "" for title in as_titles(titles)])
    return Ragged.concatenated(parts)


def _arrow_text(column: Any) -> Ragged | None:
    """UTF-8 of a polars or pyarrow column of strings; None for other columns."""
    # polars is not imported at the top, because that would take most of the time until a first
    # title is encoded
    import polars as pl

    if not isinstance(column, Iterable):
        return None
    series = pl.Series("", column)
    if series.dtype != pl.String:
        return None
    array = series.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    text = Ragged(np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64))
    return text.part(array.offset, array.offset + len(array))


def _lines(titles: list[Any]) -> Ragged:
    """UTF-8 of titles, a line each: joining and encoding once is faster than encoding each."""
    joined = "\n".join([*titles, ""])
    text = np.frombuffer(joined.encode("utf-8", "replace"), np.uint8)
    ends = np.flatnonzero(text == ord("\n")) + 1
    if len(ends) != len(titles):  # a title has a line break of its own
        return _lines([title.replace("\n", " ") for title in titles])
    return Ragged(text, np.concatenate([[0], ends]))


def _as_title(row: int, title: Any) -> str | None:
    if isinstance(title, str):
        # subclasses of str, such as numpy.str_, become plain str
        return str(title)
    if is_missing(title):
        return None
    raise InputError(
        f"titles: row {row} is {reprlib.repr(title)} ({type(title).__name__}), not text; "
        "convert the column to strings"
    )


def _known_language(language: str | None) -> str | None:
    """The full name of a language in the stop-word package; None for no language."""
    if language is None or language == "none":
        return None
    codes: dict[str, str] = stop_word_lists.LANGUAGE_MAPPING
    name = codes.get(language.lower(), language.lower())
    if name not in codes.values():
        known = ", ".join(sorted(codes))
        raise InputError(f"`language` is '{language}'; it must be 'none' or one of: {known}")
    return name
