"""Golden vectors: what a saved encoder gives for fixed titles, to check readers of its folder.

Each folder of an encoder holds `golden.json`. A reader in any language follows docs/format.md and
compares with it: normal forms first, then pieces, then vectors. The titles are the same for every
encoder, so that the file tells nothing about a shop's catalogue.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vitrina.encoder.kernels import Table
from vitrina.errors import shown
from vitrina.sealed import SealedFolder, require
from vitrina.text.normalize import as_utf8
from vitrina.text.tokenizer import TitleTokenizer

GOLDEN = "golden.json"

_MAX_TITLES = 1_000
_LONGEST_TITLE = 10_000

TITLES = (
    # empty titles, and titles without a letter
    "",
    "   \t ",
    "!!! --- ???",
    "\u200b\u00ad",
    # plain words, digits and punctuation
    "a",
    "7",
    "APPLE SAUCE 24 OZ",
    "New Men's T-Shirt, Size XL (2-Pack) - Black/White",
    "USB-C to USB-C Cable 3.3ft/1m 60W [E-Marker]",
    "Botella de 1,5 L para NIÑOS ¡Nueva!",
    "1.000,50 1,2,3 .5 5. 3..4 v2.0.1",
    "0123456789 00000 1e-5 100% #1",
    "https://example.org/item?id=12&x=y_z",
    "snake_case camelCase ALLCAPS x/y\\z a+b=c",
    # words that repeat: one, four, five and many times
    "tea",
    "tea tea tea tea",
    "tea tea tea tea tea",
    "green tea " * 60,
    "x" * 300,
    "supercalifragilisticexpialidocious " + "ab" * 80,
    " ".join(f"item{number}" for number in range(120)),
    # accents, composed and decomposed; ñ and й are letters
    "Café crème brûlée, naïve façade",
    "Cafe\u0301 cre\u0300me bru\u0302le\u0301e",
    "año ano an\u0303o AÑO n\u0301\u0303 n\u0303\u0303",
    "Йод йогурт и\u0306 и\u0301\u0306 ЁЖ ёлка",
    "Přenosný počítač ŽLUŤOUČKÝ kůň",
    "Tiếng Việt: Điện thoại",
    "Straße STRASSE ẞ ŒUVRE œuvre Łódź",
    "İstanbul ISPARTA ılık",
    "q\u0323\u0307 q\u0307\u0323 \u0344 \u1e9b\u0323 \u212b \u2126",
    "a" + "\u0301\u0323" * 20 + "\u05b0" * 35 + "b",
    "\u0301start \u0303 \u0327",
    # other scripts, some from right to left
    "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ ΑΣ. σς ΑΣ'Β",
    "كتاب جديد ١٢٣٫٥ مُحَمَّد",
    "ספר חדש שָׁלוֹם 25 ש״ח",
    "नया मोबाइल फ़ोन १२३",
    "โทรศัพท์มือถือ ราคา ๙๙",
    "新品 手机壳 適用於 苹果",
    "東京 カタカナ ひらがな ｶﾀｶﾅ ﾊﾟｿｺﾝ が か\u3099",
    "삼성 갤럭시 한글 \u1112\u1161\u11ab \u1100\u1161",
    "ქართული ᲥᲐᲠᲗᲣᲚᲘ Հայերեն አማርኛ",
    "ꮳꮃꭹ Ꮳ 𐐀𐐨 Ⱟ 𞤀𞤢",
    # emoji, with joiners, selectors and flags
    "🔥 SALE 🔥 50% off 🎁",
    "👩\u200d👩\u200d👧\u200d👦 family 👍🏽 ❤\ufe0f 🇦🇷",
    "a\ufe0fb c\u200dd e\u00adf g\u2060h \ufeffi",
    # full-width and half-width forms, ligatures, letters in circles, symbols
    "\uff2e\uff45\uff57 \uff11\uff12\uff13\uff0e\uff15 \uff08\uff22\uff4f\uff58\uff09",
    "ﬁne ﬂour oﬃce ǆ ŉ",
    "3½ in 1¼ cup ⅓ 2↉ 5⅞",
    "Lego™ Apple® Co.℠ №5 ℃ ㎏ m² H₂O ① Ⅳ ⅷ",
    "\U0001d400\U0001d41a \U0001d7d8\U0001d7e1 \U0001f130 \u3300 \ufdfa",
    # white space beyond ASCII, control characters, code points without a character
    "one\u00a0two\u2003three\u3000four\x1cfive\x85six\u2028seven",
    "tab\tfeed\x0cline\nreturn\rvertical\x0bend",
    "zero\x00byte 1\x002 bell\x07 delete\x7f",
    "\ue000private \u0378unassigned \uffff \U0010ffff",
    "\ufffd replaced ? \U000e0041",
    "—‘quotes’ «guillemets» „low“ … · • ¿qué?",
)
"""Titles of every kind that a reader may get wrong."""


class Weights(Protocol):
    """What golden vectors need of `vitrina.encoder.weights.EncoderWeights`."""

    tokenizer: TitleTokenizer

    @property
    def width(self) -> int:
        """Dimensions of a vector."""

    @property
    def lexical_dim(self) -> int:
        """Dimensions of the lexical part of a vector; 0 if there is none."""

    @property
    def lexical_length(self) -> float:
        """Length of the lexical part of a vector."""

    def table(self, dtype: str) -> Table:
        """Return the table of a precision."""


def golden_vectors(weights: Weights) -> bytes:
    """Compute the content of `golden.json`.

    Parameters
    ----------
    weights : EncoderWeights

    Returns
    -------
    bytes
        JSON in ASCII. `unicode` is the version of Unicode that the normal forms follow. `titles`
        has an object for each of `TITLES`: the `title`, its normal `form`, the ids of its `pieces`
        with the padding, and the SHA-256 of its vector's bytes (float32, little-endian).
    """
    entries = ",\n".join(map(json.dumps, _entries(weights, list(TITLES))))
    version = unicodedata.unidata_version
    return f'{{"unicode": "{version}",\n"titles": [\n{entries}\n]}}\n'.encode("ascii")


def _entries(weights: Weights, titles: list[str]) -> list[dict[str, Any]]:
    vectors = _vectors(weights, titles).astype("<f4")
    pieces = weights.tokenizer(titles)
    entries = []
    for row, form in enumerate(weights.tokenizer.normalizer(titles)):
        entry = {
            "title": titles[row],
            "form": form,
            "pieces": pieces[row].tolist(),
            "sha256": hashlib.sha256(vectors[row].tobytes()).hexdigest(),
        }
        entries.append(entry)
    return entries


def _vectors(weights: Weights, titles: list[str]) -> npt.NDArray[np.float32]:
    """The vectors that `TitleEncoder.encode` gives; its module can't be imported here."""
    out = np.empty((len(titles), weights.width), np.float32)
    text = as_utf8(titles)
    if weights.lexical_dim:
        pieces = weights.tokenizer.pieces_and_vectors(text, weights.lexical_length, out)
    else:
        pieces = weights.tokenizer.pieces_of(text)
    weights.table("int8").encode_into(pieces, out)
    return out


def compare_golden(folder: SealedFolder, weights: Weights) -> str:
    """Compute the golden vectors of a folder again, and say whether they are the same here.

    Parameters
    ----------
    folder : SealedFolder
        The folder of an encoder.
    weights : EncoderWeights
        The encoder that was loaded from it.

    Returns
    -------
    str
        One sentence. Encoders that earlier versions saved have no golden vectors.

    Raises
    ------
    InputError
        If `golden.json` is damaged.
    """
    if GOLDEN not in folder:
        return "golden vectors: none, because an earlier version saved the encoder"
    where = folder.folder / GOLDEN
    content = folder.json(GOLDEN)
    version = require(content, "unicode", _is_text, "a version of Unicode", where)
    stored = require(content, "titles", _is_entries, "a list of titles and what they give", where)
    found = _entries(weights, [entry["title"] for entry in stored])
    different = [new["title"] for old, new in zip(stored, found, strict=True) if old != new]
    if not different:
        return f"golden vectors: all {len(stored)} are reproduced here"
    here = unicodedata.unidata_version
    return (
        f"golden vectors: {len(different)} of {len(stored)} differ here, the first for the title "
        f"'{shown(ascii(different[0])[1:-1], 60)}' (Unicode {here} here, {shown(version, 20)} "
        "where the encoder was saved)"
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TITLE


def _is_entries(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > _MAX_TITLES:
        return False
    return all(isinstance(entry, dict) and _is_text(entry.get("title")) for entry in value)
