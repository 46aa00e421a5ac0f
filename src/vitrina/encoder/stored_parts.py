"""Reading the parts of a saved encoder: each is checked before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from vitrina.encoder.kernels import BLOCKS, WIDTHS
from vitrina.errors import InputError, error_prefix, shown
from vitrina.sealed import SealedFolder, require
from vitrina.text.model_file import check_model
from vitrina.text.normalize import Normalizer, Style
from vitrina.text.tokenizer import TitleTokenizer
from vitrina.text.word_vectors import MAX_DIM, MAX_FEATURES, MAX_SCALE, WordVectors
from vitrina.untrusted import ArraySpec

MAX_EMBEDDING_DIM = 16_384
MAX_FILTERS = 1_024
"""Filters of each width. A batch of 16,384 vectors then takes 256 MiB at most."""

LEXICAL_WEIGHT = 0.7
"""Length of the lexical part, relative to that of the contextual part; docs/results/ablation.md."""

_MAX_COMPUTED = 1 << 27
"""Numbers of a table that isn't stored: computing it takes 640 MiB at most."""

_MAX_STOP_WORDS = 100_000
_LONGEST_STOP_WORD = 200


def is_object(value: Any) -> bool:
    """Return whether a value from JSON is an object."""
    return isinstance(value, dict)


class StoredLexical(NamedTuple):
    """What a folder holds of the lexical part."""

    words: WordVectors | None
    weight: float


def stored_lexical(folder: SealedFolder, config: Mapping[str, Any], where: Path) -> StoredLexical:
    """Return the word vectors and the weight of the lexical part."""
    name = "lexical.safetensors"
    sizes = config["model"].get("lexical")
    if sizes is None and name not in folder:
        return StoredLexical(None, LEXICAL_WEIGHT)
    require(config["model"], "lexical", is_object, "an object", where)
    if name not in folder:
        raise InputError(
            f"{folder.folder / name}: is missing; copy or save the {folder.kind.name} again"
        )

    features = require(
        sizes, "features", _is_size(0, MAX_FEATURES), f"at most {MAX_FEATURES:,}", where
    )
    dim = require(sizes, "dim", _is_size(1, MAX_DIM), f"from 1 to {MAX_DIM:,}", where)
    weight = require(sizes, "weight", _is_weight, "a number from 0.01 to 100", where)
    arrays = folder.arrays(
        name,
        {
            "hashes": ArraySpec(np.uint32, (features,)),
            "rows": ArraySpec(np.int8, (features, dim)),
            "scale": ArraySpec(np.float32, (features,), smallest=0, largest=MAX_SCALE),
        },
    )
    hashes = arrays["hashes"]
    if (hashes[1:] <= hashes[:-1]).any():
        raise InputError(
            f"{folder.folder / name}: hashes are not in increasing order; "
            f"copy or save the {folder.kind.name} again"
        )
    return StoredLexical(WordVectors(hashes, arrays["rows"], arrays["scale"]), weight)


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0.01 <= value <= 100


def _is_size(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def stored_tokenizer(
    folder: SealedFolder, normalizer: Normalizer, words: WordVectors | None
) -> TitleTokenizer:
    """Return the tokenizer in a folder; SentencePiece reads it only after it was checked."""
    model = folder.read("tokenizer.model")
    try:
        check_model(model)
        return TitleTokenizer(model, normalizer, words)
    except InputError:
        reason = "is not a SentencePiece model"  # its own message may quote the file
    except ValueError as error:
        reason = str(error)
    raise InputError(
        f"{folder.folder / 'tokenizer.model'}: {reason}; copy or save the {folder.kind.name} again"
    )


def stored_table(
    folder: SealedFolder, pieces: int, filters: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]] | None:
    """Return the values and scales of the int8 table.

    The first encoders were saved without it. It is then computed when it is needed: None.
    """
    name = "table.safetensors"
    if name not in folder:
        if pieces * BLOCKS * filters > _MAX_COMPUTED:
            raise InputError(
                f"{folder.folder / name}: is missing, and too large to be computed; "
                f"copy or save the {folder.kind.name} again"
            )
        return None
    table = folder.arrays(
        name,
        {
            "values": ArraySpec(np.int8, (pieces, BLOCKS * filters)),
            "scale": ArraySpec(np.float32, (len(WIDTHS) * filters,), smallest=0),
        },
    )
    return table["values"], table["scale"]


def stored_sizes(config: Mapping[str, Any], where: Path) -> tuple[int, int]:
    """Return the dimensions of the embeddings and the filters of each width from config.json."""
    model = require(config, "model", is_object, "an object", where)
    require(model, "widths", lambda widths: widths == list(WIDTHS), f"{list(WIDTHS)}", where)
    expected = "a whole number from 1 to"
    dim = require(
        model, "dim", _is_size(1, MAX_EMBEDDING_DIM), f"{expected} {MAX_EMBEDDING_DIM:,}", where
    )
    filters = require(
        model, "filters", _is_size(1, MAX_FILTERS), f"{expected} {MAX_FILTERS:,}", where
    )
    return dim, filters


def stored_normalizer(config: Mapping[str, Any], where: Path) -> Normalizer:
    """Return the normaliser that config.json describes."""

    def is_language(value: Any) -> bool:
        # `Normalizer` knows the languages; a wrong one is shown in its message
        return value is None or (isinstance(value, str) and shown(value, 40) == value)

    def is_word_list(value: Any) -> bool:
        if not isinstance(value, list) or len(value) > _MAX_STOP_WORDS:
            return False
        return all(isinstance(word, str) and len(word) <= _LONGEST_STOP_WORD for word in value)

    settings = require(config, "normalization", is_object, "an object", where)
    language = require(settings, "language", is_language, "the name of a language or null", where)
    style = require(
        settings, "style", lambda value: value in get_args(Style), "default or paper", where
    )
    stop_words = require(
        settings,
        "stop_words",
        is_word_list,
        f"a list of at most {_MAX_STOP_WORDS:,} words of at most {_LONGEST_STOP_WORD} letters",
        where,
    )
    with error_prefix(str(where)):
        return Normalizer(language, style, stop_words=stop_words)
