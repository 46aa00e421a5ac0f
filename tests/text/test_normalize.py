"""Normalisation of titles, and conversion of columns of titles."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import stop_words
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.errors import InputError
from vitrina.text import normalize
from vitrina.text.normalize import Normalizer, Style, as_titles

STYLES: tuple[Style, ...] = ("default", "paper")

# Characters with unusual cases, compositions, compatibility forms or widths.
ODD = (
    "nNñÑиИйЙaAeE12０９½¼³.,٫٬'-_/&\u0303\u0306\u0300\u0301\u0323\u034f\u0345\u0327İıςΣẞßﬁﬀ\ufe0f\u200d\u200b"
    "\x00\x1c\x85\xa0\u2028\u3000\ud800\udc00가각\u1100\u1161\u11a8\u093c\u0915\u0958\u093f\u0e33"
    "\u05d0\u05bc\ufb31\u0644\ufefb\u202e①Ⅷ™ªº№㎏ǅ👍🏽❤⃣\U0001f1ea"
)
CHARACTERS = st.one_of(
    st.sampled_from(ODD), st.characters(), st.characters(categories=["Mn", "Mc"])
)
PARTS = st.one_of(CHARACTERS, st.sampled_from(["nuevo", "DE", "de-la", "Año", "the", "isn't", " "]))
TITLES = st.lists(PARTS, max_size=14).map("".join)
NORMALIZERS = [Normalizer(lang, style) for lang in (None, "es", "vi", "hi") for style in STYLES]


@pytest.mark.parametrize(
    ("language", "title", "default", "paper"),
    [
        ("es", "Niños: ¡PANTALÓN Azul!", "niños pantalon azul", "ninos pantalon azul"),
        ("es", "Botella de 1,5 L para agua", "botella de 1.5 l para agua", "botella 1 5 l agua"),
        ("es", "Año 2.020 sin caja", "año 2.020 sin caja", "ano 2 020 caja"),
        ("es", "Pingüino & cigüeña", "pinguino cigueña", "pinguino ciguena"),
        (
            "en",
            "The Laptop, with 15.6'' screen",
            "the laptop with 15.6 screen",
            "laptop 15 6 screen",
        ),
        ("en", "Café-crème (NEW)", "cafe creme new", "cafe creme"),
        ("en", "USB-C / HDMI_2 a+b", "usb c hdmi 2 a b", "usb hdmi 2"),
        ("pt", "Calça de Algodão p/ Bebê", "calca de algodao p bebe", "calca algodao p bebe"),
        ("pt", "Televisão 4K c/ AÇÃO", "televisao 4k c acao", "televisao 4k c acao"),
        (None, "1.5.2 v1. .5 5. 3,x", "1.5.2 v1 5 5 3 x", "1 5 2 v1 5 5 3 x"),
        (
            None,
            "Lego™ 3½ m² 5㎏ ﬁn ＡＢＣ１",
            "lego 3 1 2 m2 5kg fin abc1",
            "lego 3 1 2 m2 5kg fin abc1",
        ),
        (None, "Samsung® Galaxy℠S", "samsung galaxy s", "samsung galaxy s"),
        (None, "мой Йод", "мой йод", "мои иод"),
        (None, "STRASSE straẞe İstanbul", "strasse straße istanbul", "strasse straße istanbul"),
        (None, "हिन्दी किताब", "हिन्दी किताब", "हिन्दी किताब"),
        (None, "👍🏽 ❤️ !!!", "", ""),
        (None, "soft\u00adhyphen\u200b zero", "softhyphen zero", "softhyphen zero"),
    ],
)
def test_examples(language: str | None, title: str, default: str, paper: str) -> None:
    assert Normalizer(language)([title]) == [default]
    assert Normalizer(language, "paper")([title]) == [paper]


def test_a_decomposed_letter_equals_the_composed_one() -> None:
    for title in ("niño Ñandú", "Йод", "각", "हि"):
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            for normalizer in NORMALIZERS:
                assert normalizer([unicodedata.normalize(form, title)]) == normalizer([title])


def test_white_space_of_any_kind_is_one_space() -> None:
    spaces = [chr(c) for c in range(0x11000) if chr(c).isspace()]
    assert len(spaces) > 20
    for space in spaces:
        assert Normalizer()([f"{space}{space}a{space} b{space}"]) == ["a b"]


def test_stop_words_go_in_paper_style_alone() -> None:
    title = "lote nuevo de tazas sin uso"
    assert Normalizer("es")([title]) == [title]
    assert "de" not in Normalizer("es", "paper")([title])[0].split()
    assert Normalizer("none", "paper")([title]) == [title]
    # a stop word with an accent also removes the word without it
    assert Normalizer("es", "paper")(["también TAMBIEN x"]) == ["x"]


def test_stop_words_of_one_s_own() -> None:
    own = Normalizer("es", stop_words=["Niño", "LOTE", ""])
    assert own(["lote de niño y nino"]) == ["de y nino"]
    assert Normalizer("es", "paper", stop_words=[])(["de la"]) == ["de la"]
    again = Normalizer(own.language, own.style, stop_words=own.stop_words)
    assert again.stop_words == own.stop_words


@settings(max_examples=200, deadline=None)
@given(TITLES, st.sampled_from(NORMALIZERS))
def test_any_title_is_normalised_once_and_word_by_word(title: str, normalizer: Normalizer) -> None:
    (form,) = normalizer([title])
    assert normalizer([form]) == [form]
    assert form == " ".join(form.split())
    words = normalizer(title.split())
    assert form == " ".join(word for word in words if word)
    form.encode("utf-8")  # fails if half of a surrogate pair is left
    accents = {chr(c) for c in range(0x300, 0x370)}
    kept = {"\u0303", "\u0306"} if normalizer.style == "default" else set()
    assert accents & set(unicodedata.normalize("NFD", form)) <= kept
    points = "." if normalizer.style == "default" else ""
    assert all(unicodedata.category(c)[0] in "LMN" for c in form if c not in " " + points)


MARKS = [char for char in map(chr, range(0x12000)) if unicodedata.combining(char)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.sampled_from(MARKS), max_size=90) | TITLES, max_size=5).map("".join),
    st.sampled_from(NORMALIZERS),
)
def test_marks_are_limited_once(title: str, normalizer: Normalizer) -> None:
    (form,) = normalizer([title])
    assert normalizer([form]) == [form]
    marks = 0
    for char in unicodedata.normalize("NFD", form):
        marks = marks + 1 if unicodedata.combining(char) else 0
        assert marks <= 30


def test_the_limit_of_marks() -> None:
    (form,) = Normalizer()(["a" + "\u05b0" * 30 + "b" + "\u05b0" * 31 + "c"])
    assert form == "a" + "\u05b0" * 30 + "b" + "\u05b0" * 30 + "c"
    # each of these marks decomposes into two
    (form,) = Normalizer()(["a" + "\u0f73" * 20])
    assert form == "a" + "\u0f71" * 15 + "\u0f72" * 15


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u05bc\u05b0", "\u0f73", "".join(MARKS)])
def test_a_title_of_marks_takes_linear_time(marks: str) -> None:
    title = "a" + marks * (300_000 // len(marks))
    assert len(title.encode()) > 580_000
    for normalizer in NORMALIZERS[:2]:
        start = time.perf_counter()
        (form,) = normalizer([title])
        assert len(form) <= 31
        # a minute and more without the limit
        assert time.perf_counter() - start < 5


def forms_with_and_without_limit(titles: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    forms = []
    for limit in (normalize._MAX_MARKS, 10**9):
        monkeypatch.setattr(normalize, "_MAX_MARKS", limit)
        forms.append([normalizer(titles) for normalizer in NORMALIZERS[:2]])
    return forms


def test_the_limit_changes_no_title(
    grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited, unlimited = forms_with_and_without_limit(grocery_titles, monkeypatch)
    assert limited == unlimited


@pytest.mark.shared
def test_the_limit_changes_no_title_of_any_shop(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    for table in sorted(shared.rglob("*.parquet")):
        # the words in which a limit could matter, once each
        texts = pl.read_parquet(table).select(pl.col(pl.String))
        for column in texts.iter_columns():
            words = column.drop_nulls().unique().str.split(" ").explode().unique()
            titles += words.filter(words.str.len_chars() > 20).to_list()
    assert len(titles) > 3_000
    limited, unlimited = forms_with_and_without_limit(titles, monkeypatch)
    assert limited == unlimited


def not_plain(char: str) -> bool:
    return unicodedata.normalize("NFKD", char) != char


def test_every_character_is_normalised_once() -> None:
    normalizers = [Normalizer(None, style) for style in STYLES]
    texts = [
        char
        for char in map(chr, range(0x20000))
        # no step changes plain letters of scripts without cases
        if unicodedata.category(char) not in ("Lo", "Cn", "Co") or not_plain(char)
    ]
    assert len(texts) > 10_000
    for context in ("{}n", "1{}1"):
        titles = [context.format(text) for text in texts]
        for normalizer in normalizers:
            forms = normalizer(titles)
            assert normalizer(forms) == forms


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | TITLES, max_size=8), st.sampled_from(NORMALIZERS))
def test_a_batch_equals_its_titles_one_by_one(
    titles: list[str | None], normalizer: Normalizer
) -> None:
    assert normalizer(titles) == [normalizer([title])[0] for title in titles]


def test_nothing_is_the_empty_title() -> None:
    titles = ["", None, float("nan"), "  ", "¡!", np.float32("nan"), pd.NA, pd.NaT]
    assert Normalizer("es")(titles) == [""] * len(titles)
    assert Normalizer("es")([]) == []


@pytest.mark.parametrize("code", sorted(stop_words.LANGUAGE_MAPPING))
def test_every_language_of_the_package(code: str) -> None:
    by_code = Normalizer(code, "paper")
    by_name = Normalizer(stop_words.LANGUAGE_MAPPING[code].upper(), "paper")
    assert by_code.stop_words == by_name.stop_words
    assert by_code.language == by_name.language == stop_words.LANGUAGE_MAPPING[code]
    assert by_code.stop_words
    assert by_code(sorted(by_code.stop_words)) == [""] * len(by_code.stop_words)


def test_unknown_settings() -> None:
    with pytest.raises(InputError, match=r"^`language` is 'xx'; it must be 'none' or one of: ar, "):
        Normalizer("xx")
    with pytest.raises(InputError, match=r"^`style` is 'loud'; it must be one of: default, paper$"):
        Normalizer("es", "loud")  # type: ignore[arg-type]


TEXT = ["Uno", None, "dos"]


@pytest.mark.parametrize(
    "column",
    [
        TEXT,
        tuple(TEXT),
        iter(TEXT),
        np.array(TEXT, object),
        np.array([["Uno"], [None], ["dos"]], object),
        np.ma.array(["Uno", "x", "dos"], mask=[False, True, False]),
        pl.Series(TEXT),
        pl.Series(TEXT, dtype=pl.Categorical),
        pl.Series(TEXT, dtype=pl.Enum(["dos", "Uno"])),
        pl.DataFrame({"t": TEXT}),
        pa.array(TEXT),
        pa.array(TEXT, pa.large_string()),
        pa.array(TEXT, pa.string_view()),
        pa.array(TEXT).dictionary_encode(),
        pa.chunked_array([TEXT[:1], TEXT[1:]], pa.string()),
        pa.table({"t": TEXT}),
        pd.Series(TEXT, dtype=object),
        pd.Series(["Uno", float("nan"), "dos"], dtype=object),
        pd.Series(["Uno", pd.NA, "dos"], dtype=object),
        pd.Series(TEXT, dtype="string[python]"),
        pd.Series(TEXT, dtype="string[pyarrow]"),
        pd.Series(TEXT, dtype="str"),
        pd.Series(TEXT, dtype="category"),
        pd.Series(TEXT, index=[5, 5, 0]),
        pd.DataFrame({"t": TEXT}),
        pd.Index(TEXT),
    ],
    ids=lambda column: type(column).__module__.split(".")[0] + "-" + type(column).__name__,
)
def test_columns_of_titles(column: Any) -> None:
    titles = as_titles(column)
    assert titles == TEXT
    assert all(type(title) in (str, type(None)) for title in titles)


def test_numpy_strings() -> None:
    assert as_titles(np.array(["Uno", "dos"])) == ["Uno", "dos"]
    assert as_titles(list(np.array(["Uno", "dos"]))) == ["Uno", "dos"]
    assert as_titles(pl.Series([None, None])) == [None, None]
    for empty in (
        list[str](),
        np.array([]),
        pl.Series([]),
        pd.Series([], dtype=object),
        pa.array([]),
    ):
        assert as_titles(empty) == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("a title", "titles: got one string; give a list of titles"),
        (b"a title", "titles: got one string; give a list of titles"),
        (None, "titles: got an object of type NoneType; give a list or a column"),
        (5, "titles: got an object of type int; give a list or a column"),
        ({"title": ["a"]}, "titles: got an object of type dict; give a list or a column"),
        ({"a", "b"}, "titles: got an object of type set; give a list or a column"),
        (pl.LazyFrame({"t": ["a"]}), "titles: got an object of type LazyFrame; give a list"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "titles: got a table of shape (1, 2); give one"),
        (pl.DataFrame({"a": ["x"], "b": ["y"]}), "titles: got a table of shape (1, 2); give one"),
        (pa.table({"a": ["x"], "b": ["y"]}), "titles: got a table of shape (1, 2); give one"),
        (np.array([["a", "b"]]), "titles: got a table of shape (1, 2); give one"),
        (np.array("a"), "titles: got a table of shape (); give one"),
        (["a", None, 5], "titles: row 2 is 5 (int), not text; convert the column to strings"),
        (np.array([1.5, 2.0]), "titles: row 0 is 1.5 (float), not text; convert"),
        (pl.Series([1, 2]), "titles: row 0 is 1 (int), not text; convert"),
        (pd.Series([None, 2.0]), "titles: row 1 is 2.0 (float), not text; convert"),
        (["a", b"b"], "titles: row 1 is b'b' (bytes), not text; convert"),
        (["a", ["b"]], "titles: row 1 is ['b'] (list), not text; convert"),
        ([np.array(["a", "b"])], "titles: row 0 is array(['a', 'b'"),
        (["a", True], "titles: row 1 is True (bool), not text; convert"),
    ],
)
def test_what_is_no_column_of_titles(column: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        as_titles(column)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
