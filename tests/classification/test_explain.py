"""Explanations add up to the score, and each part is what it claims to be."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.classification import explain as module
from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.features import TitleFeatures
from vitrina.classification.linear import features_of
from vitrina.classification.regressor import TitleRegressor
from vitrina.errors import InputError
from vitrina.text.ngrams import count_ngrams

WIDTH = 64
NEW = ["Milk, milk & milky 12 OZ", "", None, "zyxwv", "APPLE Crème 7 ct", "usb-c \ud800milk"]


@pytest.fixture(scope="module")
def titles(grocery_titles):
    return grocery_titles[:200]


@pytest.fixture(scope="module")
def models(encoder, lexical_encoder, titles):
    ounces = ["OZ" in title for title in titles]
    thirds = [len(title) % 3 for title in titles]
    return {
        "binary": TitleClassifier(encoder, C=5.0).fit(titles, ounces),
        "multiclass": TitleClassifier(encoder, C=5.0).fit(titles, thirds),
        "vectors": TitleClassifier(encoder, use_words=False).fit(titles, ounces),
        "regression": TitleRegressor(encoder).fit(titles, [len(title) for title in titles]),
        "lexical": TitleClassifier(lexical_encoder, C=5.0).fit(titles, thirds),
        "lexical vectors": TitleClassifier(lexical_encoder, use_words=False).fit(titles, ounces),
    }


def score_of_prediction(model: Any, titles: list[Any]) -> np.ndarray:
    if isinstance(model, TitleRegressor):
        return model.predict(titles)
    scores = model.decision_function(titles)
    return np.abs(scores) if scores.ndim == 1 else scores.max(axis=1)


@pytest.mark.parametrize(
    "name", ["binary", "multiclass", "vectors", "regression", "lexical", "lexical vectors"]
)
def test_parts_add_up_to_the_score(models, titles, name):
    model, given = models[name], [*NEW, *titles[:30]]
    parts = model.explain(given)
    sums = parts.group_by("row", maintain_order=True).agg(pl.col("contribution").sum())
    assert sums["row"].to_list() == list(range(len(given)))
    np.testing.assert_allclose(
        sums["contribution"], score_of_prediction(model, given), rtol=1e-9, atol=1e-9
    )
    of_row = parts.unique("row", maintain_order=True)
    assert of_row["prediction"].to_list() == model.predict(given).tolist()
    assert of_row["title"].to_list() == [(title or "").replace("\ud800", "?") for title in given]
    assert parts.columns == ["row", "title", "prediction", "word", "part", "contribution"]
    assert ("words" in parts["part"]) == ("vectors" not in name)
    assert ("lexical" in parts["part"]) == (name == "lexical vectors")


def test_words_have_their_own_features_and_their_share_of_n_grams(models, encoder):
    """Against the names of the columns: each n-gram of a title is searched in its words."""
    model = models["regression"]
    features = TitleFeatures(encoder, weight=model.best_params_.weight)
    features.tfidf_, title = model.tfidf_, "milk milk milky"
    # a vocabulary of all words that the title could share a column with
    value = features.transform([title])[:, WIDTH:].tocoo()
    text_of: dict[int, str] = {}
    for word in ("milk", "milky"):
        alone = TitleFeatures(encoder).fit([word])
        names = alone.get_feature_names_out()[WIDTH:]
        text_of.update(zip(alone.tfidf_.hashes.tolist(), names, strict=True))
    expected = dict.fromkeys(("milk", "milky"), 0.0)
    times = {"milk": 2, "milky": 1}
    for column, number in zip(value.col, value.data, strict=True):
        kind, _, text = text_of[int(model.tfidf_.hashes[column])].partition(":")
        score = number * model.coef_[0, WIDTH + column]
        if kind == "word":
            expected[text] += score
            continue
        found = {word: times[word] * f"_{word}_".count(text) for word in times}
        for word in times:
            expected[word] += score * found[word] / sum(found.values())
    parts = model.explain([title]).filter(part="words")
    assert parts["word"].to_list() == ["milk", "milky"]
    np.testing.assert_allclose(parts["contribution"], list(expected.values()), rtol=1e-9)
    assert any(expected.values())


def test_the_contextual_part_leaves_out_one_word_after_the_other(models, encoder):
    model = models["regression"]

    def score(title: str) -> float:
        vector = model.best_params_.weight * features_of(encoder.encode([title]))[0]
        return float(vector @ model.coef_[0, :WIDTH])

    whole = score("apple juice apple 64")
    expected = [whole - score(t) for t in ("juice 64", "apple apple 64", "apple juice apple")]
    parts = model.explain(["APPLE juice apple 64!"])
    of_vector = parts.filter(part="contextual")
    assert of_vector["word"].to_list() == ["apple", "juice", "64"]
    np.testing.assert_allclose(of_vector["contribution"], expected, rtol=1e-9, atol=1e-12)
    rest = parts.filter(part="rest")["contribution"].item()
    assert rest == pytest.approx(whole - sum(expected))
    assert parts.filter(part="intercept")["contribution"].item() == model.intercept_[0]


def test_the_lexical_part_is_a_sum_over_words(models, lexical_encoder):
    """Against the stored vectors of the words and n-grams, one by one."""
    model, title = models["lexical vectors"], "Milk, milk & usb-milky 12 OZ zyxwv"
    words = ["milk", "usb", "milky", "12", "oz", "zyxwv"]
    stored = lexical_encoder.weights.tokenizer.word_vectors
    place = {int(value): i for i, value in enumerate(stored.hashes)}
    vector_of = {}
    for word in words:
        _, hashes, counts = count_ngrams([word])
        total = np.zeros(stored.dim)
        for value, count in zip(hashes.tolist(), counts.tolist(), strict=True):
            if value in place:
                row = place[value]
                total += count * float(stored.scale[row]) * stored.rows[row].astype(float)
        # the encoder rounds the vector of a word to integers
        vector_of[word] = (2 if word == "milk" else 1) * np.rint(total)
    length = np.linalg.norm(sum(vector_of.values()))
    coef = model.coef_[0, WIDTH:] * (1 if model.predict([title])[0] else -1)
    share = lexical_encoder.weights.lexical_length / length
    expected = [share * vector_of[word] @ coef for word in words]

    parts = model.explain([title]).filter(part="lexical")
    assert parts["word"].to_list() == words
    np.testing.assert_allclose(parts["contribution"], expected, rtol=1e-5)
    assert np.abs(expected).min() > 1e-3
    lexical = lexical_encoder.encode([title])[0, WIDTH:] @ coef
    assert parts["contribution"].sum() == pytest.approx(lexical, rel=1e-3)


def test_the_word_that_decides_has_the_largest_share(models, titles):
    parts = models["binary"].explain(titles)
    sums = parts.drop_nulls("word").group_by("row", "prediction", "word")
    best = sums.agg(pl.col("contribution").sum()).sort("contribution").group_by("row").last()
    of_ounces = best.filter(pl.col("prediction"))["word"]
    assert (of_ounces == "oz").mean() > 0.9


def test_many_and_long_titles(models, titles, monkeypatch):
    model = models["multiclass"]
    expected = model.explain(titles[:10])
    of_lexical = models["lexical vectors"].explain(titles[:10])
    monkeypatch.setattr(module, "_TITLES_AT_ONCE", 3)
    monkeypatch.setattr(module, "_WORDS_AT_ONCE", 4)
    assert model.explain(titles[:10]).equals(expected)
    assert models["lexical vectors"].explain(titles[:10]).equals(of_lexical)
    long = " ".join(f"word{i}" for i in range(300))
    counts = model.explain([long])["part"].value_counts()
    assert dict(counts.iter_rows()) == {"words": 300, "contextual": 200, "rest": 1, "intercept": 1}
    assert model.explain([]).height == 0


def test_vectors_can_not_be_explained(models):
    for model in (models["vectors"], models["regression"]):
        with pytest.raises(InputError, match=r"^titles: got a table of shape"):
            model.explain(np.zeros((2, WIDTH)))
