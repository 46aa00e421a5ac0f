"""The tokenizer of Hugging Face that reads our file, compared with ours."""

from __future__ import annotations

import pytest

from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer
from vitrina.text.tokenizer_json import tokenizer_json

tokenizers = pytest.importorskip("tokenizers")

CRAFTED = [
    "",
    "   ",
    "¡Botella de 1,5 L para NIÑOS!",
    "Cámara 3½ pulgadas, Lego™ y ℠",
    "Ｆｕｌｌ　ｗｉｄｔｈ ﬁltro ②",
    "USB-C (2.0) 1.000,5 v.2 a.b",
    "ЙОД Ёлка кафе́ שעון יד دراجة",
    "zero\u200bwidth soft\u00adhyphen n\u0303 e\u0301",
    "日本語 の タイトル 🚗🚗 5",
    "uno uno dos",
    "the new apple without box",
]


@pytest.mark.parametrize(("language", "style"), [(None, "default"), ("en", "paper")])
def test_it_gives_the_same_pieces(grocery_titles: list[str], language, style) -> None:
    titles = grocery_titles[:2_000] + CRAFTED
    ours = TitleTokenizer.train(titles, Normalizer(language, style=style), vocab_size=2_000)
    theirs = tokenizers.Tokenizer.from_str(tokenizer_json(ours))
    rows = ours(titles)
    encoded = theirs.encode_batch(titles)
    for row, (title, encoding) in enumerate(zip(titles, encoded, strict=True)):
        own = rows.values[rows.offsets[row] : rows.offsets[row + 1]].tolist()
        assert own == encoding.ids, title
