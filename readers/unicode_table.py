"""Write the table of Unicode's characters that `java/VitrinaEncoder.java` holds.

Java's own tables belong to another version of Unicode in each release of Java, and have no
combining classes. The reader therefore brings the facts that vitrina's normal form needs:

    python readers/unicode_table.py readers/java/VitrinaEncoder.java

replaces the table in the file. docs/format.md says what the facts are for.
"""

from __future__ import annotations

import base64
import re
import sys
import textwrap
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

OTHER, LETTER, DIGIT, FORMAT = range(4)
"""Classes of characters: dropped for a space, kept, kept and a decimal digit, removed."""

_LONGEST = 18
"""Letters of the longest decomposition."""

_HANGUL = range(0xAC00, 0xD7A4)
_SURROGATES = range(0xD800, 0xE000)
_CHARACTERS = [code for code in range(0x110000) if code not in _SURROGATES]
_TABLE = re.compile(r'(?<=UNICODE = """\n).*?(?=""";)', re.DOTALL)


def table() -> str:
    """Return the table as lines of text: integers, compressed, in Base64."""
    numbers: list[int] = []
    for section in (
        _runs(_class_of),
        _runs(lambda code: unicodedata.combining(chr(code))),
        _runs(lambda code: int(_is_ignorable(code))),
        _runs(lambda code: int(_is_cased(code))),
        _entries(_decompositions()),
        _entries(_compositions()),
        _entries(_lower_cases()),
    ):
        numbers += [len(section), *section]
    packed = zlib.compress(b"".join(map(_varint, numbers)), 9)
    text = base64.b64encode(packed).decode("ascii")
    return textwrap.indent("\n".join(textwrap.wrap(text, 88)), " " * 8)


def _class_of(code: int) -> int:
    """What the last step of the normal form does with a character."""
    char = chr(code)
    category = unicodedata.category(char)
    if char.isdecimal():
        return DIGIT
    if category == "Cf":
        return FORMAT
    # variation selectors, which are marks, are dropped
    if 0xFE00 <= code <= 0xFE0F or category[0] not in "LNM" or category == "Me":
        return OTHER
    return LETTER


def _is_ignorable(code: int) -> bool:
    """Whether a final sigma may stand before or after the character: Case_Ignorable."""
    final = ("A" + chr(code) + "Σ").lower().endswith("ς")
    return final and not (chr(code) + "Σ").lower().endswith("ς")


def _is_cased(code: int) -> bool:
    return (chr(code) + "Σ").lower().endswith("ς")


def _decompositions() -> Iterator[list[int]]:
    """Characters and their decompositions, where vitrina's differ from the character itself."""
    for code in _CHARACTERS:
        char = chr(code)
        text = unicodedata.normalize("NFKD", char)
        if char in "™℠":
            text = " "
        elif char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟":
            text = f" {text}"  # a fraction is not part of the number before it
        if text != char and code not in _HANGUL:
            yield [code, *map(ord, text)]


def _compositions() -> Iterator[list[int]]:
    """Composed characters and the two that they consist of."""
    for code in _CHARACTERS:
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts)
            if unicodedata.normalize("NFC", pair) == chr(code):
                yield [code, *map(ord, pair)]


def _lower_cases() -> Iterator[list[int]]:
    """Decomposed characters and their lower case, which is decomposed too."""
    for code in _CHARACTERS:
        char = chr(code)
        lower = char.lower()
        if lower != char and unicodedata.normalize("NFKD", char) == char:
            assert len(lower) == 1
            assert unicodedata.normalize("NFKD", lower) == lower
            yield [code, ord(lower)]


def _runs(value_of: Callable[[int], int]) -> list[int]:
    """Runs of one value other than 0: the gap before the run, its length and the value."""
    numbers: list[int] = []
    before = start = 0
    value = 0
    for code in range(0x110001):
        ended = code == 0x110000 or code in _SURROGATES
        found = 0 if ended else value_of(code)
        if found == value:
            continue
        if value:
            numbers += [start - before, code - start, value]
            before = code
        start, value = code, found
    return numbers


def _entries(entries: Iterator[list[int]]) -> list[int]:
    """Characters, each with a text, given by differences from the entry before.

    The gap before the character, the length of its text, and the differences of the text's letters
    from the first letter of the text before, the second from its second, and so on.
    """
    numbers: list[int] = []
    before = 0
    last = [0] * _LONGEST
    for code, *text in entries:
        numbers += [code - before, len(text)]
        numbers += [_unsigned(letter - last[at]) for at, letter in enumerate(text)]
        before = code
        last[: len(text)] = text
    return numbers


def _unsigned(number: int) -> int:
    """Map 0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; the highest bit says that more follow."""
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def with_table(source: str) -> str:
    """Return the source of the reader with its table replaced."""
    if not _TABLE.search(source):
        raise SystemExit('the file has no table that starts with: UNICODE = """')
    return _TABLE.sub(lambda _: f"{table()}\n", source)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
