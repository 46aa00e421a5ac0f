"""A `tokenizer.json` for Hugging Face's `tokenizers`: other tools then read titles as pieces.

The file holds the normalisation as a sequence of replacements, and the pieces with their scores. In
rare cases it gives other pieces than `TitleTokenizer`, see docs/format.md, "Other tokenizers".
"""

from __future__ import annotations

import json
import re
from typing import Any

import sentencepiece

from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import MIN_PIECES, PAD, TitleTokenizer

_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟"
_ACCENTS = {
    "default": "(?<!n)\\u0303|(?<!и)\\u0306|[\\u0300-\\u0302\\u0304\\u0305\\u0307-\\u036f]",
    "paper": "[\\u0300-\\u036f]",
}
# stands for the point of a number until punctuation is removed; no title keeps it as a character
_POINT = "\uffff"


def tokenizer_json(tokenizer: TitleTokenizer) -> str:
    """Return a tokenizer as JSON for `tokenizers.Tokenizer.from_str`.

    Parameters
    ----------
    tokenizer : TitleTokenizer

    Returns
    -------
    str
        Its ids are those of `TitleTokenizer`, with the same padding of short titles.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    pieces = [
        [processor.id_to_piece(number), processor.get_score(number)]
        for number in range(processor.get_piece_size())
    ]
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": {
            "strategy": {"Fixed": MIN_PIECES},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": PAD,
            "pad_type_id": 0,
            "pad_token": pieces[PAD][0],
        },
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": _steps(tokenizer.normalizer)},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {
                    "type": "Metaspace",
                    "replacement": "▁",
                    "prepend_scheme": "always",
                    "split": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "Unigram",
            "unk_id": processor.unk_id(),
            "vocab": pieces,
            "byte_fallback": False,
        },
    }
    return json.dumps(content, ensure_ascii=False)


def _steps(normalizer: Normalizer) -> list[dict[str, Any]]:
    """The steps of `Normalizer.word`, over a whole title."""
    steps = [_replace("[™℠]", " ")]
    steps += [_replace(fraction, f" {fraction}") for fraction in _FRACTIONS]
    steps += [
        _replace(r"\p{Cf}", ""),
        {"type": "NFKD"},
        {"type": "Lowercase"},
        _replace(_ACCENTS[normalizer.style], ""),
        {"type": "NFC"},
    ]
    if normalizer.style == "default":
        steps.append(_replace(r"(?<=\p{Nd})[.,](?=\p{Nd})", _POINT))
    kept = rf"\p{{L}}\p{{N}}\p{{Mn}}\p{{Mc}}{_POINT}"
    steps += [_replace(rf"[^{kept}]|[\uFE00-\uFE0F]", " "), _replace(_POINT, ".")]
    if normalizer.stop_words:
        words = "|".join(map(re.escape, sorted(normalizer.stop_words)))
        steps.append(_replace(rf"(?<!\S)(?:{words})(?!\S)", ""))
    return steps


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
