"""Vectors with a lexical part: their two parts, their length, their folder."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from sklearn.base import clone

from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError
from vitrina.ragged import Ragged
from vitrina.sealed import MANIFEST, seal
from vitrina.text.tokenizer import TitleTokenizer

ODD = ["", "   ", "qqqqq zzzzz", "ñandú 🍎", "APPLE-SAUCE", "a " * 400, "x" * 3_000]


def parts(encoder: TitleEncoder, titles: list[str]) -> tuple[npt.NDArray[np.float32], ...]:
    """The contextual and the lexical part of the vectors."""
    vectors = encoder.transform(titles)
    dim = len(encoder.weights.bias)
    return vectors[:, :dim], vectors[:, dim:]


def test_the_two_parts(
    encoder: TitleEncoder, lexical_encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    contextual, lexical = parts(lexical_encoder, grocery_titles)
    assert contextual.shape[1] == 64
    assert lexical.shape[1] == 24
    weight = lexical_encoder.weights.lexical_weight

    # the first part is the representation of the plain encoder, scaled
    length = 1 / np.hypot(1, weight)
    expected = length * unit_length(encoder.transform(grocery_titles))
    np.testing.assert_allclose(contextual, expected, rtol=1e-5, atol=1e-7)

    # the second is the sum of the words' vectors, scaled
    words = lexical_encoder.weights.tokenizer.word_vectors
    assert words is not None
    normal = lexical_encoder.weights.tokenizer.normalizer
    sums = np.array(
        [
            words.of_texts(Ragged.from_bytes([w.encode() for w in form.split()])).sum(axis=0)
            for form in normal(grocery_titles)
        ],
        np.float64,
    )
    # rounded to whole numbers once for each raw word, which may have several normal forms
    np.testing.assert_allclose(lexical, weight * length * unit_length(sums), atol=2e-3)


def test_vectors_have_length_one(lexical_encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    titles = [title for title in grocery_titles if title]
    lengths = np.linalg.norm(lexical_encoder.transform(titles), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_titles_of_unknown_words_have_no_lexical_part(lexical_encoder: TitleEncoder) -> None:
    contextual, lexical = parts(lexical_encoder, ["", "§ §§"])
    assert (contextual > 0).any(axis=1).all()
    assert not lexical.any()


@pytest.mark.parametrize("table", ["float32", "int8"])
def test_a_title_gets_the_same_bits_in_any_batch(
    lexical_encoder: TitleEncoder, grocery_titles: list[str], table: str
) -> None:
    encoder = clone(lexical_encoder).set_params(table=table)
    titles = [*grocery_titles, *ODD]
    vectors = encoder.transform(titles)
    for threads in (1, 3):
        # a new tokenizer has not stored any word
        weights = pickle.loads(pickle.dumps(lexical_encoder.weights))
        fresh = TitleEncoder(weights, threads, table)  # type: ignore[arg-type]
        np.testing.assert_array_equal(fresh.transform(titles[::-1])[::-1], vectors)
    for row in [*range(0, len(titles), 131), *range(len(titles) - len(ODD), len(titles))]:
        np.testing.assert_array_equal(encoder.transform([titles[row]])[0], vectors[row])


def test_saved_and_loaded(
    lexical_encoder: TitleEncoder, grocery_titles: list[str], tmp_path: Path
) -> None:
    lexical_encoder.save(tmp_path / "e")
    loaded = TitleEncoder.load(tmp_path / "e")
    np.testing.assert_array_equal(
        loaded.transform(grocery_titles), lexical_encoder.transform(grocery_titles)
    )
    assert loaded.weights.digest == lexical_encoder.weights.digest
    assert loaded.weights.width == 88
    assert len(loaded.get_feature_names_out()) == 88
    card = (tmp_path / "e" / "README.md").read_text("utf-8")
    assert "(1, 88) float32" in card
    assert "The other 24 are the lexical part" in card
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "e").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_digest_knows_the_lexical_part(
    encoder: TitleEncoder, lexical_encoder: TitleEncoder
) -> None:
    w = lexical_encoder.weights
    assert w.digest != encoder.weights.digest
    heavier = EncoderWeights(w.embeddings, w.filters, w.bias, w.tokenizer, lexical_weight=1.0)
    assert heavier.digest != w.digest


def test_another_weight_is_kept(lexical_encoder: TitleEncoder, tmp_path: Path) -> None:
    w = lexical_encoder.weights
    heavy = EncoderWeights(w.embeddings, w.filters, w.bias, w.tokenizer, lexical_weight=2.0)
    heavy.save(tmp_path / "e")
    _, lexical = parts(TitleEncoder.load(tmp_path / "e"), ["APPLE SAUCE"])
    np.testing.assert_allclose(np.linalg.norm(lexical), 2 / np.sqrt(5), rtol=1e-5)


def test_a_full_store_of_words_starts_anew(
    lexical_encoder: TitleEncoder, grocery_titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = lexical_encoder.transform(grocery_titles)
    monkeypatch.setattr("vitrina.text.words._MAX_WORDS", 64)  # fewer than a batch has
    w = lexical_encoder.weights
    tokenizer = TitleTokenizer(w.tokenizer.model, w.tokenizer.normalizer, w.tokenizer.word_vectors)
    small = TitleEncoder(EncoderWeights(w.embeddings, w.filters, w.bias, tokenizer))
    for start in range(0, 300, 7):
        np.testing.assert_array_equal(
            small.transform(grocery_titles[start : start + 7]), expected[start : start + 7]
        )
    np.testing.assert_array_equal(small.transform(grocery_titles), expected)
    assert len(tokenizer._words) <= 64


def forged(folder: Path, **changes: object) -> str:
    """Change arrays or entries of config.json, seal again, and return the message of loading."""
    path = folder / "lexical.safetensors"
    arrays = safetensors.numpy.load(path.read_bytes())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = np.asarray(value)
        else:
            config["model"]["lexical"][name] = value
    path.write_bytes(safetensors.numpy.save(arrays))
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return reseal(folder)


def reseal(folder: Path) -> str:
    (folder / MANIFEST).unlink()
    seal(folder, ENCODER)
    with pytest.raises(InputError) as error:
        TitleEncoder.load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(lexical_encoder: TitleEncoder, tmp_path: Path) -> Path:
    lexical_encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_forged_word_vectors_are_refused(folder: Path, lexical_encoder: TitleEncoder) -> None:
    words = lexical_encoder.weights.tokenizer.word_vectors
    assert words is not None
    where = re.escape(str(folder / "lexical.safetensors"))
    whole = {"hashes": words.hashes, "rows": words.rows, "scale": words.scale}
    for changes in (
        {"hashes": words.hashes[::-1].copy()},
        {"hashes": words.hashes[:-1]},
        {"hashes": words.hashes.astype(np.int64)},
        {"rows": words.rows[:-1]},
        {"rows": words.rows[:, :-1].copy()},
        {"rows": words.rows.astype(np.int16)},
        {"scale": words.scale[:-1]},
        {"scale": -words.scale},
        {"scale": words.scale * np.float32(np.nan)},
        {"scale": words.scale * np.float32(1e30)},
    ):
        assert re.match(where, forged(folder, **{**whole, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 0},
        {"dim": 10**9},
        {"dim": 24.0},
        {"features": -1},
        {"features": 10**9},
        {"weight": 0},
        {"weight": float("nan")},
        {"weight": "0.7"},
    ],
)
def test_forged_settings_are_refused(folder: Path, changes: dict[str, object]) -> None:
    assert str(folder / "config.json") in forged(folder, **changes)


def test_missing_and_unexpected_files(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    lexical = config["model"].pop("lexical")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert "lexical" in reseal(folder)
    config["model"]["lexical"] = lexical
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "lexical.safetensors").unlink()
    assert "lexical.safetensors: is missing" in reseal(folder)
